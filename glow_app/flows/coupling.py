"""Coupling layers: half of the channels decides what happens to the other half."""

from abc import ABC, abstractmethod
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from glow_app.flows.bijection import Bijection, deinterleave, interleave, sum_per_sample, zero_logdet
from glow_app.flows.conditioner import Gradients
from glow_app.flows.fast.convolutions import channels_first, pixels
from glow_app.flows.fast.device import kernels_for

SIGMOID_LOG_FLOOR = -9.0
"""Smallest log-scale of the ``sigmoid`` map, a scale of 1.2e-4. Trained models stay far above it."""

BOUNDED_LIMIT = 2.0
"""Largest absolute log-scale of the ``bounded`` map: scales lie in [exp(-2), exp(2)]."""


class Conditioner(Protocol):
    """A network of images: (B, n_in, H, W) -> (B, n_out, H, W)."""

    def __call__(self, x: Tensor) -> Tensor: ...

    def initialize(self, x: Tensor) -> Tensor: ...

    def with_gradients(self, x: Tensor) -> tuple[Tensor, Gradients]: ...


class ScaleMap(ABC):
    """How the raw answer of a conditioner becomes the log-scale of an affine coupling.

    Attributes:
        bounded: whether log-scales have a largest absolute value, or else a smallest one.
        limit: that value.
    """

    bounded: bool
    limit: float

    @abstractmethod
    def log_scale(self, raw: Tensor) -> Tensor:
        """The logarithm of the scale, elementwise."""

    @abstractmethod
    def backpropagate(self, grad: Tensor, log_scale: Tensor) -> Tensor:
        """The gradient of ``raw``, given that of the log-scale, which is overwritten, and the log-scale itself."""


class SigmoidScale(ScaleMap):
    """``log sigmoid(raw + 2)``, as published: scales in (0, 1), not bounded away from 0.

    The floor keeps the inverse finite where the published map would divide by 0; the log-determinant counts the
    floored value, so the likelihood stays exact.
    """

    bounded, limit = False, SIGMOID_LOG_FLOOR

    def log_scale(self, raw: Tensor) -> Tensor:
        # On a CPU torch computes logsigmoid number by number, and lays its answer out in another order.
        return torch.sigmoid(raw + 2.0).log().clamp(min=SIGMOID_LOG_FLOOR)

    def backpropagate(self, grad: Tensor, log_scale: Tensor) -> Tensor:
        return grad.mul_(torch.where(log_scale > SIGMOID_LOG_FLOOR, 1.0 - log_scale.exp(), 0.0))


class BoundedScale(ScaleMap):
    """``a tanh(raw / a)`` with a = 2: about ``raw`` near 0, and no step can stretch or shrink by more than e^2."""

    bounded, limit = True, BOUNDED_LIMIT

    def log_scale(self, raw: Tensor) -> Tensor:
        # 2 tanh(raw / 2) is 4 sigmoid(raw) - 2, which takes torch much less time on a CPU.
        return torch.rsub(torch.sigmoid(raw), -2.0, alpha=-4.0)

    def backpropagate(self, grad: Tensor, log_scale: Tensor) -> Tensor:
        # The derivative of a tanh(raw / a) is 1 - (log_scale / a)^2.
        return grad.addcmul_(grad * log_scale, log_scale, value=-1.0 / BOUNDED_LIMIT**2)


SCALES: dict[str, ScaleMap] = {"sigmoid": SigmoidScale(), "bounded": BoundedScale()}


def shift_and_log_scale(answer: Tensor, scale: ScaleMap) -> tuple[Tensor, Tensor]:
    """The two parts of a conditioner's answer (B, 2C, H, W): twice (B, C, H, W)."""
    shift, raw = deinterleave(answer)
    # A CPU computes a sigmoid of every other number one by one, which takes three times as long as to copy them first.
    return shift, scale.log_scale(raw if raw.is_cuda else raw.contiguous(memory_format=torch.channels_last))


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
        self.scale_map = SCALES[scale]

    def scales(self, x: Tensor) -> Tensor:
        """By what ``x2`` is multiplied, (B, C/2, H, W)."""
        _, log_scale = shift_and_log_scale(self.conditioner(x.chunk(2, 1)[0]), self.scale_map)
        return log_scale.exp()

    def forward(self, x: Tensor, cond: Tensor | None = None, *prepared: Any) -> tuple[Tensor, Tensor]:
        """As every bijection; what of the conditioner has been ``prepared`` is handed to it."""
        x1, x2 = x.chunk(2, 1)
        return self._transform(x1, x2, self.conditioner(x1, *prepared))

    def _transform(self, x1: Tensor, x2: Tensor, answer: Tensor) -> tuple[Tensor, Tensor]:
        return cast(tuple[Tensor, Tensor], _Affine.apply(x1, x2, answer, self.scale_map))

    def inverse(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        z1 = z.chunk(2, 1)[0]
        shift, log_scale = shift_and_log_scale(self.conditioner(z1), self.scale_map)
        x = z.clone()
        x[:, z1.shape[1] :].div_(log_scale.exp()).sub_(shift)
        return x

    def backpropagate(
        self, z: Tensor, grad_z: Tensor, grad_logdet: Tensor, cond: Tensor | None
    ) -> tuple[Tensor, Tensor, dict[Tensor, Tensor]]:
        """The conditioner answers once: what it says to the unchanged half inverts the layer and carries gradients."""
        z1, z2 = z.chunk(2, 1)
        answer, differentiate = cast(Conditioner, self.conditioner).with_gradients(z1)
        with torch.no_grad():
            shift, log_scale = shift_and_log_scale(answer, self.scale_map)
            x = torch.cat([z1, z2 / log_scale.exp() - shift], 1)
            grad_z1, grad_z2 = grad_z.chunk(2, 1)
            grad_x2, grad_answer = _affine_gradients(z2, log_scale, self.scale_map, grad_z2, grad_logdet)
            grad_x1, of_conditioner = differentiate(grad_answer)
            return x, torch.cat([grad_z1 + grad_x1, grad_x2], 1), of_conditioner

    def initialize(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        x1, x2 = x.chunk(2, 1)
        return self._transform(x1, x2, cast(Conditioner, self.conditioner).initialize(x1))[0]


class _Affine(torch.autograd.Function):
    """(x1, x2, answer) -> (z, logdet), keeping no more than the gradient needs: ``z`` and the log-scale."""

    @staticmethod
    def forward(ctx: Any, x1: Tensor, x2: Tensor, answer: Tensor, scale: ScaleMap) -> tuple[Tensor, Tensor]:
        if (kernels := kernels_for(x1)) is not None:
            z, log_scale = kernels.affine(pixels(x1), pixels(x2), pixels(answer), scale.bounded, scale.limit)
            z, log_scale = channels_first(z), channels_first(log_scale)
        else:
            shift, log_scale = shift_and_log_scale(answer, scale)
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
    """Gradients with respect to ``x2`` and to the conditioner's answer."""
    if (kernels := kernels_for(z2)) is not None:
        tensors = pixels(z2), pixels(log_scale), pixels(grad_z2)
        grad_x2, grad_answer = kernels.affine_gradients(*tensors, grad_logdet, scale.bounded, scale.limit)
        return channels_first(grad_x2), channels_first(grad_answer)
    grad_x2 = log_scale.exp().mul_(grad_z2)
    # z2 = (x2 + shift) * scale, and each log-scale is also a term of the log-determinant.
    grad_log_scale = (grad_z2 * z2).add_(grad_logdet[:, None, None, None])
    return grad_x2, interleave(grad_x2, scale.backpropagate(grad_log_scale, log_scale))


class AdditiveCoupling(Bijection):
    """``y1 = x1``, ``y2 = x2 + shift(x1)``; the volume does not change. Dinh et al. 2014, sec. 3.2.

    Args:
        conditioner: (B, C/2, H, W) -> (B, C/2, H, W).
    """

    def __init__(self, conditioner: Conditioner) -> None:
        super().__init__()
        self.conditioner = cast(nn.Module, conditioner)

    def forward(self, x: Tensor, cond: Tensor | None = None, *prepared: Any) -> tuple[Tensor, Tensor]:
        """As every bijection; what of the conditioner has been ``prepared`` is handed to it."""
        x1, x2 = x.chunk(2, 1)
        return torch.cat([x1, x2 + self.conditioner(x1, *prepared)], 1), zero_logdet(x)

    def inverse(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        z1, z2 = z.chunk(2, 1)
        return torch.cat([z1, z2 - self.conditioner(z1)], 1)

    def backpropagate(
        self, z: Tensor, grad_z: Tensor, grad_logdet: Tensor, cond: Tensor | None
    ) -> tuple[Tensor, Tensor, dict[Tensor, Tensor]]:
        """As for the affine coupling: the conditioner answers once."""
        z1, z2 = z.chunk(2, 1)
        shift, differentiate = cast(Conditioner, self.conditioner).with_gradients(z1)
        with torch.no_grad():
            grad_z1, grad_z2 = grad_z.chunk(2, 1)
            grad_x1, of_conditioner = differentiate(grad_z2)
            return torch.cat([z1, z2 - shift], 1), torch.cat([grad_z1 + grad_x1, grad_z2], 1), of_conditioner

    def initialize(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        x1, x2 = x.chunk(2, 1)
        return torch.cat([x1, x2 + cast(Conditioner, self.conditioner).initialize(x1)], 1)
