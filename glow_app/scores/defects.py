"""Defects of an image that its pixels show by themselves: it is constant, or has a border of one colour.

Neither needs a model. Both are exact functions of the grey levels.
"""

import torch
from torch import Tensor

TOLERANCE = 8
"""Grey levels of 256 within which a colour is one colour: what JPEG does to it."""


def contrast(images: Tensor) -> Tensor:
    """``max_c (max x_c - min x_c)``: the largest range of grey levels of any channel, float64 (B,).

    Args:
        images: uint8 (B, C, H, W).
    """
    flat = images.flatten(2)
    return (flat.amax(2).int() - flat.amin(2).int()).amax(1).double().cpu()


def border(images: Tensor) -> Tensor:
    """Width of the widest border of one colour on any of the four sides, as a share of the side: float64 (B,).

    A border on top is the largest number of rows, from the first on, in which no channel has a range of more than
    ``TOLERANCE``, over all these rows together; 1 for a constant image.

    Args:
        images: uint8 (B, C, H, W).
    """
    sides = []
    for turned in (images, images.transpose(2, 3)):
        high, low = turned.amax(3).int(), turned.amin(3).int()
        for rows in ((high, low), (high.flip(2), low.flip(2))):
            spread = rows[0].cummax(2).values - rows[1].cummin(2).values
            sides.append((spread <= TOLERANCE).all(1).double().mean(1))
    return torch.stack(sides).amax(0).cpu()
