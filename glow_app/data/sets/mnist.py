"""MNIST (LeCun, Bottou, Bengio and Haffner, 1998) and Fashion-MNIST (Xiao, Rasul and Vollgraf, 2017).

60,000 and 10,000 grey images of 28 x 28 in ten classes, padded with zeros to 32 x 32 as in the released Glow code.
"""

import gzip
import io
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from glow_app.data.formats.arrays import read_bytes
from glow_app.data.formats.files import digest_files, find_level, require_choice, require_folder, require_split
from glow_app.data.image import Channels
from glow_app.data.sets.splits import held_out
from glow_app.data.source import ImageSource
from glow_app.data.transforms import zero_pad
from glow_app.errors import UserError

Variant = Literal["mnist", "fashion_mnist"]

CLASSES = {
    "mnist": tuple("0123456789"),
    "fashion_mnist": (
        "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
    ),
}  # fmt: skip

_FOLDERS = {"mnist": "MNIST/raw", "fashion_mnist": "FashionMNIST/raw"}
# The two sets use the same file names; their first training labels tell them apart.
_FIRST_LABELS = {"mnist": (5, 0, 4, 1, 9, 2, 1, 3), "fashion_mnist": (9, 0, 0, 3, 0, 2, 7, 2)}
_MAX_BYTES = 2**27
_IDX_UINT8 = 0x08


class Mnist(ImageSource):
    """One split of MNIST or Fashion-MNIST, from the idx files as downloaded, gzip or not.

    Layout: ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte`` and the same with ``t10k``, each with or without
    ``.gz``, in ``root`` or in torchvision's ``root/MNIST/raw`` or ``root/FashionMNIST/raw``.

    Args:
        root: the folder.
        split: ``test`` is the t10k part. ``val`` is the end of the training part, ``train`` the rest.
        variant: ``mnist`` or ``fashion_mnist``.
        channels: 1, or 3 (grey repeated, as in the released Glow code).
        validation: number of ``val`` images; with 0 there are none, and ``train`` has all 60,000.
        side: 28, or 32 for images padded with zeros.
        binarised: see :attr:`glow_app.data.source.ImageSource.binarised`.

    Raises:
        UserError: files are missing, damaged, or of the other variant; ``val`` without validation images.
    """

    def __init__(
        self,
        root: str | Path,
        split: str,
        variant: Variant = "mnist",
        channels: Channels = 1,
        validation: int = 5000,
        side: int = 32,
        binarised: bool = False,
    ) -> None:
        require_split(split)
        require_choice("data", variant, CLASSES)
        require_choice("data.channels", channels, (1, 3))
        self.name = variant
        self.split = split
        self.channels: Channels = channels
        self.image_shape = (channels, side, side)
        self.preprocessing = "28x28 padded with zeros to 32x32" if side == 32 else "28x28"
        self.binarised = binarised
        if binarised:
            self.preprocessing += ", pixels white at random with the probability of their grey level"
        self.class_names = CLASSES[variant]
        what = f"data={variant}"
        self.folder, part = _locate(require_folder(root, what), variant), "t10k" if split == "test" else "train"
        image_file, label_file = (_find(self.folder, part, kind, what) for kind in ("images", "labels"))
        images, labels = _read_idx(image_file, what, 3), _read_idx(label_file, what, 1)
        if images.shape[1:] != (28, 28) or len(images) != len(labels):
            raise UserError(
                f"{what}: {image_file} holds {images.shape} and {label_file} {labels.shape}: of two data sets?"
            )
        if not len(labels) or labels.max() > 9:
            raise UserError(f"{what}: {label_file} should hold labels from 0 to 9; is it of another data set (EMNIST)?")
        _refuse_other_variant(variant, part, labels, self.folder)
        rows = range(len(labels)) if split == "test" else held_out(len(labels), validation, split, what)
        self.files = [image_file.name, label_file.name]
        self._first = rows.start
        self._pixels = torch.from_numpy(images[rows.start : rows.stop].copy())[:, None]
        self.classes = torch.from_numpy(labels[rows.start : rows.stop].astype(np.int64))

    def __len__(self) -> int:
        return len(self._pixels)

    def __getitem__(self, index: int) -> Tensor:
        return self.fetch([index])[0]

    def fetch(self, indices: Sequence[int]) -> Tensor:
        pixels = self._pixels[torch.as_tensor(indices)]
        return zero_pad(pixels, self.image_shape[1]).repeat(1, self.channels, 1, 1)

    def item_name(self, index: int) -> str:
        return f"{'test' if self.split == 'test' else 'train'} {self._first + range(len(self))[index]}"

    def content(self) -> dict[str, object]:
        return {"first": self._first, "files": digest_files(self.folder, self.files)}


def _candidates(folder: Path, part: str, kind: str) -> list[Path]:
    """Existing files of a part and kind: some mirrors write a dot for the hyphen before idx."""
    number = {"images": 3, "labels": 1}[kind]
    names = (f"{part}-{kind}{mark}idx{number}-ubyte{end}" for mark in "-." for end in ("", ".gz"))
    return [folder / name for name in names if (folder / name).is_file()]


def _locate(root: Path, variant: Variant) -> Path:
    def has_images(folder: Path) -> bool:
        return any(_candidates(folder, part, "images") for part in ("train", "t10k"))

    for folder in (root, root / _FOLDERS[variant]):
        if has_images(folder):
            return folder
    near = find_level(root, has_images)
    if near is not None:
        raise UserError(f"data={variant}: {root} is the wrong level; if {near} is meant, set data.root={near}")
    raise UserError(f"data={variant}: no train-images-idx3-ubyte (or .gz) in {root} or {root / _FOLDERS[variant]}")


def _find(folder: Path, part: str, kind: str, what: str) -> Path:
    found = _candidates(folder, part, kind)
    if not found:
        number = 3 if kind == "images" else 1
        raise UserError(f"{what}: {part}-{kind}-idx{number}-ubyte (or .gz) is missing in {folder}; put it there")
    return found[0]


def _read_idx(path: Path, what: str, dimensions: int) -> np.ndarray:
    """Reads the uint8 array of an idx file: two zeros, type, number of dimensions, sizes (big-endian), values."""
    content = read_bytes(path, what)
    if content.startswith(b"\x1f\x8b"):
        try:
            with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
                content = file.read(_MAX_BYTES)  # a small file can inflate to gigabytes
        except (EOFError, OSError, zlib.error):
            raise UserError(f"{what}: {path} is cut short or damaged; download it again") from None
    if content[:4] != bytes((0, 0, _IDX_UINT8, dimensions)):
        raise UserError(f"{what}: {path} is no idx file of {dimensions} dimensions; download it again")
    begin = 4 + 4 * dimensions
    shape = tuple(int.from_bytes(content[k : k + 4], "big") for k in range(4, begin, 4))
    expected = begin + int(np.prod(shape, dtype=object))
    if len(content) != expected:
        raise UserError(
            f"{what}: {path} has {len(content):,} bytes, its header announces {expected:,}; download it again"
        )
    return np.frombuffer(content, dtype=np.uint8, offset=begin).reshape(shape)


def _refuse_other_variant(variant: str, part: str, labels: np.ndarray, folder: Path) -> None:
    first = tuple(labels[:8].tolist())
    other = next((name for name, known in _FIRST_LABELS.items() if name != variant and known == first), None)
    if part == "train" and other is not None:
        raise UserError(f"data={variant}: {folder} holds {other}, whose files have the same names; set data={other}")
