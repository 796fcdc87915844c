"""Scaled convolutions of a model at rest, in evaluation: what is made of its parameters is made once.

Weights are scaled, and on a CPU laid out as oneDNN reads them: torch lets it do so anew before every convolution, which
for a few small images takes longer than the products. ReLUs are applied before an answer leaves the registers. A wide
conditioner is computed as matrix products over pixels, which run at the machine's full speed: convolutions from or to
few channels do not. None of this changes an answer by more than rounding.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glow_app.flows.fast import matmul
from glow_app.flows.fast.cache import WhileUnchanged, parameters_of
from glow_app.flows.fast.convolutions import (
    LOGS_FACTOR,
    Folded,
    Layer,
    channels_first,
    convolutions,
    convolve,
    fold,
    pixels,
)

WIDE = 256
"""Hidden channels from which products are faster: with fewer, adding up what pixels send each other takes away the
gain."""


class Packed(NamedTuple):
    """Of :class:`glow_app.flows.fast.matmul.Matrices`, what an answer without gradients takes, laid out for oneDNN.

    Attributes:
        first, second, second_bias, last, last_bias: see there.
    """

    first: Tensor
    second: Tensor
    second_bias: Tensor
    last: Tensor
    last_bias: Tensor


class Owner(nn.Module, ABC):
    """Whoever holds the parameters of one convolution, and nothing else."""

    @abstractmethod
    def layer(self) -> Layer:
        """The parameters."""


class ScaledConvolutions(nn.Module):
    """:func:`glow_app.flows.fast.convolutions.convolutions`, which in evaluation, without gradients, keeps what it can.

    It holds no parameters: they stay with their owners.
    """

    def __init__(self) -> None:
        super().__init__()
        self._prepared: WhileUnchanged[list[Folded] | Packed] = WhileUnchanged()

    def forward(self, x: Tensor, *owners: Owner) -> Tensor:
        if self.training or torch.is_grad_enabled():
            return convolutions(x, [owner.layer() for owner in owners])
        prepared = self._prepared(
            parameters_of(*owners), (x.shape[2:], x.dtype), lambda: prepare(x, [owner.layer() for owner in owners])
        )
        return multiply(x, prepared) if isinstance(prepared, Packed) else apply(x, prepared)

    def train(self, mode: bool = True) -> "ScaledConvolutions":
        self._prepared.drop()
        return super().train(mode)


def prepare(x: Tensor, layers: Sequence[Layer]) -> list[Folded] | Packed:
    """What :func:`multiply` or :func:`apply` take, for images of size, dtype and device of ``x``, however many."""
    height, width = x.shape[2:]
    if _multiplies(x, layers):
        (matrices,) = matmul.joint_matrices([layers], height, width, x.dtype).unbind()
        n_pixels = len(x) * height * width
        first, second, last = (_packed_rows(m, n_pixels) for m in (matrices.first, matrices.second, matrices.last))
        return Packed(first, second, matrices.second_bias, last, matrices.last_bias)
    folded = [fold(layer, torch.exp(LOGS_FACTOR * layer.logs), height, width, x.dtype) for layer in layers]
    if not _packs(x):
        return folded
    return [layer._replace(weight=_packed(layer.weight, len(x), height, width)) for layer in folded]


def apply(x: Tensor, layers: Sequence[Folded]) -> Tensor:
    """As :func:`glow_app.flows.fast.convolutions.convolutions`, without gradients."""
    x = x.contiguous(memory_format=torch.channels_last)
    for layer in layers[:-1]:
        x = _convolve(x, layer, relu=True)
    return _convolve(x, layers[-1], relu=False)


def multiply(x: Tensor, packed: Packed) -> Tensor:
    """As :func:`apply`, by products."""
    linear = torch.ops.mkldnn._linear_pointwise.default
    h = linear(matmul.columns(pixels(x), packed.first.shape[-1]), packed.first, None, "relu", [], None)
    h = linear(h, packed.second, packed.second_bias, "relu", [], None)
    parts = linear(h, packed.last, None, "none", [], None)
    return channels_first(_added_up(parts, (*pixels(x).shape[:3], packed.last_bias.shape[-1]), packed.last_bias))


def _added_up(parts: Tensor, shape: Sequence[int], bias: Tensor) -> Tensor:
    """:func:`products.added_up` as a CPU does it fastest: between rows, whose taps lie side by side, then within them.

    Args:
        parts: (B H W, 9 C and more), overwritten.
        shape: (B, H, W, C), of the answer.
        bias: (H * W, C), or (1, C).
    """
    n_images, height, width, n_channels = shape
    to_below, to_row, to_above, *_ = parts.view(n_images, height, width, parts.shape[-1]).split(3 * n_channels, -1)
    to_row[:, 1:].add_(to_below[:, :-1])
    to_row[:, :-1].add_(to_above[:, 1:])
    to_right, to_itself, to_left = to_row.split(n_channels, -1)
    y = bias.expand(height * width, n_channels).view(height, width, n_channels) + to_itself
    y[:, :, 1:].add_(to_right[:, :, :-1])
    y[:, :, :-1].add_(to_left[:, :, 1:])
    return y


def _convolve(x: Tensor, layer: Folded, relu: bool) -> Tensor:
    weight, bias = layer
    if not weight.is_mkldnn:
        y = convolve(x, layer)
        return F.relu_(y) if relu else y
    # What code generated by torch's compiler calls.
    pointwise = torch.ops.mkldnn._convolution_pointwise.default
    padding, stride, dilation, groups = [weight.shape[-1] // 2] * 2, [1, 1], [1, 1], 1
    if bias.dim() == 1:
        return pointwise(x, weight, bias, padding, stride, dilation, groups, "relu" if relu else "none", [], None)
    y = pointwise(x, weight, None, padding, stride, dilation, groups, "none", [], None).add_(bias)
    return F.relu_(y) if relu else y


def _multiplies(x: Tensor, layers: Sequence[Layer]) -> bool:
    """Whether these are the layers of a wide conditioner, and a CPU is to compute them in float32."""
    kernels = [layer.weight.shape[-1] for layer in layers]
    return kernels == [3, 1, 3] and len(layers[0].bias) >= WIDE and x.dtype == torch.float32 and _packs(x)


def _packs(x: Tensor) -> bool:
    """Whether oneDNN has convolutions for ``x`` on this machine."""
    if x.device.type != "cpu" or torch.compiler.is_compiling() or not torch.backends.mkldnn.is_available():
        return False
    if x.dtype == torch.bfloat16:
        return torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return x.dtype == torch.float32


def _packed(weight: Tensor, n_images: int, height: int, width: int) -> Tensor:
    padding = [weight.shape[-1] // 2] * 2
    size = [n_images, weight.shape[1], height, width]
    return torch.ops.mkldnn._reorder_convolution_weight(weight, padding, [1, 1], [1, 1], 1, size)


def _packed_rows(matrix: Tensor, n_pixels: int) -> Tensor:
    return torch.ops.mkldnn._reorder_linear_weight(matrix.contiguous(), n_pixels)
