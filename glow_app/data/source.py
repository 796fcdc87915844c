"""The interface of every data set."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from glow_app.data.alignment import Eyes
from glow_app.data.transforms import PIXELS_VERSION, crop_at
from glow_app.errors import UserError

SPLITS = ("train", "val", "test")


class EmptySplit(UserError):
    """A data set that was found, but has no images for a split."""


class ImageSource(ABC):
    """One split of one data set, decoded and preprocessed: ``source[i]`` is a uint8 tensor (C, H, W).

    Map-style and deterministic: the same index always returns the same pixels. Random steps of training
    (order, flips, shifts) happen later, as functions of the sample's position in the stream, never in a source.
    A pickled source holds no open files, so that it can be sent to worker processes.

    Attributes:
        name: name of the data set on the command line (``data=<name>``).
        split: one of ``train``, ``val``, ``test``.
        image_shape: (C, H, W) of every image.
        preprocessing: one line that describes the preprocessing, for reports and data cards.
        attribute_names: names of the binary attributes, in the order of the columns of ``attributes``.
        attributes: uint8 (N, len(attribute_names)), 1 if the image has the attribute; None without attributes.
        labelled: bool (N,): whether an image's attributes are known, else its row is 0; None: those of all are.
        classes: int64 (N,) class labels; None without classes.
        class_names: names of the classes, in the order of their labels.
        identities: int64 (N,), number of the person in each image; None if it is not known.
        left_out: how many pictures beside these are of formats that are not read, in words; empty if there are none.
        warning: a line to print before training on these images, or None.
        binarised: whether the stream makes each subpixel 255 with probability ``pixel / 255``, else 0, a function of
            the seed and the image's position: another image in each pass of training, the same in each evaluation.
    """

    name: str
    split: str
    image_shape: tuple[int, int, int]
    preprocessing: str
    attribute_names: tuple[str, ...] = ()
    attributes: Tensor | None = None
    labelled: Tensor | None = None
    classes: Tensor | None = None
    class_names: tuple[str, ...] = ()
    identities: Tensor | None = None
    left_out: str = ""
    warning: str | None = None
    binarised: bool = False

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, index: int) -> Tensor:
        """Pixels of one image, uint8 (C, H, W)."""

    @abstractmethod
    def item_name(self, index: int) -> str:
        """Readable name of an image: its file's path inside the data set, its key, or its number."""

    @property
    def eyes(self) -> Eyes | None:
        """Mean centres of the eyes, if the images are faces with the eyes at the same place, as far as is known."""
        return None

    def find_classes(self) -> None:
        """Requires ``classes`` and ``class_names``, for a conditional model; some sources set them only here.

        Raises:
            UserError: the data do not say which class each image belongs to.
        """
        if self.classes is None:
            raise UserError(
                f"data={self.name} has no class labels, and the model is class-conditional: choose other data, or "
                "train with model.class_conditional=false"
            )

    @abstractmethod
    def content(self) -> dict[str, object]:
        """JSON-ready facts that identify the files behind the pixels: their digest, the rows used."""

    def fingerprint(self) -> dict[str, object]:
        """Key of the pixel cache, JSON-ready: sources with equal fingerprints return equal pixels."""
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
        """Pixels of several images, uint8 (len(indices), C, H, W)."""
        return torch.stack([self[index] for index in indices])


def fingerprint_digest(source: ImageSource) -> str:
    """SHA-256 of a source's fingerprint: sources with equal digests return equal pixels."""
    return hashlib.sha256(json.dumps(source.fingerprint(), sort_keys=True).encode()).hexdigest()


class Labelled(ImageSource):
    """The images of a source whose attributes are known, in the same order.

    Args:
        source: a source with attributes; a table may have no row for some of its images.
    """

    def __init__(self, source: ImageSource) -> None:
        assert source.attributes is not None, "labels are attributes"
        self.source = source
        self.name, self.split, self.preprocessing = source.name, source.split, source.preprocessing
        self.image_shape = source.image_shape
        self.attribute_names, self.class_names = source.attribute_names, source.class_names
        known = torch.arange(len(source)) if source.labelled is None else source.labelled.nonzero().flatten()
        self.attributes = source.attributes[known]
        self.classes = None if source.classes is None else source.classes[known]
        self.identities = None if source.identities is None else source.identities[known]
        self._known = known.tolist()

    def __len__(self) -> int:
        return len(self._known)

    def __getitem__(self, index: int) -> Tensor:
        return self.source[self._known[index]]

    def fetch(self, indices: Sequence[int]) -> Tensor:
        return self.source.fetch([self._known[index] for index in indices])

    def item_name(self, index: int) -> str:
        return self.source.item_name(self._known[index])

    def content(self) -> dict[str, object]:
        return {**self.source.content(), "labelled": hashlib.sha256(str(self._known).encode()).hexdigest()}


class RandomCropSource(ImageSource):
    """A source with random crops, which differ on every pass: LSUN at 64x64, as published.

    ``source[i]`` is the central crop. The caller, who knows the sample's position in the stream, chooses other crops.
    """

    @abstractmethod
    def uncropped(self, index: int) -> Tensor:
        """Pixels before the crop, uint8 (C, h, w); sizes differ between images."""

    def fetch_crops(self, indices: Sequence[int], fractions: Tensor) -> Tensor:
        """Crops of several images, uint8 (len(indices), C, H, W).

        Args:
            indices: indices of the images.
            fractions: (len(indices), 2) in [0, 1), crop positions from top to bottom and from left to right.
        """
        crops = [
            crop_at(self.uncropped(index), self.image_shape[1], y, x)
            for index, (y, x) in zip(indices, fractions.tolist(), strict=True)
        ]
        return torch.stack(crops)

    def __getitem__(self, index: int) -> Tensor:
        return self.fetch_crops([index], torch.tensor([[0.5, 0.5]]))[0]
