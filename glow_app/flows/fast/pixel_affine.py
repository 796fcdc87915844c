"""A step's ActNorm and 1x1 convolution, fused to one affine map at every pixel: ``y = A x + b``.

With ``y = W (s (x + c))``: ``A = W diag(s)`` and ``b = W (s c)``. The diagonal scales columns, which needs no product.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from glow_app.flows.pixel_affine import (
    LOGS_FACTOR,
    ActNorm,
    FullInvConv1x1,
    InvConv1x1,
    PixelLinear,
    log_determinant,
    multiply,
)


class PixelMap(NamedTuple):
    """``y = matrix @ x + bias`` at every pixel; or, with a leading dimension, one such map for each of K steps.

    Attributes:
        matrix: (C, C), or (K, C, C).
        bias: (C,), or (K, C).
        logdet: (), or (K,): log|det matrix|, the log-determinant per pixel, in nats.
    """

    matrix: Tensor
    bias: Tensor
    logdet: Tensor

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Maps (B, C, H, W); returns the result and the log-determinant (B,)."""
        return self.transform(x), log_determinant(self.logdet, x)

    def transform(self, x: Tensor) -> Tensor:
        """Maps (B, C, H, W); returns only the result."""
        return multiply(self.matrix, x, self.bias)

    def unbind(self) -> "list[PixelMap]":
        """Returns the map of each step."""
        parts = zip(self.matrix.unbind(), self.bias.unbind(), self.logdet.unbind(), strict=True)
        return [PixelMap(*one) for one in parts]


def joint_map(actnorms: Sequence[ActNorm], permutations: Sequence[PixelLinear]) -> PixelMap:
    """Fuses the maps of K steps of one size at once: a few large operations instead of many small ones.

    Args:
        actnorms: one per step.
        permutations: one per step, all of one class.
    """
    biases, logs = (torch.stack([getattr(one, name) for one in actnorms]) for name in ("bias", "logs"))
    log_scales = LOGS_FACTOR * logs
    scales = log_scales.exp()
    matrices, logdets = joint_matrix(permutations)
    return PixelMap(
        matrix=matrices * scales[:, None, :],
        bias=(matrices @ (scales * biases)[..., None])[..., 0],
        logdet=logdets + log_scales.sum(-1),
    )


def joint_matrix(layers: Sequence[PixelLinear]) -> tuple[Tensor, Tensor]:
    """Returns W (K, C, C) and log|det W| (K,) of K layers of one class and size: see :meth:`PixelLinear.matrix`."""
    if all(isinstance(layer, InvConv1x1) for layer in layers):
        names = ("p", "lower", "upper", "sign", "log_s")
        p, lower, upper, sign, log_s = (torch.stack([getattr(layer, name) for layer in layers]) for name in names)
        identity = torch.eye(log_s.shape[-1], dtype=lower.dtype, device=lower.device)
        product = (lower.tril(-1) + identity) @ (upper.triu(1) + torch.diag_embed(sign * log_s.exp()))
        # P reorders rows: row i of the product is the row where row i of P has its 1.
        return torch.take_along_dim(product, p.argmax(-1, keepdim=True), -2), log_s.sum(-1)
    if all(isinstance(layer, FullInvConv1x1) for layer in layers):
        weights = torch.stack([layer.weight for layer in layers if isinstance(layer, FullInvConv1x1)])
        return weights, torch.linalg.slogdet(weights).logabsdet
    matrices, logdets = zip(*(layer.matrix() for layer in layers), strict=True)
    return torch.stack(matrices), torch.stack(logdets)


def inverse_map(actnorm: ActNorm, permutation: PixelLinear, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Computes matrix (C, C) and bias (C,) of the inverse of both, solved in float64: ``x = W^-1 y / s - c``."""
    scale = torch.exp(-LOGS_FACTOR * actnorm.logs.double())
    matrix = permutation.inverse_matrix() * scale[:, None]
    return matrix.to(dtype), -actnorm.bias.to(dtype)
