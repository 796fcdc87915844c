"""Scaled convolutions in inference: weights are scaled and packed once, for many batches.

On a CPU they are packed in oneDNN's format, which would otherwise happen before every convolution and, for a few small
images, take longer than the products. ReLUs are fused into the convolutions. A wide conditioner is computed as matrix
products over pixels, which are faster than convolutions from or to few channels. Outputs change only by rounding.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from glow_app.flows.fast import im2col, matmul
from glow_app.flows.fast.convolutions import (
    Folded,
    Layer,
    channels_first,
    convolved,
    fold,
    pixels,
)
from glow_app.flows.pixel_affine import LOGS_FACTOR

WIDE = 256
"""Hidden channels from which products are faster: with fewer, col2im takes longer than they save."""


class Packed(NamedTuple):
    """The part of :class:`glow_app.flows.fast.matmul.Matrices` that inference needs, packed for oneDNN.

    Attributes:
        first, second, second_bias, last, last_bias: see there.
    """

    first: Tensor
    second: Tensor
    second_bias: Tensor
    last: Tensor
    last_bias: Tensor


def pack(x: Tensor, layers: Sequence[Layer]) -> list[Folded] | Packed:
    """Packs weights for :func:`multiply` or :func:`convolve`, for images of the size, dtype and device of ``x``."""
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


def convolve(x: Tensor, layers: Sequence[Folded]) -> Tensor:
    """Computes :func:`glow_app.flows.fast.convolutions.convolutions` with folded layers, without gradients."""
    x = x.contiguous(memory_format=torch.channels_last)
    for layer in layers[:-1]:
        x = _convolve(x, layer, relu=True)
    return _convolve(x, layers[-1], relu=False)


def multiply(x: Tensor, packed: Packed) -> Tensor:
    """Computes the same as :func:`convolve` by matrix products."""
    linear = torch.ops.mkldnn._linear_pointwise.default
    h = linear(im2col.columns(pixels(x), packed.first.shape[-1]), packed.first, None, "relu", [], None)
    h = linear(h, packed.second, packed.second_bias, "relu", [], None)
    parts = linear(h, packed.last, None, "none", [], None)
    return channels_first(_col2im(parts, (*pixels(x).shape[:3], packed.last_bias.shape[-1]), packed.last_bias))


def _col2im(parts: Tensor, shape: Sequence[int], bias: Tensor) -> Tensor:
    """Computes :func:`im2col.col2im` in the fastest way on a CPU: sums between rows, then within them.

    Args:
        parts: (B H W, 9 C and more), overwritten.
        shape: (B, H, W, C), shape of the output.
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
        y = convolved(x, layer)
        return F.relu_(y) if relu else y
    # The operator that torch.compile generates.
    pointwise = torch.ops.mkldnn._convolution_pointwise.default
    padding, stride, dilation, groups = [weight.shape[-1] // 2] * 2, [1, 1], [1, 1], 1
    if bias.dim() == 1:
        return pointwise(x, weight, bias, padding, stride, dilation, groups, "relu" if relu else "none", [], None)
    y = pointwise(x, weight, None, padding, stride, dilation, groups, "none", [], None).add_(bias)
    return F.relu_(y) if relu else y


def _multiplies(x: Tensor, layers: Sequence[Layer]) -> bool:
    """Returns whether to use matrix products: for a wide conditioner in float32 on a CPU."""
    kernels = [layer.weight.shape[-1] for layer in layers]
    return kernels == [3, 1, 3] and len(layers[0].bias) >= WIDE and x.dtype == torch.float32 and _packs(x)


def _packs(x: Tensor) -> bool:
    """Returns whether oneDNN has convolutions for ``x`` on this machine."""
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
