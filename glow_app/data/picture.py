"""The user's own pictures, cropped and resized like the training images of a model."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from glow_app.data import transforms
from glow_app.data.alignment import CELEBA_SIZE, Placement, of_box
from glow_app.data.image import SUFFIXES, Channels, CorruptImage, normalized, open_image, to_tensor
from glow_app.errors import UserError

Images = Tensor | np.ndarray | Image.Image | str | Path | Sequence["Tensor | np.ndarray | Image.Image | str | Path"]
"""One image or several: tensors (C, H, W) or (B, C, H, W); arrays (H, W, C), (H, W) or (B, H, W, C); PIL images; files.

Numbers are uint8 from 0 to 255, or floats from 0 to 1, which are rounded to one of 256 grey levels.
"""

KINDS = "a tensor (C, H, W), an array (H, W, C), a PIL image or a file"
"""The kinds of pictures that :func:`pixels_of` takes, in words."""


def open_picture(source: str | Path | bytes, image_shape: tuple[int, int, int], data: Mapping[str, Any]) -> Tensor:
    """Reads one image file as uint8 pixels of a model's image shape (C, H, W).

    Original images of a data set are preprocessed as by its reader: CelebA's 178 x 218 images are cropped, CelebA-HQ's
    larger squares averaged, MNIST's digits padded. Other images are fitted by :func:`glow_app.data.transforms.fit` as
    ``data.fit`` says, or else cropped to the largest central part with the right proportions. Files are decoded by
    :func:`glow_app.data.image.open_image`.

    Args:
        source: a path, or the encoded bytes.
        image_shape: (C, H, W).
        data: options of the data set that the model was trained on.

    Raises:
        UserError: missing, unreadable or not an image.
    """
    return fitted(open_photo(source, cast(Channels, image_shape[0])), image_shape, data)


def open_photo(source: str | Path | bytes, channels: Channels) -> Image.Image:
    """Opens one image with :func:`glow_app.data.image.open_image`.

    Raises:
        UserError: missing, unreadable or not an image.
    """
    try:
        return open_image(source, channels)
    except CorruptImage as error:
        raise UserError(f"image {error.name}: {error.found}; replace it, or leave it out") from error


def fitted(image: Image.Image, image_shape: tuple[int, int, int], data: Mapping[str, Any]) -> Tensor:
    """Crops and resizes an upright image in mode ``RGB`` or ``L`` as :func:`open_picture` does: uint8 (C, H, W)."""
    _, height, width = image_shape
    name = data.get("name")
    if name == "celeba" and image.size == CELEBA_SIZE:
        return to_tensor(transforms.celeba_aligned(image, height, width, data.get("crop")))
    if name == "celeba_hq" and _is_multiple(image, height):
        return transforms.box_mean(to_tensor(image), image.width // width)
    if name in ("mnist", "fashion_mnist") and image.size == (28, 28):
        return transforms.zero_pad(to_tensor(image), height)
    return to_tensor(transforms.fit(image, height, width, data.get("fit", "crop")))


def placement_of(size: tuple[int, int], image_shape: tuple[int, int, int], data: Mapping[str, Any]) -> Placement:
    """Returns where in an image of ``size`` (width, height) the picture lies that :func:`fitted` makes of it."""
    _, height, width = image_shape
    across, down = size
    name, how = data.get("name"), data.get("fit", "crop")
    if name == "celeba_hq" and across == down and across % height == 0:
        how = "stretch"
    part = across, down
    if name == "celeba" and size == CELEBA_SIZE and data.get("crop") is not None:
        part = data["crop"], data["crop"]
    if name in ("mnist", "fashion_mnist") and size == (28, 28):
        part = width, height
    elif how == "crop":
        wide = part[0] * height > part[1] * width
        part = (max(1, part[1] * width // height), part[1]) if wide else (part[0], max(1, part[0] * height // width))
    elif how == "pad":
        scale = min(height / down, width / across)
        columns, rows = max(1, min(width, round(across * scale))), max(1, min(height, round(down * scale)))
        left, top = (width - columns) // 2 * across / columns, (height - rows) // 2 * down / rows
        return of_box(-left, -top, width * across / columns - left, height * down / rows - top, height, width)
    left, top = (across - part[0]) // 2, (down - part[1]) // 2
    return of_box(left, top, left + part[0], top + part[1], height, width)


def picture_of_array(array: np.ndarray) -> Image.Image:
    """Converts an array (H, W) or (H, W, C), C being 1 (grey), 3 (RGB) or 4 (RGBA), as :func:`grey_levels` does.

    Raises:
        ValueError: it has another shape, or its numbers another type or range.
    """
    if array.ndim not in (2, 3) or array.shape[2:] not in ((), (1,), (3,), (4,)) or 0 in array.shape:
        raise ValueError(
            f"an array of shape {array.shape} is no image: give (H, W), or (H, W, C) with 1, 3 or 4 channels"
        )
    pixels = grey_levels(torch.from_numpy(np.array(array))).numpy()  # a copy: it may be read-only
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2:] == (1,) else pixels)


def grey_levels(pixels: Tensor) -> Tensor:
    """Converts pixels of any shape to uint8: floats from 0 (black) to 1 (white) to the nearest of 256 grey levels.

    Raises:
        ValueError: they are neither uint8 nor floats from 0 to 1; other ranges have no one meaning.
    """
    if pixels.dtype == torch.uint8:
        return pixels
    if pixels.is_floating_point() and bool(((pixels >= 0) & (pixels <= 1)).all()):
        return (255 * pixels).round().to(torch.uint8)
    span = f" from {pixels.min().item():g} to {pixels.max().item():g}" if pixels.numel() else ""
    raise ValueError(
        f"images are {str(pixels.dtype).removeprefix('torch.')} {tuple(pixels.shape)}{span}: give uint8 from 0 to 255, "
        "or floats from 0 to 1"
    )


def pixels_of(
    picture: Tensor | np.ndarray | Image.Image | str | Path, image_shape: tuple[int, int, int], data: Mapping[str, Any]
) -> Tensor:
    """Converts one picture of any kind to uint8 pixels of a model's image shape (C, H, W).

    A tensor, or an array of shape (C, H, W), must have that shape. Arrays (H, W) or (H, W, C) and PIL images are
    treated as files are by :func:`open_picture`. For numbers see :func:`grey_levels`.

    Raises:
        UserError: a file is missing, unreadable or not an image.
        ValueError: a tensor or an array has another shape, type or range.
    """
    if isinstance(picture, str | Path):
        return open_picture(picture, image_shape, data)
    if isinstance(picture, np.ndarray) and picture.shape == image_shape:
        picture = torch.from_numpy(np.array(picture))  # a copy: it may be read-only
    if isinstance(picture, np.ndarray):
        picture = picture_of_array(picture)
    if isinstance(picture, Image.Image):
        return fitted(normalized(picture, cast(Channels, image_shape[0])), image_shape, data)
    if not isinstance(picture, Tensor):
        raise ValueError(f"an image is a {type(picture).__name__}: give {KINDS}")
    if tuple(picture.shape) != image_shape:
        raise ValueError(f"an image has shape {tuple(picture.shape)}; this model takes {image_shape}")
    return grey_levels(picture)


def _is_multiple(image: Image.Image, side: int) -> bool:
    return image.width == image.height and image.width % side == 0


def picture_files(path: Path) -> list[Path]:
    """Returns the file itself, or the image files of a folder, sorted by name.

    Raises:
        UserError: the path does not exist, or the folder holds no image.
    """
    if not path.exists():
        raise UserError(
            f"image {path} does not exist: check its name, or give the number of an image of the data set, or a "
            "sample, sample:0"
        )
    if not path.is_dir():
        return [path]
    files = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES and not file.name.startswith("."))
    if not files:
        raise UserError(f"no images in {path}: it holds no {', '.join(SUFFIXES)} files")
    return files


def batch_of(images: Any, image_shape: tuple[int, int, int], data: Mapping[str, Any]) -> Tensor:
    """Converts one or several images to uint8 (B, C, H, W), see :func:`pixels_of`.

    Raises:
        UserError: a file is not an image.
        ValueError: there are none, or one has another shape, type or range.
    """
    if isinstance(images, Tensor) and images.dim() == 4 and len(images) > 0:
        if tuple(images.shape[1:]) != image_shape:
            shape = ", ".join(map(str, image_shape))
            raise ValueError(f"images have shape {tuple(images.shape)}; this model takes (B, {shape})")
        return grey_levels(images)
    one = isinstance(images, Image.Image | str | Path)
    if one or (isinstance(images, Tensor | np.ndarray) and images.ndim < 4):
        images = [images]
    if not isinstance(images, Tensor | np.ndarray | Sequence) or isinstance(images, bytes):
        raise ValueError(f"images are a {type(images).__name__}: give {KINDS}, or a list of these")
    if len(images) == 0:
        raise ValueError("there are no images: give at least one")
    return torch.stack([pixels_of(image, image_shape, data) for image in images])
