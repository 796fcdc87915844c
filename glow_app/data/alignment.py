"""Takes a model's picture from a photo, with the eyes at their place, and pastes what is changed in it back."""

import math
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from glow_app.data.image import to_tensor
from glow_app.data.transforms import resize_bilinear

Eyes = tuple[float, float, float, float]
"""Mean centres of the eyes in training images: x1, y1, x2, y2 as fractions of width and height, the left one first."""

CELEBA_SIZE, CELEBA_EYES = (178, 218), (69.9, 113.2, 108.1, 113.3)
"""Width and height of CelebA's aligned images, and the mean centres of the eyes in them, in pixels.

The centre of an eye is the mean of its two corners, as :mod:`glow_app.data.landmarks` finds them; over 1,440 images the
standard deviation is 1.8 pixels.
"""

SOFT = 0.125
"""Width of the border in which a pasted change fades out, as a fraction of the picture's shorter side."""

_PIXELS_AT_ONCE = 1 << 20
"""Pixels of a photo that are pasted at once."""


class Placement(NamedTuple):
    """Maps points of a picture to points of the photo that it was taken from.

    Both are measured in pixels from the upper left corner: the first pixel's centre is (0.5, 0.5).

    Attributes:
        matrix: float64 (2, 3): point of the photo = matrix (x, y, 1).
    """

    matrix: np.ndarray

    @property
    def scale(self) -> float:
        """Pixels of the photo along one pixel of the picture."""
        return math.sqrt(abs(np.linalg.det(self.matrix[:, :2])))

    def inverse(self) -> "Placement":
        """Returns the map from points of the photo to points of the picture."""
        return Placement(np.linalg.inv(np.vstack([self.matrix, (0, 0, 1)]))[:2])

    def of(self, points: np.ndarray) -> np.ndarray:
        """Maps points, float64 (..., 2)."""
        return points @ self.matrix[:, :2].T + self.matrix[:, 2]


def of_box(left: float, top: float, right: float, bottom: float, height: int, width: int) -> Placement:
    """Returns the placement of a picture of ``height`` x ``width`` that shows this box of the photo."""
    return Placement(np.array([[(right - left) / width, 0, left], [0, (bottom - top) / height, top]]))


def of_eyes(found: np.ndarray, eyes: Eyes, height: int, width: int) -> Placement:
    """Returns the placement that turns, scales and shifts, so that two points of the photo become the eyes.

    Args:
        found: float64 (2, 2), (x, y) of the left and of the right eye in the photo, in pixels.
        eyes: where they belong.
        height: pixels of the picture.
        width: pixels of the picture.
    """
    x1, y1, x2, y2 = eyes
    # As complex numbers a similarity is z -> a z + b.
    first, second = complex(x1 * width, y1 * height), complex(x2 * width, y2 * height)
    a = (complex(*found[1]) - complex(*found[0])) / (second - first)
    b = complex(*found[0]) - a * first
    return Placement(np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]]))


def celeba_eyes(size: tuple[int, int], height: int, width: int, crop: int) -> Eyes | None:
    """Returns where the eyes are in aligned images of CelebA; None for images of other proportions.

    Args:
        size: (width, height) of the images: CelebA's own, or reduced.
        height: pixels to which :func:`glow_app.data.transforms.celeba_aligned` resizes their central part.
        width: the same.
        crop: its crop.
    """
    scale = size[0] / CELEBA_SIZE[0]
    if round(scale * CELEBA_SIZE[1]) != size[1]:
        return None
    part = min(crop, crop * width // height), min(crop, crop * height // width)
    corner = [(whole - side) // 2 for whole, side in zip(size, part, strict=True)]
    x1, y1, x2, y2 = ((scale * at - corner[i % 2]) / part[i % 2] for i, at in enumerate(CELEBA_EYES))
    return x1, y1, x2, y2


def take(photo: Image.Image, placement: Placement, height: int, width: int) -> Tensor:
    """Takes a picture from a photo in mode ``RGB`` or ``L``: uint8 (C, height, width).

    It is antialiased as training images are, by a triangle filter; beyond its edges the photo is mirrored.
    """
    reduction = max(1, int(placement.scale / 2))
    finer = max(1, math.ceil(placement.scale / reduction))
    pixels = to_tensor(photo.reduce(reduction)).float()
    ys, xs = np.mgrid[0 : height * finer, 0 : width * finer] + 0.5
    points = placement.of(np.stack([xs, ys], -1) / finer) / reduction
    sampled = _sample(pixels, points, "bilinear", "reflection").round().to(torch.uint8)
    picture = Image.fromarray(sampled.permute(1, 2, 0).squeeze(2).numpy())
    return to_tensor(resize_bilinear(picture, height, width))


def paste(photo: Image.Image, change: Tensor, placement: Placement) -> Image.Image:
    """Adds a change of a picture to the photo that it was taken from, in mode ``RGB``, at the photo's size.

    The change is interpolated bicubically, and fades out towards the picture's border.

    Args:
        photo: in mode ``RGB``.
        change: float (C, H, W), in grey levels.
        placement: where the picture lies in the photo.
    """
    _, height, width = change.shape
    pixels = np.array(photo, dtype=np.uint8)
    corners = placement.of(np.array([(0, 0), (width, 0), (0, height), (width, height)], dtype=float))
    left, top = np.floor(corners.min(0)).clip(0).astype(int)
    right, bottom = np.ceil(corners.max(0)).clip(0, photo.size).astype(int)
    back, rows = placement.inverse(), max(1, _PIXELS_AT_ONCE // max(1, right - left))
    for start in range(top, bottom, rows):
        part = pixels[start : min(start + rows, bottom), left:right]
        ys, xs = np.mgrid[0 : part.shape[0], 0 : part.shape[1]] + 0.5
        points = back.of(np.stack([xs + left, ys + start], -1))
        moved = _sample(change, points, "bicubic", "border").permute(1, 2, 0).numpy()
        part[:] = (part + _fading(points, height, width) * moved).round().clip(0, 255)
    return Image.fromarray(pixels)


def _fading(points: np.ndarray, height: int, width: int) -> np.ndarray:
    """Weights of points of a picture, (..., 1): 0 at its border and outside, 1 inside, smooth in between."""
    x, y = points[..., 0], points[..., 1]
    inside = np.minimum(np.minimum(x, width - x), np.minimum(y, height - y)) / (SOFT * min(height, width))
    inside = inside.clip(0, 1)[..., None]
    return inside * inside * (3 - 2 * inside)


def _sample(pixels: Tensor, points: np.ndarray, mode: str, beyond: str) -> Tensor:
    """Interpolates pixels (C, H, W) at points (h, w, 2), in pixels from the upper left corner: float32 (C, h, w)."""
    sides = np.array([pixels.shape[2], pixels.shape[1]])
    grid = torch.from_numpy((2 * points / sides - 1).astype(np.float32))
    return F.grid_sample(pixels[None].float(), grid[None], mode, beyond, align_corners=False)[0]
