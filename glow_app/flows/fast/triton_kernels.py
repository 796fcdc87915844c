"""Triton kernels for the operations between a coupling's matrix products, for each of which torch launches several.

The tensors are small, so launches would take longer than the work. Every function computes the same as its formula in
``im2col`` or ``coupling``, which other devices use.

Images are (B, H, W, C); pixels are numbered row by row, image by image.
"""

# pyright: reportMissingImports=false, reportGeneralTypeIssues=false, reportArgumentType=false, reportCallIssue=false
# Kernels are never run as Python.

from collections.abc import Sequence

import triton
import triton.language as tl
from torch import Tensor

AT_ONCE = 1024
"""Numbers that one program computes."""


def patches(x: Tensor, n: int, constant: Tensor | None) -> Tensor:
    """Computes ``im2col.patches``: (B, H, W, C), of any strides, -> (B H W, n)."""
    n_images, height, width, n_channels = x.shape
    y = x.new_empty(n_images * height * width, n)
    grid, columns, rows = _programs(len(y), n)
    last = y if constant is None else constant
    _patches[grid](
        *(x, last, y, len(y), height, width, *x.stride()),
        *(n_channels, n, constant is not None, columns, rows),
    )
    return y


def col2im(parts: Tensor, shape: Sequence[int], bias: Tensor | None) -> Tensor:
    """Computes ``im2col.col2im``: (B H W, 9 C and more), each row contiguous -> (B, H, W, C)."""
    _, height, width, n_channels = shape
    y = parts.new_empty(tuple(shape))
    grid, columns, rows = _programs(len(parts), n_channels)
    _col2im[grid](
        *(parts, parts if bias is None else bias, y, len(parts), height, width, parts.stride(0)),
        *(n_channels, bias is not None, bias is not None and len(bias) > 1, columns, rows),
    )
    return y


def affine(x1: Tensor, x2: Tensor, output: Tensor, bounded: bool, limit: float) -> tuple[Tensor, Tensor]:
    """Computes the affine coupling of halves (B, H, W, C), given the conditioner's output (B, H, W, 2C); any strides.

    Returns:
        ``z`` (B, H, W, 2C) and the log-scale (B, H, W, C).
    """
    n_images, height, width, half = x2.shape
    z, log_scale = x2.new_empty(n_images, height, width, 2 * half), x2.new_empty(x2.shape)
    n_pixels = n_images * height * width
    grid, columns, rows = _programs(n_pixels, half)
    _affine[grid](
        *(x1, x2, output, z, log_scale, n_pixels, height, width, *x1.stride(), *x2.stride(), *output.stride()),
        *(half, bounded, limit, columns, rows),
    )
    return z, log_scale


def affine_gradients(
    z2: Tensor, log_scale: Tensor, grad_z2: Tensor, grad_logdet: Tensor, bounded: bool, limit: float
) -> tuple[Tensor, Tensor]:
    """Computes the gradients of ``x2`` (B, H, W, C) and of the conditioner's output (B, H, W, 2C).

    Args:
        z2: the second half of ``z``: (B, H, W, C) of any strides, as ``log_scale`` and ``grad_z2``.
        log_scale: as returned by :func:`affine`.
        grad_z2: the gradient of ``z2``.
        grad_logdet: the gradient of the log-determinant, (B,).
        bounded, limit: attributes of the scale map.
    """
    n_images, height, width, half = z2.shape
    grad_x2, grad_output = z2.new_empty(z2.shape), z2.new_empty(n_images, height, width, 2 * half)
    n_pixels = n_images * height * width
    grid, columns, rows = _programs(n_pixels, half)
    _affine_gradients[grid](
        *(z2, log_scale, grad_z2, grad_logdet, grad_x2, grad_output, n_pixels, height, width),
        *(*z2.stride(), *log_scale.stride(), *grad_z2.stride(), grad_logdet.stride(0)),
        *(half, bounded, limit, columns, rows),
    )
    return grad_x2, grad_output


def _programs(n_rows: int, n_columns: int) -> tuple[tuple[int], int, int]:
    """Returns the number of programs for a table, and the columns and rows that each computes."""
    columns = triton.next_power_of_2(n_columns)
    rows = max(1, AT_ONCE // columns)
    return (triton.cdiv(n_rows, rows),), columns, rows


@triton.jit
def _pixel(rows: tl.constexpr, height, width):
    """Returns the pixels of this program: their numbers, images, rows and columns, each as a column."""
    number = (tl.program_id(0) * rows + tl.arange(0, rows))[:, None]
    return number, number // (height * width), number // width % height, number % width


@triton.jit
def _offset(image, i, j, channel, stride_image, stride_row, stride_column, stride_channel):
    """Computes the offset of an element from the strides of its tensor."""
    return image * stride_image + i * stride_row + j * stride_column + channel * stride_channel


@triton.jit
def _patches(
    x, constant, y, n_pixels, height, width, stride_image, stride_row, stride_column, stride_channel,
    n_channels: tl.constexpr, n: tl.constexpr, has_constant: tl.constexpr, columns: tl.constexpr, rows: tl.constexpr,
):  # fmt: skip
    number, image, i, j = _pixel(rows, height, width)
    column = tl.arange(0, columns)[None, :]
    position, channel = column // n_channels, column % n_channels
    source_row, source_column = i + position // 3 - 1, j + position % 3 - 1
    inside = (source_row >= 0) & (source_row < height) & (source_column >= 0) & (source_column < width)
    offset = _offset(image, source_row, source_column, channel, stride_image, stride_row, stride_column, stride_channel)
    valid = number < n_pixels
    value = tl.load(x + offset, mask=inside & valid & (position < 9), other=0.0)
    if has_constant:
        last: tl.constexpr = n - 9 * n_channels
        at = (number % (height * width)) * last + column - 9 * n_channels
        value += tl.load(constant + at, mask=valid & (position >= 9) & (column < n), other=0.0)
    tl.store(y + number * n + column, value, mask=valid & (column < n))


@triton.jit
def _col2im(
    parts, bias, y, n_pixels, height, width, stride_pixel,
    n_channels: tl.constexpr, has_bias: tl.constexpr, by_pixel: tl.constexpr, columns: tl.constexpr, rows: tl.constexpr,
):  # fmt: skip
    number, _, i, j = _pixel(rows, height, width)
    channel = tl.arange(0, columns)[None, :]
    valid = (number < n_pixels) & (channel < n_channels)
    total = tl.full([rows, columns], 0.0, parts.dtype.element_ty)
    for position in tl.static_range(9):
        a = position // 3 - 1
        b = position % 3 - 1
        inside = (i + a >= 0) & (i + a < height) & (j + b >= 0) & (j + b < width)
        offset = (number + a * width + b) * stride_pixel + position * n_channels + channel
        total += tl.load(parts + offset, mask=valid & inside, other=0.0)
    if has_bias:
        at = channel + ((number % (height * width)) * n_channels if by_pixel else 0 * number)
        total += tl.load(bias + at, mask=valid, other=0.0)
    tl.store(y + number * n_channels + channel, total, mask=valid)


@triton.jit
def _affine(
    x1, x2, output, z, log_scale, n_pixels, height, width,
    x1_image, x1_row, x1_column, x1_channel, x2_image, x2_row, x2_column, x2_channel,
    stride_image, stride_row, stride_column, stride_channel,
    half: tl.constexpr, bounded: tl.constexpr, limit: tl.constexpr, columns: tl.constexpr, rows: tl.constexpr,
):  # fmt: skip
    number, image, i, j = _pixel(rows, height, width)
    channel = tl.arange(0, columns)[None, :]
    valid = (number < n_pixels) & (channel < half)
    kept = tl.load(x1 + _offset(image, i, j, channel, x1_image, x1_row, x1_column, x1_channel), mask=valid, other=0.0)
    moved = tl.load(x2 + _offset(image, i, j, channel, x2_image, x2_row, x2_column, x2_channel), mask=valid, other=0.0)
    offset = _offset(image, i, j, 2 * channel, stride_image, stride_row, stride_column, stride_channel)
    shift = tl.load(output + offset, mask=valid, other=0.0)
    raw = tl.load(output + offset + stride_channel, mask=valid, other=0.0)
    if bounded:
        log_s = 2.0 * limit / (1.0 + tl.exp(raw * (-2.0 / limit))) - limit
    else:
        log_s = -tl.log(1.0 + tl.exp(-2.0 - raw))
        log_s = tl.where(log_s < limit, limit, log_s)  # tl.maximum would replace NaN by a number
    at = number * (2 * half) + channel
    tl.store(z + at, kept, mask=valid)
    tl.store(z + at + half, (moved + shift) * tl.exp(log_s), mask=valid)
    tl.store(log_scale + number * half + channel, log_s, mask=valid)


@triton.jit
def _affine_gradients(
    z2, log_scale, grad_z2, grad_logdet, grad_x2, grad_output, n_pixels, height, width,
    z2_image, z2_row, z2_column, z2_channel, s_image, s_row, s_column, s_channel,
    stride_image, stride_row, stride_column, stride_channel, stride_logdet,
    half: tl.constexpr, bounded: tl.constexpr, limit: tl.constexpr, columns: tl.constexpr, rows: tl.constexpr,
):  # fmt: skip
    number, image, i, j = _pixel(rows, height, width)
    channel = tl.arange(0, columns)[None, :]
    valid = (number < n_pixels) & (channel < half)
    z = tl.load(z2 + _offset(image, i, j, channel, z2_image, z2_row, z2_column, z2_channel), mask=valid, other=0.0)
    log_s = tl.load(
        log_scale + _offset(image, i, j, channel, s_image, s_row, s_column, s_channel), mask=valid, other=0.0
    )
    grad = tl.load(
        grad_z2 + _offset(image, i, j, channel, stride_image, stride_row, stride_column, stride_channel),
        mask=valid,
        other=0.0,
    )
    grad_log_s = grad * z + tl.load(grad_logdet + image * stride_logdet, mask=number < n_pixels, other=0.0)
    scale = tl.exp(log_s)
    if bounded:
        grad_raw = grad_log_s * (1.0 - (log_s / limit) * (log_s / limit))
    else:
        grad_raw = tl.where(log_s > limit, grad_log_s * (1.0 - scale), 0.0)
    tl.store(grad_x2 + number * half + channel, scale * grad, mask=valid)
    at = number * (2 * half) + 2 * channel
    tl.store(grad_output + at, scale * grad, mask=valid)
    tl.store(grad_output + at + 1, grad_raw, mask=valid)
