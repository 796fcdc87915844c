"""Coupling layers: half of the channels decides what happens to the other half."""

from collections.abc import Callable
from typing import Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glow_app.flows.bijection import Bijection, deinterleave, sum_per_sample, zero_logdet

SIGMOID_LOG_FLOOR = -9.0
"""Smallest log-scale of the ``sigmoid`` map, a scale of 1.2e-4. Trained models stay far above it."""

BOUNDED_LIMIT = 2.0
"""Largest absolute log-scale of the ``bounded`` map: scales lie in [exp(-2), exp(2)]."""


class Conditioner(Protocol):
    """A network of images: (B, n_in, H, W) -> (B, n_out, H, W)."""

    def __call__(self, x: Tensor) -> Tensor: ...

    def initialize(self, x: Tensor) -> Tensor: ...


def sigmoid_log_scale(raw: Tensor) -> Tensor:
    """``log sigmoid(raw + 2)``, as published: scales in (0, 1), not bounded away from 0.

    The floor keeps the inverse finite where the published map would divide by 0; the log-determinant counts the
    floored value, so the likelihood stays exact.
    """
    return F.logsigmoid(raw + 2.0).clamp(min=SIGMOID_LOG_FLOOR)


def bounded_log_scale(raw: Tensor) -> Tensor:
    """``a tanh(raw / a)`` with a = 2: about ``raw`` near 0, and no step can stretch or shrink by more than e^2."""
    return BOUNDED_LIMIT * torch.tanh(raw / BOUNDED_LIMIT)


SCALES: dict[str, Callable[[Tensor], Tensor]] = {"sigmoid": sigmoid_log_scale, "bounded": bounded_log_scale}


class AffineCoupling(Bijection):
    """``y1 = x1``, ``y2 = (x2 + shift(x1)) * scale(x1)``; log|det| is the sum of ``log scale``.

    ``x1`` and ``x2`` are the first and the second half of the channels. The conditioner answers with shift and raw
    scale interleaved in its channels (0::2 and 1::2). Kingma & Dhariwal 2018, sec. 3.3 and the authors' code, where
    ``scale = sigmoid(raw + 2)``; Dinh et al. 2016, sec. 3.

    Args:
        conditioner: (B, C/2, H, W) -> (B, C, H, W).
        scale: ``sigmoid`` or ``bounded``, see :data:`SCALES`.
    """

    def __init__(self, conditioner: Conditioner, scale: str) -> None:
        super().__init__()
        if scale not in SCALES:
            raise ValueError(f"scale is {scale!r}; choose one of {', '.join(SCALES)}")
        self.conditioner = cast(nn.Module, conditioner)
        self.log_scale = SCALES[scale]

    def _transform(self, x1: Tensor, x2: Tensor, answer: Tensor) -> tuple[Tensor, Tensor]:
        shift, log_scale = self._shift_and_log_scale(answer)
        return torch.cat([x1, (x2 + shift) * log_scale.exp()], 1), sum_per_sample(log_scale)

    def _shift_and_log_scale(self, answer: Tensor) -> tuple[Tensor, Tensor]:
        shift, raw = deinterleave(answer)
        return shift, self.log_scale(raw)

    def scales(self, x: Tensor) -> Tensor:
        """By what ``x2`` is multiplied, (B, C/2, H, W)."""
        return self._shift_and_log_scale(self.conditioner(x.chunk(2, 1)[0]))[1].exp()

    def forward(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x1, x2 = x.chunk(2, 1)
        return self._transform(x1, x2, self.conditioner(x1))

    def inverse(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        z1, z2 = z.chunk(2, 1)
        shift, log_scale = self._shift_and_log_scale(self.conditioner(z1))
        return torch.cat([z1, z2 * torch.exp(-log_scale) - shift], 1)

    def backpropagate(
        self, z: Tensor, grad_z: Tensor, grad_logdet: Tensor, cond: Tensor | None
    ) -> tuple[Tensor, Tensor, dict[Tensor, Tensor]]:
        """The conditioner answers once: what it says to the unchanged half inverts the layer and carries gradients."""
        z1, z2 = z.chunk(2, 1)
        grad_z1, grad_z2 = grad_z.chunk(2, 1)
        parameters = [p for p in self.conditioner.parameters() if p.requires_grad]
        with torch.enable_grad():
            x1 = z1.detach().requires_grad_()
            shift, log_scale = self._shift_and_log_scale(self.conditioner(x1))
        with torch.no_grad():
            scale = log_scale.exp()
            shifted = z2 / scale
            grad_x2 = grad_z2 * scale
            # z2 = shifted * scale, and each log-scale is also a term of the log-determinant.
            grad_log_scale = grad_z2 * z2 + grad_logdet[:, None, None, None]
        grad_x1, *found = torch.autograd.grad([shift, log_scale], [x1, *parameters], [grad_x2, grad_log_scale])
        x, grad_x = torch.cat([z1, shifted - shift], 1), torch.cat([grad_z1 + grad_x1, grad_x2], 1)
        return x.detach(), grad_x, dict(zip(parameters, found, strict=True))

    def initialize(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        x1, x2 = x.chunk(2, 1)
        return self._transform(x1, x2, cast(Conditioner, self.conditioner).initialize(x1))[0]


class AdditiveCoupling(Bijection):
    """``y1 = x1``, ``y2 = x2 + shift(x1)``; the volume does not change. Dinh et al. 2014, sec. 3.2.

    Args:
        conditioner: (B, C/2, H, W) -> (B, C/2, H, W).
    """

    def __init__(self, conditioner: Conditioner) -> None:
        super().__init__()
        self.conditioner = cast(nn.Module, conditioner)

    def forward(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x1, x2 = x.chunk(2, 1)
        return torch.cat([x1, x2 + self.conditioner(x1)], 1), zero_logdet(x)

    def inverse(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        z1, z2 = z.chunk(2, 1)
        return torch.cat([z1, z2 - self.conditioner(z1)], 1)

    def backpropagate(
        self, z: Tensor, grad_z: Tensor, grad_logdet: Tensor, cond: Tensor | None
    ) -> tuple[Tensor, Tensor, dict[Tensor, Tensor]]:
        """As for the affine coupling: the conditioner answers once."""
        z1, z2 = z.chunk(2, 1)
        grad_z1, grad_z2 = grad_z.chunk(2, 1)
        parameters = [p for p in self.conditioner.parameters() if p.requires_grad]
        with torch.enable_grad():
            x1 = z1.detach().requires_grad_()
            shift = self.conditioner(x1)
        grad_x1, *found = torch.autograd.grad(shift, [x1, *parameters], grad_z2)
        x = torch.cat([z1, z2 - shift.detach()], 1)
        return x, torch.cat([grad_z1 + grad_x1, grad_z2], 1), dict(zip(parameters, found, strict=True))

    def initialize(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        x1, x2 = x.chunk(2, 1)
        return torch.cat([x1, x2 + cast(Conditioner, self.conditioner).initialize(x1)], 1)
