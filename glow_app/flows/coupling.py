"""Coupling layers: half of the channels determines the map of the other half."""

from collections.abc import Callable
from typing import Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glow_app.flows.bijection import Bijection, deinterleave, sum_per_sample, zero_logdet

SIGMOID_LOG_FLOOR = -9.0
"""Smallest log-scale of the ``sigmoid`` map, a scale of 1.2e-4. Trained models stay far above it."""

BOUNDED_LIMIT = 2.0
"""Largest absolute log-scale of the ``bounded`` map: scales are in [exp(-2), exp(2)]."""


class Conditioner(Protocol):
    """A network of images: (B, n_in, H, W) -> (B, n_out, H, W)."""

    def __call__(self, x: Tensor) -> Tensor: ...

    def initialize(self, x: Tensor) -> Tensor: ...


def sigmoid_log_scale(raw: Tensor) -> Tensor:
    """Returns ``log sigmoid(raw + 2)``, as published: scales in (0, 1), not bounded away from 0.

    The floor keeps the inverse finite where the published map would divide by 0; the log-determinant counts the
    floored value, so the likelihood stays exact.
    """
    return F.logsigmoid(raw + 2.0).clamp(min=SIGMOID_LOG_FLOOR)


def bounded_log_scale(raw: Tensor) -> Tensor:
    """Returns ``a tanh(raw / a)`` with a = 2: about ``raw`` near 0; no step stretches or shrinks by more than e^2."""
    return BOUNDED_LIMIT * torch.tanh(raw / BOUNDED_LIMIT)


SCALES: dict[str, Callable[[Tensor], Tensor]] = {"sigmoid": sigmoid_log_scale, "bounded": bounded_log_scale}
"""Maps of a conditioner's raw output to the log-scale of an affine coupling, elementwise."""


class AffineCoupling(Bijection):
    """``y1 = x1``, ``y2 = (x2 + shift(x1)) * scale(x1)``; log|det| is the sum of ``log scale``.

    ``x1`` and ``x2`` are the first and the second half of the channels. Shift and raw scale are interleaved in the
    channels of the conditioner's output (0::2 and 1::2). Kingma & Dhariwal 2018, sec. 3.3 and the authors' code, where
    ``scale = sigmoid(raw + 2)``; Dinh et al. 2016, sec. 3.

    Args:
        conditioner: (B, C/2, H, W) -> (B, C, H, W).
        scale: ``sigmoid`` or ``bounded``, see :data:`SCALES`.

    Raises:
        ValueError: ``scale`` is neither.
    """

    def __init__(self, conditioner: Conditioner, scale: str) -> None:
        super().__init__()
        if scale not in SCALES:
            raise ValueError(f"scale is {scale!r}; choose one of {', '.join(SCALES)}")
        self.conditioner = cast(nn.Module, conditioner)
        self.scale = scale

    def forward(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x1, x2 = x.chunk(2, 1)
        return self.transform(x1, x2, self.conditioner(x1))

    def inverse(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        return self.inverse_with_logdet(z, cond)[0]

    def inverse_with_logdet(self, z: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        z1, z2 = z.chunk(2, 1)
        shift, log_scale = self.shift_and_log_scale(self.conditioner(z1))
        return torch.cat([z1, z2 * torch.exp(-log_scale) - shift], 1), -sum_per_sample(log_scale)

    def initialize(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        x1, x2 = x.chunk(2, 1)
        return self.transform(x1, x2, cast(Conditioner, self.conditioner).initialize(x1))[0]

    def transform(self, x1: Tensor, x2: Tensor, output: Tensor) -> tuple[Tensor, Tensor]:
        """Returns ``z`` and the log-determinant, given the conditioner's output for ``x1``."""
        shift, log_scale = self.shift_and_log_scale(output)
        return torch.cat([x1, (x2 + shift) * torch.exp(log_scale)], 1), sum_per_sample(log_scale)

    def shift_and_log_scale(self, output: Tensor) -> tuple[Tensor, Tensor]:
        """Returns both, (B, C/2, H, W), given the conditioner's output (B, C, H, W)."""
        shift, raw = deinterleave(output)
        return shift, SCALES[self.scale](raw)

    def scales(self, x: Tensor) -> Tensor:
        """Returns the factors of ``x2``, (B, C/2, H, W)."""
        return self.shift_and_log_scale(self.conditioner(x.chunk(2, 1)[0]))[1].exp()


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

    def inverse_with_logdet(self, z: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.inverse(z, cond), zero_logdet(z)

    def initialize(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        x1, x2 = x.chunk(2, 1)
        return torch.cat([x1, x2 + cast(Conditioner, self.conditioner).initialize(x1)], 1)
