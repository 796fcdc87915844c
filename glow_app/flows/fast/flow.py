"""Whole flows in one memory format and one precision: channels_last, and no autocast."""

from collections.abc import Sequence

import torch
from torch import Tensor

from glow_app.flows.continuous.cnf import CNF
from glow_app.flows.emerging import EmergingGlow
from glow_app.flows.family.gaussianization import Gaussianization
from glow_app.flows.family.maf import IAF, MAF
from glow_app.flows.family.mintnet import MintNet
from glow_app.flows.family.nice import Nice
from glow_app.flows.family.planar import PlanarFlow, RadialFlow
from glow_app.flows.family.plane import Plane
from glow_app.flows.family.real_nvp import RealNVP
from glow_app.flows.fast.faster import Faster
from glow_app.flows.flow import Flow
from glow_app.flows.glow import Glow
from glow_app.flows.squeeze import Squeeze


class FastSqueeze(Faster, Squeeze):
    """A squeeze whose output is channels_last: all later layers are per pixel or convolutions."""

    def forward(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        z, logdet = super().forward(x, cond)
        return z.contiguous(memory_format=torch.channels_last), logdet

    def inverse(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        return super().inverse(z, cond).contiguous(memory_format=torch.channels_last)


class FastFlow(Faster, Flow):
    """A flow with channels_last parameters, whose trunk stays in their dtype even inside the caller's autocast."""

    def begin(self) -> None:
        super().begin()
        self.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor, cond: Tensor | None = None) -> tuple[list[Tensor], Tensor]:
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x, cond)

    def decompose(self, x: Tensor, cond: Tensor | None = None) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
        with torch.autocast(x.device.type, enabled=False):
            return super().decompose(x, cond)

    def inverse(self, latents: Sequence[Tensor], cond: Tensor | None = None) -> Tensor:
        # Concatenating latents of different memory formats would be slow.
        latents = [latent.contiguous(memory_format=torch.channels_last) for latent in latents]
        with torch.autocast(latents[0].device.type, enabled=False):
            return super().inverse(latents, cond)

    def inverse_with_logdet(self, latents: Sequence[Tensor], cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        latents = [latent.contiguous(memory_format=torch.channels_last) for latent in latents]
        with torch.autocast(latents[0].device.type, enabled=False):
            return super().inverse_with_logdet(latents, cond)


class FastCNF(FastFlow, CNF):
    """A continuous flow as a :class:`FastFlow`."""


class FastEmergingGlow(FastFlow, EmergingGlow):
    """A Glow with emerging convolutions as a :class:`FastFlow`."""


class FastGaussianization(FastFlow, Gaussianization):
    """A Gaussianization flow as a :class:`FastFlow`."""


class FastGlow(FastFlow, Glow):
    """A Glow as a :class:`FastFlow`."""


class FastIAF(FastFlow, IAF):
    """An IAF as a :class:`FastFlow`."""


class FastMAF(FastFlow, MAF):
    """A MAF as a :class:`FastFlow`."""


class FastMintNet(FastFlow, MintNet):
    """A MintNet as a :class:`FastFlow`."""


class FastNice(FastFlow, Nice):
    """A NICE as a :class:`FastFlow`."""


class FastPlanarFlow(FastFlow, PlanarFlow):
    """A planar flow as a :class:`FastFlow`."""


class FastPlane(FastFlow, Plane):
    """A flow of the plane as a :class:`FastFlow`."""


class FastRadialFlow(FastFlow, RadialFlow):
    """A radial flow as a :class:`FastFlow`."""


class FastRealNVP(FastFlow, RealNVP):
    """A Real NVP as a :class:`FastFlow`."""
