"""3x3 convolutions as matrix products: the patch around each pixel (im2col), and the sum of patches (col2im).

Images are (B, H, W, C) here, the memory order of a channels_last tensor.
"""

# pyright: reportPrivateImportUsage=false

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from glow_app.flows.fast.convolutions import frame
from glow_app.flows.fast.device import kernels_for


def patches(x: Tensor, n: int, constant: Tensor | None = None) -> Tensor:
    """Extracts the 3x3 patch around each pixel, ordered by kernel position, then channel; then ``constant``.

    Args:
        x: (B, H, W, C).
        n: columns of the output.
        constant: (1, H, W, n - 9 C), the last columns, the same for all images; zeros if None.

    Returns:
        (B H W, n).
    """
    if (kernels := kernels_for(x)) is not None:
        return kernels.patches(x, n, constant)
    n_images, height, width, n_channels = x.shape
    framed = F.pad(x, (0, 0, 1, 1, 1, 1))
    if torch.compiler.is_compiling():  # compiled to one loop
        parts = [framed.unfold(1, 3, 1).unfold(2, 3, 1).permute(0, 1, 2, 4, 5, 3).flatten(3)]
    else:
        # Three neighbours in a row are adjacent in memory.
        row_windows = framed.flatten(2).unfold(2, 3 * n_channels, n_channels)
        parts = [row_windows[:, row : row + height] for row in range(3)]
    if missing := n - 9 * n_channels:
        constant = x.new_zeros(1, 1, 1, 1) if constant is None else constant
        parts.append(constant.expand(n_images, height, width, missing))
    return torch.cat(parts, -1).flatten(0, 2)


def col2im(parts: Tensor, shape: Sequence[int], bias: Tensor | None = None) -> Tensor:
    """Sums patches: ``y[i, j] = sum over a, b of parts[i + a - 1, j + b - 1, a, b]``, plus ``bias``.

    Args:
        parts: (B H W, 9 C and more), in the column order of :func:`patches`.
        shape: (B, H, W, C), shape of the output.
        bias: (H * W, C), per pixel, or (1, C).
    """
    if (kernels := kernels_for(parts)) is not None:
        return kernels.col2im(parts, shape, bias)
    *_, height, width, n_channels = shape
    framed = F.pad(parts.unflatten(0, tuple(shape[:3])), (0, 0, 1, 1, 1, 1))[..., : 9 * n_channels]
    windows = framed.unflatten(3, (3, 3, n_channels)).unfold(1, 3, 1).unfold(2, 3, 1)
    y = windows.diagonal(0, 3, 6).diagonal(0, 3, 5).sum((4, 5))
    if bias is None:
        return y
    return y + (bias if len(bias) == 1 else bias.view(1, height, width, n_channels))


def columns(x: Tensor, n: int) -> Tensor:
    """The patches of ``x`` (B, H, W, C), to multiply with ``Matrices.first`` of ``n`` columns: (B H W, n)."""
    _, height, width, n_channels = x.shape
    return patches(x, n, _constant(height, width, n - 9 * n_channels, x))


_CONSTANTS: dict[tuple[int, int, int, torch.dtype, torch.device], Tensor] = {}


def _constant(height: int, width: int, n: int, like: Tensor) -> Tensor:
    """Returns the last ``n`` columns, equal for all images: border channel patches, a 1, zeros: (1, H, W, n)."""
    key = height, width, n, like.dtype, like.device
    if torch.compiler.is_compiling():
        return _make_constant(*key)  # traced tensors must not be cached
    if key not in _CONSTANTS:
        with torch.inference_mode(False):  # training needs it too, even if inference creates it
            _CONSTANTS[key] = _make_constant(*key)
    return _CONSTANTS[key]


def _make_constant(height: int, width: int, n: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    inside = torch.zeros(1, height, width, 1, dtype=dtype, device=device)
    around = frame(height, width, inside).around.view(1, height, width, 9)
    return torch.cat([around, torch.ones_like(inside), inside.expand(-1, -1, -1, n - 10)], -1)
