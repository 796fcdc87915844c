"""Crops, resizes and augmentations of the published tables, one pure function each.

Functions of Pillow images run once, when a data set is decoded; functions of uint8 tensors use exact
integer (or rounding-safe) arithmetic and return the same pixels on every device.
"""

from functools import lru_cache

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import pad as pad_pixels

from glow_app.data.image import to_tensor

# Part of every source's fingerprint: raise it whenever any function here or in image.py changes a pixel.
PIXELS_VERSION = 1

# A shift is rounded to 1/2048 pixel, so that bilinear weights are integers and 255 * 2048**2 fits an int32.
_SHIFT_BITS = 11


def centre_crop(image: Image.Image, height: int, width: int) -> Image.Image:
    """Crops the central (height, width) part; of an odd margin the extra row or column is cut at the end.

    CelebA's crop of 148 is ``centre_crop(image, 148, 148)``: columns 15-162, rows 35-182 of 178 x 218.

    Raises:
        ValueError: the image is smaller than the crop.
    """
    if image.width < width or image.height < height:
        raise ValueError(f"an image of {image.width} x {image.height} has no central {width} x {height} part")
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def centre_crop_aspect(image: Image.Image, height: int, width: int) -> Image.Image:
    """Crops the largest central part with sides in the ratio height : width; for equal sides the centre square.

    The square's offsets are those of the released Glow code for LSUN: floor((side - square) / 2).
    """
    if image.width * height > image.height * width:
        return centre_crop(image, image.height, max(1, image.height * width // height))
    return centre_crop(image, max(1, image.width * height // width), image.width)


def resize_bilinear(image: Image.Image, height: int, width: int) -> Image.Image:
    """Resizes with an antialiased triangle filter, which widens with the reduction, like torchvision's ``Resize``."""
    return image.resize((width, height), Image.Resampling.BILINEAR)


def fit(image: Image.Image, height: int, width: int, how: str) -> Image.Image:
    """Makes a picture of any size one of ``height`` x ``width``, resized by :func:`resize_bilinear`.

    ``crop`` keeps the largest central part with the right proportions; ``pad`` the whole picture, in its own
    proportions, between black bars of equal width; ``stretch`` the whole picture, each side scaled for itself.
    """
    if how == "crop":
        image = centre_crop_aspect(image, height, width)
    if how != "pad":
        return resize_bilinear(image, height, width)
    scale = min(height / image.height, width / image.width)
    rows, columns = (max(1, min(height, round(image.height * scale))), max(1, min(width, round(image.width * scale))))
    padded = Image.new(image.mode, (width, height))
    padded.paste(resize_bilinear(image, rows, columns), ((width - columns) // 2, (height - rows) // 2))
    return padded


def celeba_aligned(image: Image.Image, height: int, width: int, crop: int | None) -> Image.Image:
    """Crops aligned CelebA to the central ``crop`` x ``crop`` (None: no crop) and resizes it, antialiased bilinear.

    The published table's 64 x 64 entries use crop 148, then 64. The crop is first cut to the largest central part
    with the proportions of height and width.
    """
    part = image if crop is None else centre_crop(image, crop, crop)
    return resize_bilinear(centre_crop_aspect(part, height, width), height, width)


def centre_square_boxed(image: Image.Image, size: int) -> Tensor:
    """LSUN at 96, 128 and 256: centre square, antialiased to the largest size * 2**k <= 256, then 2x2 box means.

    The released code resizes with Pillow's ``ANTIALIAS``, today called ``LANCZOS``, to 256. 256 / 96 is no power of
    two: for 96 the antialiased size is 192. Returns uint8 (C, size, size).
    """
    factor = 1
    while size * factor * 2 <= 256:
        factor *= 2
    side = size * factor
    return box_mean(to_tensor(centre_crop_aspect(image, 1, 1).resize((side, side), Image.Resampling.LANCZOS)), factor)


def binarise(pixels: Tensor, u: Tensor) -> Tensor:
    """Makes each pixel 255 with probability ``pixel / 255``, else 0. Burda et al. 2016.

    Args:
        pixels: uint8.
        u: uniform numbers in (0, 1), as many.
    """
    return torch.where(255 * u < pixels, 255, 0).to(torch.uint8)


def box_mean(pixels: Tensor, factor: int) -> Tensor:
    """Means over ``factor`` x ``factor`` boxes, rounded down: uint8 (..., H, W) to (..., H/factor, W/factor).

    For a power of two this equals the released code's repeated floating-point 2x2 mean with one floor at the end
    (CelebA-HQ from 1024 to 256, LSUN from 256), because those floating-point means are exact.
    """
    height, width = pixels.shape[-2:]
    if height % factor or width % factor:
        raise ValueError(f"{height} x {width} pixels do not divide into boxes of {factor} x {factor}")
    boxes = pixels.reshape(*pixels.shape[:-2], height // factor, factor, width // factor, factor)
    return (boxes.sum(dim=(-3, -1), dtype=torch.int64) // factor**2).to(torch.uint8)


def short_side(pixels: Tensor, size: int = 96) -> Tensor:
    """Reduces the short side of an image to ``size``: uint8 (C, H, W) to uint8 (C, size, W') or (C, H', size).

    RealNVP's LSUN preprocessing, also used by the released Glow code: scikit-image's ``pyramid_reduce``, a Gaussian of
    standard deviation (short side / size) / 3, then bilinear interpolation. The long side is rounded up, values are
    rounded down. The Gaussian is narrower than Pillow's triangle, and bits per dimension depend on it.
    Rounding errors are not reproduced: there a flat area of 255 becomes 254, and a few sides get a pixel more.
    An image whose short side is ``size`` is unchanged; a smaller one is enlarged bilinearly.
    """
    height, width = int(pixels.shape[-2]), int(pixels.shape[-1])
    short = min(height, width)
    if short == size:
        return pixels
    rows = _reduction(height, -(-height * size // short), short / size)
    columns = _reduction(width, -(-width * size // short), short / size)
    reduced = rows @ pixels.to(torch.float64) @ columns.T
    # The weights sum to one only up to rounding: without the margin a flat area of 255 would become 254.
    return (reduced + 1e-6).floor().clamp(0, 255).to(torch.uint8)


@lru_cache(maxsize=64)
def _reduction(n_in: int, n_out: int, downscale: float) -> Tensor:
    """Matrix of one axis of ``short_side``, float64 (n_out, n_in): Gaussian (edges mirrored), linear interpolation."""
    position = ((np.arange(n_out) + 0.5) * (n_in / n_out) - 0.5).clip(0, n_in - 1)
    low = np.minimum(position.astype(np.int64), n_in - 1)
    high = np.minimum(low + 1, n_in - 1)
    part = (position - low)[:, None]
    return torch.from_numpy(_blur(low, n_in, downscale) * (1 - part) + _blur(high, n_in, downscale) * part)


def _blur(at: np.ndarray, n_in: int, downscale: float) -> np.ndarray:
    """Gaussian weights around each index of ``at``, mirrored at the edges: float64 (len(at), n_in)."""
    weights_at = np.zeros((len(at), n_in))
    rows = np.arange(len(at))[:, None]
    if downscale <= 1:
        weights_at[rows, at[:, None]] = 1
        return weights_at
    sigma = downscale / 3
    radius = int(4 * sigma + 0.5)
    offsets = np.arange(-radius, radius + 1)
    weights = np.exp(-0.5 * (offsets / sigma) ** 2)
    weights /= weights.sum()
    source = (at[:, None] + offsets) % (2 * n_in)
    source = np.where(source < n_in, source, 2 * n_in - 1 - source)
    np.add.at(weights_at, (rows, source), weights)
    return weights_at


def crop_at(pixels: Tensor, size: int, fraction_y: float, fraction_x: float) -> Tensor:
    """The ``size`` x ``size`` crop whose corner is floor(fraction * (side - size + 1)): uint8 (C, H, W) -> (C, s, s).

    Uniform fractions in [0, 1) make every position equally likely, like TensorFlow's ``random_crop`` in the released
    LSUN 64 run; 0.5 is the centre.

    Raises:
        ValueError: the image is smaller than the crop.
    """
    height, width = int(pixels.shape[-2]), int(pixels.shape[-1])
    if height < size or width < size:
        raise ValueError(f"{width} x {height} pixels have no part of {size} x {size}")
    top = min(int(fraction_y * (height - size + 1)), height - size)
    left = min(int(fraction_x * (width - size + 1)), width - size)
    return pixels[..., top : top + size, left : left + size]


def zero_pad(pixels: Tensor, size: int) -> Tensor:
    """Pads with zeros, equally on opposite sides (MNIST from 28 to 32): uint8 (..., H, W) -> (..., size, size)."""
    height, width = int(pixels.shape[-2]), int(pixels.shape[-1])
    if height > size or width > size or (size - height) % 2 or (size - width) % 2:
        raise ValueError(f"{width} x {height} pixels cannot be padded evenly to {size} x {size}")
    rows, columns = (size - height) // 2, (size - width) // 2
    return pad_pixels(pixels, (columns, columns, rows, rows))


def shift(images: Tensor, fraction_y: Tensor, fraction_x: Tensor) -> Tensor:
    """Moves each image by its own fraction of its sides: out[y, x] = in[y + fraction_y * H, x + fraction_x * W].

    The published CIFAR-10 augmentation has fractions uniform in [-0.1, 0.1]. It is Keras' ``ImageDataGenerator`` with
    ``width_shift_range = height_shift_range = 0.1``: bilinear, the outside filled with the nearest pixel. The
    released code then rounds down to 8 bits.

    Args:
        images: uint8 (B, C, H, W), on any device.
        fraction_y, fraction_x: float (B,), rounded so that the shift is a multiple of 1/2048 pixel.

    Returns:
        uint8 (B, C, H, W), equal on every device: the arithmetic is in integers.
    """
    pixels = images.to(torch.int32)
    for dim, fraction in ((2, fraction_y), (3, fraction_x)):
        side = images.shape[dim]
        steps = torch.round(fraction.to(images.device, torch.float32) * (side << _SHIFT_BITS)).to(torch.int64)
        shape = [-1, 1, 1, 1]
        part = (steps & ((1 << _SHIFT_BITS) - 1)).to(torch.int32).view(shape)
        index = torch.arange(side, device=images.device) + (steps >> _SHIFT_BITS)[:, None]
        shape[dim] = side
        low = pixels.take_along_dim(index.clamp(0, side - 1).view(shape), dim)
        high = pixels.take_along_dim((index + 1).clamp(0, side - 1).view(shape), dim)
        pixels = (low << _SHIFT_BITS) + (high - low) * part
    return (pixels >> (2 * _SHIFT_BITS)).to(torch.uint8)


def flip(images: Tensor, mask: Tensor) -> Tensor:
    """Mirrors images left to right if ``mask`` (bool, (B,)) is true: uint8 (B, C, H, W) -> the same shape."""
    return torch.where(mask.to(images.device).view(-1, 1, 1, 1), images.flip(-1), images)
