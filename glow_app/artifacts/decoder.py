"""The way back from latents to images as a module of its own, which ``torch.export`` and ONNX can carry elsewhere.

The inverse of each step's ActNorm and 1x1 convolution is solved once, in float64, and stored: what is exported holds
no factorisation, only products, convolutions and the couplings' arithmetic.
"""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glow_app.flows import Bijection, Flow
from glow_app.flows.fast.pixel_affine import inverse_map
from glow_app.flows.glow import FlowStep, Level


class _StepBack(nn.Module):
    """The inverse of a :class:`~glow_app.flows.glow.FlowStep` with its affine map of a pixel stored."""

    matrix: Tensor
    bias: Tensor

    def __init__(self, step: FlowStep) -> None:
        super().__init__()
        matrix, bias = inverse_map(step.actnorm, step.permutation, torch.float32)
        self.register_buffer("matrix", matrix.detach().clone(memory_format=torch.contiguous_format))
        self.register_buffer("bias", bias.detach().clone())
        self.coupling = step.coupling

    def forward(self, z: Tensor) -> Tensor:
        x = self.coupling.inverse(z).permute(0, 2, 3, 1)
        return F.linear(x, self.matrix, self.bias).permute(0, 3, 1, 2)


class _LevelBack(nn.Module):
    """The inverse of a :class:`~glow_app.flows.glow.Level`."""

    def __init__(self, level: Level) -> None:
        super().__init__()
        self.prior = level.prior
        self.steps = nn.ModuleList(_StepBack(cast(FlowStep, step)) for step in reversed(level.steps.steps))

    def forward(self, z: Tensor, labels: Tensor | None) -> Tensor:
        x = self.prior.inverse(z, labels)
        for step in self.steps:
            x = step(x)
        return F.pixel_shuffle(x, 2)


class _Back(nn.Module):
    """The inverse of any other level, as it is."""

    def __init__(self, level: Bijection) -> None:
        super().__init__()
        self.level = level

    def forward(self, z: Tensor, labels: Tensor | None) -> Tensor:
        return self.level.inverse(z, labels)


class Decoder(nn.Module):
    """``Flow.inverse`` for any number of images: latents, finest first, and labels if the model has classes, to ``x``.

    ``x`` is (B, C, H, W) in [-1/2, 1/2) up to what the model gets wrong; a pixel is ``floor((x + 1/2) 2**n_bits)``.

    Args:
        flow: trained; its parameters are shared, not copied.
    """

    def __init__(self, flow: Flow) -> None:
        super().__init__()
        self.latent_shapes = flow.latent_shapes
        self.levels = nn.ModuleList(
            _LevelBack(level) if isinstance(level, Level) else _Back(cast(Bijection, level)) for level in flow.levels
        )

    def forward(self, latents: Sequence[Tensor], labels: Tensor | None = None) -> Tensor:
        *finer, x = latents
        x = self.levels[-1](x, labels)
        for level, latent in zip(reversed(self.levels[:-1]), reversed(finer), strict=True):
            x = level(torch.cat([x, latent], 1), labels)
        return x
