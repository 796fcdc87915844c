"""The user's own photos: aligned as the training images are, compared with them, and given back changed."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, cast

import torch
from PIL import Image
from torch import Tensor

from glow_app.config.commands import PhotosConfig
from glow_app.data.alignment import Eyes, Placement, of_eyes, paste, take
from glow_app.data.image import Channels
from glow_app.data.landmarks import one_face
from glow_app.data.picture import fitted, placement_of
from glow_app.data.picture import open_photo as open_upright
from glow_app.errors import UserError
from glow_app.model import Model

DEVIATIONS, DEVIATION = 3, 0.35
"""A picture is unlike the training images if its bits/dim are this many standard deviations above their mean.

The second is the standard deviation, in bits/dim, that is assumed where the model's card does not tell it.
"""

_SPLITS = (("val", "validation"), ("test", "test"))


class Photo(NamedTuple):
    """A photo that a picture for a model was taken from.

    Attributes:
        path: its file.
        placement: where the picture lies in it.
        aligned: whether the eyes are where those of the training images are.
    """

    path: Path
    placement: Placement
    aligned: bool


def open_photo(path: Path, model: Model, config: PhotosConfig) -> tuple[Tensor, Photo]:
    """Opens a file as a picture for the model, uint8 (C, H, W): aligned if asked for, else cropped and resized.

    Raises:
        UserError: it is not an image; or it is to be aligned, and the model does not know where eyes belong, the extra
            ``align`` is missing, or not one face is found.
    """
    channels, height, width = model.image_shape
    eyes = _eyes_of(model, config) if config.align else None
    image = open_upright(path, cast(Channels, channels))
    if eyes is None:
        placement = placement_of(image.size, model.image_shape, model.card.data)
        return fitted(image, model.image_shape, model.card.data), Photo(path, placement, False)
    placement = of_eyes(one_face(image, str(path), config.face).eyes, eyes, height, width)
    return take(image, placement, height, width), Photo(path, placement, True)


def require_alignment(config: PhotosConfig) -> None:
    """Raises a UserError if a face is chosen, and nothing is aligned."""
    if config.face is not None and not config.align:
        raise UserError(f"face={config.face} chooses the face that is aligned: add align=true")


def _eyes_of(model: Model, config: PhotosConfig) -> Eyes:
    """Looks up where the eyes are in the training images: on the command line, or on the model's card.

    Raises:
        UserError: neither does.
    """
    given = getattr(config.data, "eyes", None) or model.card.eyes
    if given is None:
        raise UserError(
            "align=true: this model does not know where the eyes of its training images are; if these are aligned, add "
            "data.eyes=[x1,y1,x2,y2], their mean centres as fractions of width and height, here or in glow-train"
        )
    x1, y1, x2, y2 = given
    return x1, y1, x2, y2


def unlike(model: Model, photos: Sequence[Photo | None], pixels: Tensor, labels: Tensor | None, seed: int) -> list[str]:
    """Lines on the photos that are unlike the model's training images.

    These take more bits per dimension than the mean of its validation images (of its test images, if it had none) and
    ``DEVIATIONS`` standard deviations, both as on the model's card. Nothing is said if the card has no such mean.

    Args:
        model: the model.
        photos: where pictures are from; those that are not from photos are left out.
        pixels: uint8 (B, C, H, W), the pictures.
        labels: classes of the pictures, for a conditional model.
        seed: seed of the dequantization noise.
    """
    metrics = model.card.metrics
    known = [(split, word) for split, word in _SPLITS if f"{split}/bits_per_dim" in metrics]
    if not known or not any(photos):
        return []
    split, word = known[0]
    mean, error, n = (metrics.get(f"{split}/{key}") for key in ("bits_per_dim", "standard_error", "images"))
    assert mean is not None
    deviation = DEVIATION if error is None or n is None else error * n**0.5
    bits = model.bits_per_dim(pixels, labels, seed).tolist()
    return [
        f"{photo.path}: {own:.1f} bits/dim, where the model's {word} images have {mean:.1f}: unlike the training images"
        + ("" if photo.aligned or model.card.eyes is None else "; try align=true")
        for photo, own in zip(photos, bits, strict=True)
        if photo is not None and not own <= mean + DEVIATIONS * deviation
    ]


def pasted(photo: Photo, before: Tensor, after: Tensor) -> Image.Image:
    """Returns the photo, upright and at its own size, with the difference of two images of its picture added.

    Args:
        photo: the photo.
        before: uint8 (C, H, W), the picture as the model reconstructs it.
        after: uint8 (C, H, W), edited.
    """
    return paste(open_upright(photo.path, 3), after.to(torch.float32) - before.to(torch.float32), photo.placement)
