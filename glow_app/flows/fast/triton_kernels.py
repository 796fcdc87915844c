"""What a GPU does between the matrix products of a coupling, as one Triton kernel where torch has several.

The numbers are small, and a GPU would spend more time on coming and going than on them. Every function here is the same
as a formula in ``im2col`` or ``coupling`` beside it, which says what is computed and is what other devices do.

Images are (B, H, W, C); a pixel's number counts them row by row, image by image.
"""

# pyright: reportMissingImports=false, reportGeneralTypeIssues=false, reportArgumentType=false, reportCallIssue=false
# Kernels are Python that is never run as such.

from collections.abc import Sequence

import triton
import triton.language as tl
from torch import Tensor

AT_ONCE = 1024
"""Numbers that one program makes."""


def patches(x: Tensor, n: int, constant: Tensor | None) -> Tensor:
    """``im2col.patches``: (B, H, W, C), of any strides, -> (B H W, n)."""
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
    """``im2col.col2im``: (B H W, 9 C and more), each row contiguous -> (B, H, W, C)."""
    _, height, width, n_channels = shape
    y = parts.new_empty(tuple(shape))
    grid, columns, rows = _programs(len(parts), n_channels)
    _col2im[grid](
        *(parts, parts if bias is None else bias, y, len(parts), height, width, parts.stride(0)),
        *(n_channels, bias is not None, bias is not None and len(bias) > 1, columns, rows),
    )
    return y


def affine(x1: Tensor, x2: Tensor, output: Tensor, bounded: bool, limit: float) -> tuple[Tensor, Tensor]:
    """The affine coupling of two halves (B, H, W, C), given the conditioner's output (B, H, W, 2C), all of any strides.

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
    """The gradients of ``x2`` (B, H, W, C) and of the conditioner's output (B, H, W, 2C).

    Args:
        z2: the second half of ``z``, as the log-scale and ``grad_z2`` (B, H, W, C), of any strides.
        log_scale: that :func:`affine` gave.
        grad_z2: the gradient of ``z2``.
        grad_logdet: that of the log-determinant, (B,).
        bounded, limit: of the scale's map.
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
    """How many programs a table takes, and how many columns and rows of it each of them makes."""
    columns = triton.next_power_of_2(n_columns)
    rows = max(1, AT_ONCE // columns)
    return (triton.cdiv(n_rows, rows),), columns, rows


@triton.jit
def _pixel(rows: tl.constexpr, height, width):
    """The pixels of this program: their numbers, images, rows and columns, as a column."""
    number = (tl.program_id(0) * rows + tl.arange(0, rows))[:, None]
    return number, number // (height * width), number // width % height, number % width


@triton.jit
def _place(image, i, j, channel, of_image, of_row, of_column, of_channel):
    """Where a number lies, by the strides of its tensor."""
    return image * of_image + i * of_row + j * of_column + channel * of_channel


@triton.jit
def _patches(
    x, constant, y, n_pixels, height, width, of_image, of_row, of_column, of_channel,
    n_channels: tl.constexpr, n: tl.constexpr, has_constant: tl.constexpr, columns: tl.constexpr, rows: tl.constexpr,
):  # fmt: skip
    number, image, i, j = _pixel(rows, height, width)
    column = tl.arange(0, columns)[None, :]
    tap, channel = column // n_channels, column % n_channels
    row_there, column_there = i + tap // 3 - 1, j + tap % 3 - 1
    inside = (row_there >= 0) & (row_there < height) & (column_there >= 0) & (column_there < width)
    place = _place(image, row_there, column_there, channel, of_image, of_row, of_column, of_channel)
    there = number < n_pixels
    value = tl.load(x + place, mask=inside & there & (tap < 9), other=0.0)
    if has_constant:
        last: tl.constexpr = n - 9 * n_channels
        at = (number % (height * width)) * last + column - 9 * n_channels
        value += tl.load(constant + at, mask=there & (tap >= 9) & (column < n), other=0.0)
    tl.store(y + number * n + column, value, mask=there & (column < n))


@triton.jit
def _col2im(
    parts, bias, y, n_pixels, height, width, of_pixel,
    n_channels: tl.constexpr, has_bias: tl.constexpr, by_pixel: tl.constexpr, columns: tl.constexpr, rows: tl.constexpr,
):  # fmt: skip
    number, _, i, j = _pixel(rows, height, width)
    channel = tl.arange(0, columns)[None, :]
    there = (number < n_pixels) & (channel < n_channels)
    total = tl.full([rows, columns], 0.0, parts.dtype.element_ty)
    for tap in tl.static_range(9):
        a = tap // 3 - 1
        b = tap % 3 - 1
        inside = (i + a >= 0) & (i + a < height) & (j + b >= 0) & (j + b < width)
        place = (number + a * width + b) * of_pixel + tap * n_channels + channel
        total += tl.load(parts + place, mask=there & inside, other=0.0)
    if has_bias:
        at = channel + ((number % (height * width)) * n_channels if by_pixel else 0 * number)
        total += tl.load(bias + at, mask=there, other=0.0)
    tl.store(y + number * n_channels + channel, total, mask=there)


@triton.jit
def _affine(
    x1, x2, output, z, log_scale, n_pixels, height, width,
    x1_image, x1_row, x1_column, x1_channel, x2_image, x2_row, x2_column, x2_channel,
    of_image, of_row, of_column, of_channel,
    half: tl.constexpr, bounded: tl.constexpr, limit: tl.constexpr, columns: tl.constexpr, rows: tl.constexpr,
):  # fmt: skip
    number, image, i, j = _pixel(rows, height, width)
    channel = tl.arange(0, columns)[None, :]
    there = (number < n_pixels) & (channel < half)
    kept = tl.load(x1 + _place(image, i, j, channel, x1_image, x1_row, x1_column, x1_channel), mask=there, other=0.0)
    moved = tl.load(x2 + _place(image, i, j, channel, x2_image, x2_row, x2_column, x2_channel), mask=there, other=0.0)
    place = _place(image, i, j, 2 * channel, of_image, of_row, of_column, of_channel)
    shift = tl.load(output + place, mask=there, other=0.0)
    raw = tl.load(output + place + of_channel, mask=there, other=0.0)
    if bounded:
        log_s = 2.0 * limit / (1.0 + tl.exp(raw * (-2.0 / limit))) - limit
    else:
        log_s = -tl.log(1.0 + tl.exp(-2.0 - raw))
        log_s = tl.where(log_s < limit, limit, log_s)  # a maximum would make a number of what is none
    at = number * (2 * half) + channel
    tl.store(z + at, kept, mask=there)
    tl.store(z + at + half, (moved + shift) * tl.exp(log_s), mask=there)
    tl.store(log_scale + number * half + channel, log_s, mask=there)


@triton.jit
def _affine_gradients(
    z2, log_scale, grad_z2, grad_logdet, grad_x2, grad_output, n_pixels, height, width,
    z2_image, z2_row, z2_column, z2_channel, s_image, s_row, s_column, s_channel,
    of_image, of_row, of_column, of_channel, of_logdet,
    half: tl.constexpr, bounded: tl.constexpr, limit: tl.constexpr, columns: tl.constexpr, rows: tl.constexpr,
):  # fmt: skip
    number, image, i, j = _pixel(rows, height, width)
    channel = tl.arange(0, columns)[None, :]
    there = (number < n_pixels) & (channel < half)
    z = tl.load(z2 + _place(image, i, j, channel, z2_image, z2_row, z2_column, z2_channel), mask=there, other=0.0)
    log_s = tl.load(
        log_scale + _place(image, i, j, channel, s_image, s_row, s_column, s_channel), mask=there, other=0.0
    )
    grad = tl.load(
        grad_z2 + _place(image, i, j, channel, of_image, of_row, of_column, of_channel), mask=there, other=0.0
    )
    of_log_s = grad * z + tl.load(grad_logdet + image * of_logdet, mask=number < n_pixels, other=0.0)
    scale = tl.exp(log_s)
    if bounded:
        of_raw = of_log_s * (1.0 - (log_s / limit) * (log_s / limit))
    else:
        of_raw = tl.where(log_s > limit, of_log_s * (1.0 - scale), 0.0)
    tl.store(grad_x2 + number * half + channel, scale * grad, mask=there)
    at = number * (2 * half) + 2 * channel
    tl.store(grad_output + at, scale * grad, mask=there)
    tl.store(grad_output + at + 1, of_raw, mask=there)
