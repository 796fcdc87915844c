"""What every data set is to the rest of the package."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from glow_app.data.transforms import PIXELS_VERSION, crop_at
from glow_app.errors import UserError

SPLITS = ("train", "val", "test")


class EmptySplit(UserError):
    """The data set is there, but it has no images for this split."""


class ImageSource(ABC):
    """One split of one data set, decoded and preprocessed: ``source[i]`` is a uint8 tensor (C, H, W).

    Map-style and deterministic: the same index always gives the same pixels. Whatever is random in training
    (order, flips, shifts) happens later, as a function of the sample's position in the stream, never in a source.
    A source holds no open files when it is pickled, so that it can travel to worker processes.

    Attributes:
        name: the data set's word on the command line (``data=<name>``).
        split: one of ``train``, ``val``, ``test``.
        image_shape: (C, H, W) of every image.
        preprocessing: one line that says what happened to the pixels, for reports and data cards.
        attribute_names: names of the binary attributes, in the order of the columns of ``attributes``.
        attributes: uint8 (N, len(attribute_names)), 1 where the image has the attribute; None where there are none.
        classes: int64 (N,) class labels; None where there are none.
        class_names: names of the classes, in the order of their numbers.
    """

    name: str
    split: str
    image_shape: tuple[int, int, int]
    preprocessing: str
    attribute_names: tuple[str, ...] = ()
    attributes: Tensor | None = None
    classes: Tensor | None = None
    class_names: tuple[str, ...] = ()

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, index: int) -> Tensor:
        """uint8 (C, H, W) pixels of one image."""

    @abstractmethod
    def item_name(self, index: int) -> str:
        """What a person calls this image: its file's path inside the data set, its key, or its number."""

    @abstractmethod
    def content(self) -> dict[str, object]:
        """JSON-ready facts that tell this source's pixels from those of other files: their digest, the rows used."""

    def fingerprint(self) -> dict[str, object]:
        """JSON-ready: two sources with equal fingerprints give equal pixels. The pixel cache is keyed by it."""
        return {
            "source": self.name,
            "split": self.split,
            "images": len(self),
            "image_shape": list(self.image_shape),
            "preprocessing": self.preprocessing,
            "code": PIXELS_VERSION,
            "content": self.content(),
        }

    def fetch(self, indices: Sequence[int]) -> Tensor:
        """uint8 (len(indices), C, H, W) pixels of several images."""
        return torch.stack([self[index] for index in indices])


def fingerprint_digest(source: ImageSource) -> str:
    """SHA-256 of a source's fingerprint: two sources with equal digests give equal pixels."""
    return hashlib.sha256(json.dumps(source.fingerprint(), sort_keys=True).encode()).hexdigest()


class RandomCropSource(ImageSource):
    """A source whose images are cropped at random, each time elsewhere: LSUN at 64x64, as published.

    ``source[i]`` is the central crop. Where else to crop is decided by whoever knows the sample's position.
    """

    @abstractmethod
    def uncropped(self, index: int) -> Tensor:
        """uint8 (C, h, w) before the crop; sizes differ from image to image."""

    def fetch_crops(self, indices: Sequence[int], fractions: Tensor) -> Tensor:
        """uint8 (len(indices), C, H, W) crops of several images.

        Args:
            indices: which images.
            fractions: (len(indices), 2) in [0, 1): where between top and bottom, and between left and right.
        """
        crops = [
            crop_at(self.uncropped(index), self.image_shape[1], y, x)
            for index, (y, x) in zip(indices, fractions.tolist(), strict=True)
        ]
        return torch.stack(crops)

    def __getitem__(self, index: int) -> Tensor:
        return self.fetch_crops([index], torch.tensor([[0.5, 0.5]]))[0]
