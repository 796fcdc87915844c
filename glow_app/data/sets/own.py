"""A data set object of a program."""

import hashlib
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from glow_app.data.image import normalized, to_tensor
from glow_app.data.picture import grey_levels, picture_of_array
from glow_app.data.source import ImageSource
from glow_app.errors import UserError


class Indexed(Protocol):
    """A data set of a program: a length, and an image, or a pair (image, label), for every index below it."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


class Own(ImageSource):
    """The images of any indexed data set, such as a ``torch.utils.data.Dataset``, as they are.

    An image is a tensor (C, H, W), an array (H, W, C) or (H, W), or a PIL image; uint8, or floats from 0 to 1. All have
    one shape. With pairs (image, label), labels are the numbers 0, 1, ... of classes: ``images.targets`` if there is
    such a list, as torchvision has it; otherwise all pairs are read once. Their names are ``images.classes``, else the
    numbers. A data set with ``attribute_names`` and ``attributes`` (N, A) of 0 and 1 has these attributes.

    Args:
        images: the data set; the same index should always give the same image.
        split: ``train``, ``val`` or ``test``.

    Raises:
        UserError: there is no image, or the first one or a label is none.
    """

    def __init__(self, images: Indexed, split: str) -> None:
        self.images = images
        self.name = type(images).__name__
        self.split = split
        self.preprocessing = "as the program gives them"
        if not len(images):
            raise UserError(f"there are no {split} images: this {self.name} has length 0")
        first = images[0]
        self._rows = isinstance(first, tuple | list)
        n_channels, height, width = self._pixels(first, 0).shape
        self.image_shape = (n_channels, height, width)
        if self._rows and len(first) > 1:
            self.classes = self._labels()
            known = getattr(images, "classes", None) or range(int(self.classes.max()) + 1)
            self.class_names = tuple(map(str, known))
        names, attributes = (getattr(images, key, None) for key in ("attribute_names", "attributes"))
        if names is not None and attributes is not None:
            self.attribute_names = tuple(names)
            self.attributes = torch.as_tensor(attributes, dtype=torch.uint8)
            if tuple(self.attributes.shape) != (len(images), len(self.attribute_names)):
                raise UserError(
                    f"the attributes of the {split} images have shape {tuple(self.attributes.shape)}: give one row for "
                    f"each of {len(images)} images, one column for each of {len(self.attribute_names)} names"
                )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        pixels = self._pixels(self.images[index], index)
        if tuple(pixels.shape) != self.image_shape:
            raise UserError(
                f"{self.split} image {index} has shape {tuple(pixels.shape)}, and the first one {self.image_shape}: "
                "crop or resize them to one"
            )
        return pixels

    def item_name(self, index: int) -> str:
        return str(index)

    def content(self) -> dict[str, object]:
        digest = hashlib.sha256()
        for index in sorted({0, len(self) // 2, len(self) - 1}):  # all would take as long as a pass over them
            digest.update(self[index].numpy().tobytes())
        return {"three images": digest.hexdigest()}

    def _pixels(self, item: Any, index: int) -> Tensor:
        image = item[0] if self._rows else item
        try:
            if isinstance(image, np.ndarray):
                image = picture_of_array(image)
            if isinstance(image, Image.Image):
                return to_tensor(normalized(image, 1 if image.mode in ("1", "L", "I", "I;16") else 3))
            if isinstance(image, Tensor) and image.dim() == 3:
                return grey_levels(image)
        except ValueError as error:
            raise UserError(f"{self.split} image {index}: {error}") from error
        found = tuple(image.shape) if isinstance(image, Tensor) else type(image).__name__
        raise UserError(
            f"{self.split} image {index} is {found}: give a tensor (C, H, W), an array (H, W, C) or a PIL image"
        )

    def _labels(self) -> Tensor:
        labels: Sequence[int] | Tensor = getattr(self.images, "targets", None)  # type: ignore[assignment]
        if labels is None:
            labels = [self.images[index][1] for index in range(len(self))]
        try:
            numbers = torch.as_tensor(labels)
        except (TypeError, ValueError, RuntimeError) as error:
            raise UserError(f"the labels of the {self.split} images are no numbers of classes ({error})") from error
        if numbers.is_floating_point() or tuple(numbers.shape) != (len(self),) or int(numbers.min()) < 0:
            raise UserError(
                f"the labels of the {self.split} images are {numbers.dtype} {tuple(numbers.shape)}: give the number of "
                "a class, 0, 1, ..., with each image, or images alone"
            )
        return numbers.long()


def as_source(images: ImageSource | Indexed, split: str) -> ImageSource:
    """Returns the images themselves if they are a source, or wraps them as :class:`Own`."""
    return images if isinstance(images, ImageSource) else Own(images, split)
