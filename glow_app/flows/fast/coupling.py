"""Couplings with explicit gradients, whose conditioner runs once in the backward pass of ``reversible``."""

from abc import ABC, abstractmethod
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from glow_app.flows.bijection import deinterleave, sum_per_sample
from glow_app.flows.coupling import BOUNDED_LIMIT, SIGMOID_LOG_FLOOR, AdditiveCoupling, AffineCoupling
from glow_app.flows.fast.conditioner import with_gradients
from glow_app.flows.fast.convolutions import channels_first, pixels
from glow_app.flows.fast.device import kernels_for
from glow_app.flows.fast.faster import Faster


class ScaleMap(ABC):
    """A map of :data:`glow_app.flows.coupling.SCALES` and its derivative.

    Attributes:
        bounded: whether the absolute log-scale has a maximum; otherwise the log-scale has a minimum.
        limit: the maximum or minimum.
    """

    bounded: bool
    limit: float

    @abstractmethod
    def log_scale(self, raw: Tensor) -> Tensor:
        """Computes the log-scale, elementwise."""

    @abstractmethod
    def backpropagate(self, grad: Tensor, log_scale: Tensor) -> Tensor:
        """Computes the gradient of ``raw``; overwrites ``grad``, the gradient of the log-scale."""


class SigmoidScale(ScaleMap):
    """The map :func:`glow_app.flows.coupling.sigmoid_log_scale`."""

    bounded, limit = False, SIGMOID_LOG_FLOOR

    def log_scale(self, raw: Tensor) -> Tensor:
        # On a CPU torch's logsigmoid is not vectorised, and its output has another memory format.
        return torch.sigmoid(raw + 2.0).log().clamp(min=SIGMOID_LOG_FLOOR)

    def backpropagate(self, grad: Tensor, log_scale: Tensor) -> Tensor:
        return grad.mul_(torch.where(log_scale > SIGMOID_LOG_FLOOR, 1.0 - log_scale.exp(), 0.0))


class BoundedScale(ScaleMap):
    """The map :func:`glow_app.flows.coupling.bounded_log_scale`."""

    bounded, limit = True, BOUNDED_LIMIT

    def log_scale(self, raw: Tensor) -> Tensor:
        # 2 tanh(raw / 2) is 4 sigmoid(raw) - 2, which is much faster on a CPU.
        return torch.rsub(torch.sigmoid(raw), -2.0, alpha=-4.0)

    def backpropagate(self, grad: Tensor, log_scale: Tensor) -> Tensor:
        # The derivative of a tanh(raw / a) is 1 - (log_scale / a)^2.
        return grad.addcmul_(grad * log_scale, log_scale, value=-1.0 / BOUNDED_LIMIT**2)


SCALE_MAPS: dict[str, ScaleMap] = {"sigmoid": SigmoidScale(), "bounded": BoundedScale()}


def shift_and_log_scale(output: Tensor, scale: ScaleMap) -> tuple[Tensor, Tensor]:
    """Returns shift and log-scale, each (B, C, H, W), given a conditioner's output (B, 2C, H, W)."""
    shift, raw = deinterleave(output)
    # On a CPU the sigmoid of a strided view is not vectorised: to copy it first is three times as fast.
    return shift, scale.log_scale(raw if raw.is_cuda else raw.contiguous(memory_format=torch.channels_last))


class FastAffineCoupling(Faster, AffineCoupling):
    """An affine coupling that saves only its output and the log-scale for backward."""

    def forward(self, x: Tensor, cond: Tensor | None = None, *packed: Any) -> tuple[Tensor, Tensor]:
        """Returns ``z`` and the log-determinant; ``packed`` is passed to the conditioner."""
        x1, x2 = x.chunk(2, 1)
        return self.transform(x1, x2, self.conditioner(x1, *packed))

    def transform(self, x1: Tensor, x2: Tensor, output: Tensor) -> tuple[Tensor, Tensor]:
        return cast(tuple[Tensor, Tensor], _Affine.apply(x1, x2, output, SCALE_MAPS[self.scale]))

    def shift_and_log_scale(self, output: Tensor) -> tuple[Tensor, Tensor]:
        return shift_and_log_scale(output, SCALE_MAPS[self.scale])

    def inverse(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        z1 = z.chunk(2, 1)[0]
        shift, log_scale = self.shift_and_log_scale(self.conditioner(z1))
        x = z.clone()
        x[:, z1.shape[1] :].div_(log_scale.exp()).sub_(shift)
        return x

    def backpropagate(
        self, z: Tensor, grad_z: Tensor, grad_logdet: Tensor, cond: Tensor | None
    ) -> tuple[Tensor, Tensor, dict[Tensor, Tensor]]:
        """Runs the conditioner once: its output for the unchanged half inverts the layer and carries gradients."""
        z1, z2 = z.chunk(2, 1)
        output, differentiate = with_gradients(self.conditioner, z1)
        scale = SCALE_MAPS[self.scale]
        with torch.no_grad():
            shift, log_scale = shift_and_log_scale(output, scale)
            x = torch.cat([z1, z2 / log_scale.exp() - shift], 1)
            grad_z1, grad_z2 = grad_z.chunk(2, 1)
            grad_x2, grad_output = _affine_gradients(z2, log_scale, scale, grad_z2, grad_logdet)
            grad_x1, conditioner_gradients = differentiate(grad_output)
            return x, torch.cat([grad_z1 + grad_x1, grad_x2], 1), conditioner_gradients


class _Affine(torch.autograd.Function):
    """(x1, x2, output) -> (z, logdet), saving only ``z`` and the log-scale."""

    @staticmethod
    def forward(ctx: Any, x1: Tensor, x2: Tensor, output: Tensor, scale: ScaleMap) -> tuple[Tensor, Tensor]:
        if (kernels := kernels_for(x1)) is not None:
            z, log_scale = kernels.affine(pixels(x1), pixels(x2), pixels(output), scale.bounded, scale.limit)
            z, log_scale = channels_first(z), channels_first(log_scale)
        else:
            shift, log_scale = shift_and_log_scale(output, scale)
            z = torch.cat([x1, (x2 + shift).mul_(log_scale.exp())], 1)
        ctx.scale = scale
        ctx.save_for_backward(z, log_scale)
        return z, sum_per_sample(log_scale)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_z: Tensor, grad_logdet: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        z, log_scale = ctx.saved_tensors
        grad_z1, grad_z2 = grad_z.chunk(2, 1)
        return grad_z1, *_affine_gradients(z.chunk(2, 1)[1], log_scale, ctx.scale, grad_z2, grad_logdet), None


def _affine_gradients(
    z2: Tensor, log_scale: Tensor, scale: ScaleMap, grad_z2: Tensor, grad_logdet: Tensor
) -> tuple[Tensor, Tensor]:
    """Computes the gradients with respect to ``x2`` and to the conditioner's output."""
    if (kernels := kernels_for(z2)) is not None:
        tensors = pixels(z2), pixels(log_scale), pixels(grad_z2)
        grad_x2, grad_output = kernels.affine_gradients(*tensors, grad_logdet, scale.bounded, scale.limit)
        return channels_first(grad_x2), channels_first(grad_output)
    grad_x2 = log_scale.exp().mul_(grad_z2)
    # z2 = (x2 + shift) * scale, and each log-scale is also a term of the log-determinant.
    grad_log_scale = (grad_z2 * z2).add_(grad_logdet[:, None, None, None])
    return grad_x2, interleave(grad_x2, scale.backpropagate(grad_log_scale, log_scale))


def interleave(even: Tensor, odd: Tensor) -> Tensor:
    """Inverts ``deinterleave``: two times (B, C, H, W) -> (B, 2C, H, W), in the memory format channels_last."""
    n_images, n_channels, height, width = even.shape
    both = even.new_empty(n_images, height, width, 2 * n_channels).permute(0, 3, 1, 2)
    # torch.stack is slower: it would copy element by element.
    for target, part in zip(deinterleave(both), (even, odd), strict=True):
        target.copy_(part)
    return both


class FastAdditiveCoupling(Faster, AdditiveCoupling):
    """An additive coupling that accepts packed weights of its conditioner."""

    def forward(self, x: Tensor, cond: Tensor | None = None, *packed: Any) -> tuple[Tensor, Tensor]:
        """Returns ``z`` and the log-determinant; ``packed`` is passed to the conditioner."""
        x1, x2 = x.chunk(2, 1)
        return torch.cat([x1, x2 + self.conditioner(x1, *packed)], 1), x.new_zeros(len(x))

    def backpropagate(
        self, z: Tensor, grad_z: Tensor, grad_logdet: Tensor, cond: Tensor | None
    ) -> tuple[Tensor, Tensor, dict[Tensor, Tensor]]:
        """Runs the conditioner once, as the affine coupling does."""
        z1, z2 = z.chunk(2, 1)
        shift, differentiate = with_gradients(self.conditioner, z1)
        with torch.no_grad():
            grad_z1, grad_z2 = grad_z.chunk(2, 1)
            grad_x1, conditioner_gradients = differentiate(grad_z2)
            return torch.cat([z1, z2 - shift], 1), torch.cat([grad_z1 + grad_x1, grad_z2], 1), conditioner_gradients
