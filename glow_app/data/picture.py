"""The user's own pictures, cropped and resized like the training images of a model."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from PIL import Image
from torch import Tensor

from glow_app.data import transforms
from glow_app.data.image import SUFFIXES, Channels, CorruptImage, open_image, to_tensor
from glow_app.errors import UserError

CELEBA_SIZE = (178, 218)
"""(width, height) of CelebA's aligned images; only these are cropped as in its reader."""


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
    try:
        image = open_image(source, cast(Channels, image_shape[0]))
    except CorruptImage as error:
        raise UserError(f"image {error.name}: {error.found}; replace it, or leave it out") from error
    return fitted(image, image_shape, data)


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


def _is_multiple(image: Image.Image, side: int) -> bool:
    return image.width == image.height and image.width % side == 0


def picture_files(path: Path) -> list[Path]:
    """Returns the file itself, or the image files of a folder, sorted by name.

    Raises:
        UserError: the path does not exist, or the folder holds no image.
    """
    if not path.exists():
        raise UserError(f"image {path} does not exist: check its name, or give the number of an image of the data set")
    if not path.is_dir():
        return [path]
    files = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES and not file.name.startswith("."))
    if not files:
        raise UserError(f"no images in {path}: it holds no {', '.join(SUFFIXES)} files")
    return files
