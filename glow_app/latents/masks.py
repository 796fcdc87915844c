"""Masks: which pixels of an image are missing, by name, from a file, or given as numbers."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from glow_app import noise
from glow_app.config.check import no_mask
from glow_app.config.commands import RANDOM_MASK
from glow_app.data.image import to_tensor
from glow_app.data.picture import open_photo
from glow_app.errors import UserError

Mask = str | Path | Tensor | np.ndarray | Image.Image
"""A name, a file, a PIL image, or numbers (H, W). Where it is white (grey 128 and more) or true, pixels are missing."""


def missing(mask: Mask, height: int, width: int, seed: int = 0) -> Tensor:
    """Returns which pixels are missing: bool (H, W), the same in all channels.

    Names are ``left``, ``right``, ``top`` and ``bottom`` (that half is missing), ``centre`` (the middle half of rows
    and columns) and ``random:0.5`` (that share of the pixels, chosen by ``seed``).

    Raises:
        UserError: no such name or file, another size than that of the images, or nothing or everything is missing.
    """
    found = _named(mask, height, width, seed) if isinstance(mask, str) else None
    name = f"mask={mask}" if isinstance(mask, str | Path) else "the mask"
    if found is None:
        found = _of_numbers(mask, name)
    if tuple(found.shape) != (height, width):
        size = " x ".join(map(str, reversed(found.shape)))
        raise UserError(f"{name} has {size} pixels, and the model's images {width} x {height}: resize it")
    if not found.any():
        raise UserError(f"{name}: nothing is missing; paint what is to be filled white, on black")
    if found.all():
        raise UserError(f"{name}: everything is missing; leave something black, or draw samples: glow-sample")
    return found


def _named(name: str, height: int, width: int, seed: int) -> Tensor | None:
    """The mask of that name; None if it is the name of a file."""
    found = torch.zeros(height, width, dtype=torch.bool)
    rows, columns = slice(height // 2), slice(width // 2)
    if name == "left":
        found[:, columns] = True
    elif name == "right":
        found[:, width // 2 :] = True
    elif name == "top":
        found[rows] = True
    elif name == "bottom":
        found[height // 2 :] = True
    elif name == "centre":
        found[height // 4 : -(height // 4) or None, width // 4 : -(width // 4) or None] = True
    elif chosen := RANDOM_MASK.fullmatch(name):
        share = float(chosen[1])
        if not 0 < share < 1:
            raise UserError(f"mask={name}: the share that is missing must be above 0 and below 1")
        order = noise.permutation(seed, noise.Stream.MASK, 0, height * width)
        found.view(-1)[order[: round(share * height * width)]] = True
    elif Path(name).is_file():
        return None
    else:
        raise no_mask(name)
    return found


def _of_numbers(mask: Mask, name: str) -> Tensor:
    if isinstance(mask, Image.Image):
        mask = np.array(mask.convert("L"))
    if isinstance(mask, str | Path):
        return to_tensor(open_photo(mask, 1))[0] >= 128
    numbers = torch.as_tensor(mask).cpu()
    if numbers.dim() != 2:
        raise UserError(f"{name} has shape {tuple(numbers.shape)}: give (H, W)")
    return numbers >= 128 if numbers.dtype == torch.uint8 else numbers > 0.5
