"""The pictures that a command is given: images of a data set, or the user's own photos, which can be aligned."""

import itertools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, cast

import torch
from PIL import Image
from rich.console import Console
from torch import Tensor

from glow_app.commands.common import class_number, file_name, open_split_of
from glow_app.config.commands import SAMPLE, PhotosConfig
from glow_app.config.editing import EditConfig, InterpolateConfig, RestoreConfig
from glow_app.data.alignment import Eyes, Placement, of_eyes, paste, take
from glow_app.data.image import Channels
from glow_app.data.landmarks import one_face
from glow_app.data.picture import fitted, picture_files, placement_of
from glow_app.data.picture import open_photo as open_upright
from glow_app.data.source import ImageSource
from glow_app.errors import UserError
from glow_app.evaluation.limits import usual
from glow_app.flows import VAE
from glow_app.likelihood import seen
from glow_app.model import Model
from glow_app.runtime.console import say
from glow_app.units import Bits

TEMPERATURE = 0.7
"""The temperature of samples."""


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


class Picture(NamedTuple):
    """An image given to a command.

    Attributes:
        name: display name, usable in a file name: letters, digits, ``_`` and ``-``.
        pixels: uint8 (C, H, W).
        label: class, for a conditional model.
        photo: the file that it was taken from; None for an image of a data set.
    """

    name: str
    pixels: Tensor
    label: int | None
    photo: Photo | None = None


def open_pictures(
    config: InterpolateConfig | EditConfig | RestoreConfig, model: Model, console: Console
) -> list[Picture]:
    """Opens the images that ``images`` names: files, folders of files, numbers of a data set's images, or samples.

    Raises:
        UserError: no image is named, one is missing, no image or not to be aligned, or a label is missing or unknown.
    """
    if not config.images:
        raise UserError(
            "images has no value: name files, folders, samples, or numbers of the data set: images=a.png,sample:0"
        )
    if config.face is not None and not config.align:
        raise UserError(f"face={config.face} chooses the face that is aligned: add align=true")
    source: ImageSource | None = None
    chosen = None if config.label is None else class_number(model.card, config.label)
    pictures: list[Picture] = []
    for name in config.images:
        if re.fullmatch(r"\d+", name):
            try:
                source = source or open_split_of(model, config.data, config.split, console)
            except UserError as error:
                raise UserError(f"{error}; or name a file, or a sample: images=sample:{name}") from error
            pictures.append(_from_data_set(source, int(name), chosen))
            continue
        if sample := SAMPLE.fullmatch(name):
            pictures.append(_sample(model, int(sample[1]), config.seed, chosen))
            continue
        for path in picture_files(Path(name)):
            pixels, photo = open_photo(path, model, config)
            pictures.append(Picture(file_name(path.stem), pixels, chosen, photo))
    if model.flow.n_classes and any(picture.label is None for picture in pictures):
        raise UserError(f"this model is class-conditional: add label=..., one of {', '.join(model.card.class_names)}")
    return _uniquely_named(pictures)


def _from_data_set(source: ImageSource, index: int, label: int | None) -> Picture:
    if index >= len(source):
        raise UserError(f"images={index}: {source.name} {source.split} has the images 0 to {len(source) - 1}")
    if label is None and source.classes is not None:
        label = int(source.classes[index])
    return Picture(f"{source.split}_{index}", source[index], label)


def _sample(model: Model, number: int, seed: int, label: int | None) -> Picture:
    """Draws sample ``number``, that of ``glow-sample`` with the same seed and temperature."""
    pixels = model.sample(1, TEMPERATURE, seed, label, number)[0].cpu()
    return Picture(f"sample_{number}", pixels, label)


def _uniquely_named(pictures: list[Picture]) -> list[Picture]:
    """Numbers repeated names, whose files would overwrite each other."""
    taken: set[str] = set()
    unique: list[Picture] = []
    for picture in pictures:
        numbered = (f"{picture.name}_{number}" for number in itertools.count(2))
        name = next(name for name in itertools.chain([picture.name], numbered) if name not in taken)
        taken.add(name)
        unique.append(picture._replace(name=name))
    return unique


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


def unlike(
    model: Model,
    photos: Sequence[Photo | None],
    pixels: Tensor,
    labels: Tensor | None,
    seed: int,
    advice: str = "try align=true",
) -> list[str]:
    """Lines on the photos that are unlike the model's training images.

    These take more bits per dimension than its validation images (its test images, if it had none) usually do, see
    :func:`glow_app.evaluation.limits.usual`. Nothing is said if the card does not tell.

    Args:
        model: the model.
        photos: where pictures are from; those that are not from photos are left out.
        pixels: uint8 (B, C, H, W), the pictures.
        labels: classes of the pictures, for a conditional model.
        seed: seed of the dequantization noise.
        advice: how to align a photo that is not, if the model knows where eyes belong.
    """
    known = usual(model.card)
    if known is None or not any(photos) or isinstance(model.flow, VAE):  # whose bits/dim are a bound of another kind
        return []
    bits = model.bits_per_dim(pixels, labels, seed).tolist()
    usually = f"the model's {known.images} images have {known.mean:.1f}"
    return [
        f"{photo.path}: {own:.1f} bits/dim, where {usually}: unlike the training images"
        + ("" if photo.aligned or model.card.eyes is None else f"; {advice}")
        for photo, own in zip(photos, bits, strict=True)
        if photo is not None and not own <= known.most
    ]


def pasted(photo: Photo, before: Tensor, after: Tensor) -> Image.Image:
    """Returns the photo, upright and at its own size, with the difference of two images of its picture added.

    Args:
        photo: the photo.
        before: uint8 (C, H, W), the picture as the model reconstructs it.
        after: uint8 (C, H, W), edited.
    """
    return paste(open_upright(photo.path, 3), after.to(torch.float32) - before.to(torch.float32), photo.placement)


def pixels_of(pictures: list[Picture]) -> Tensor:
    """Returns the pictures as one batch, uint8 (B, C, H, W)."""
    return torch.stack([picture.pixels for picture in pictures])


def encode(model: Model, pictures: list[Picture]) -> list[Tensor]:
    """Computes the latents of pictures, as one batch."""
    return model.encode(pixels_of(pictures), labels_of(model, pictures))


def say_reconstruction(decoded: Tensor, pictures: list[Picture], n_bits: Bits, what: str, console: Console) -> None:
    """Reports how exactly pictures are reconstructed from their latents, before these are edited, and which are not."""
    errors = (decoded.cpu().int() - seen(pixels_of(pictures), n_bits).int()).abs().flatten(1).amax(1).tolist()
    say(console, f"{what}: {errors.count(0)} of {len(pictures)} reconstructed exactly")
    for picture, error in zip(pictures, errors, strict=True):
        if error:
            say(console, f"  {picture.name} is not: it is off by up to {error} of 255 grey levels")


def say_unlike(model: Model, pictures: list[Picture], seed: int, console: Console) -> None:
    """Reports the photos that are unlike the training images, see :func:`unlike`."""
    photos = [picture.photo for picture in pictures]
    for line in unlike(model, photos, pixels_of(pictures), labels_of(model, pictures), seed):
        say(console, line)


def labels_of(model: Model, pictures: list[Picture]) -> Tensor | None:
    """Returns the labels of pictures, int64 (B,), for a conditional model, else None."""
    if not model.flow.n_classes:
        return None
    return torch.tensor([picture.label for picture in pictures])
