"""ImageNet at 32 x 32 and 64 x 64, in its two distributions, which differ in their pixels and must not be compared.

* ``older``: PNG folders ``train_32x32`` and ``valid_32x32`` (van den Oord, Kalchbrenner and Kavukcuoglu, 2016, from
  image-net.org/small): the one of the published tables.
* ``newer``: ``train_data_batch_1`` ... ``10`` and ``val_data`` as npz or pickles (Chrabaszcz, Loshchilov and Hutter,
  arXiv 1707.08819): box-filtered, therefore smoother, about 0.26 bits per dimension lower at 32 x 32.
"""

import re
from bisect import bisect_right
from itertools import accumulate
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from glow_app.data.formats.arrays import load_npz, load_pickle, rows_and_labels
from glow_app.data.formats.files import (
    OnCorrupt,
    digest_files,
    find_level,
    require_choice,
    require_folder,
    require_split,
)
from glow_app.data.formats.image_store import FolderStore
from glow_app.data.image import decode_image
from glow_app.data.sets.splits import held_out
from glow_app.data.source import ImageSource
from glow_app.errors import UserError

Distribution = Literal["auto", "older", "newer"]

SIZES = (32, 64)
_DESCRIBED = {
    "older": "older ImageNet{0} (PNG folders of 2016, as in the published tables), as distributed",
    "newer": "newer ImageNet{0} (antialiased batches of 2017; not comparable with published tables), as distributed",
}
_BATCH = re.compile(r"(train_data_batch_(\d+)|val_data)(\.npz)?")


class SmallImageNet(ImageSource):
    """One split of ImageNet32 or ImageNet64.

    Layout: ``root`` holds the PNG folders of the older distribution, or the batch files of the newer one, which may
    also be one or two folders below (``Imagenet32_train``, ``Imagenet32_val``).

    The newer distribution's batches are read whole, one at a time, on demand: reading in order, as the pixel cache
    does, is fast, random access is slow.

    Args:
        root: the folder.
        split: ``test`` is the distribution's validation part, whose bits per dimension are published. ``val`` is the
            end of the training part, ``train`` the rest.
        image_size: 32 or 64.
        validation: number of ``val`` images; the published run trains on all: ``validation=0``, and then there is
            no ``val``.
        distribution: ``older``, ``newer``, or ``auto``: the one found.
        on_corrupt: how the caller reacts to a ``CorruptImage``; see that class.

    Attributes:
        distribution: ``older`` or ``newer``; ``preprocessing`` describes it.
        classes: 0 to 999 in the newer distribution's order; None in the older, which has no labels.

    Raises:
        UserError: neither or both are found, files are damaged or of another size; ``val`` without validation images.
    """

    def __init__(
        self,
        root: str | Path,
        split: str,
        image_size: int = 32,
        validation: int = 10_000,
        distribution: Distribution = "auto",
        on_corrupt: OnCorrupt = "error",
    ) -> None:
        require_split(split)
        require_choice("data.image_size", image_size, SIZES)
        require_choice("data.distribution", distribution, ("auto", "older", "newer"))
        require_choice("data.on_corrupt", on_corrupt, ("error", "skip"))
        self.name = f"imagenet{image_size}"
        self.split = split
        self.on_corrupt = on_corrupt
        self.image_shape = (3, image_size, image_size)
        base = require_folder(root, f"data={self.name}")
        self.distribution = _choose(base, image_size, distribution)
        self.preprocessing = _DESCRIBED[self.distribution].format(image_size)
        part = _OlderPart if self.distribution == "older" else _NewerPart
        self._part = part(base, split == "test", image_size, f"data={self.name}")
        n = len(self._part)
        self._rows = range(n) if split == "test" else held_out(n, validation, split, f"data={self.name}")
        labels = self._part.labels()
        if labels is not None:
            self.class_names = tuple(str(number) for number in range(1000))  # the distribution has no names
        self.classes = None if labels is None else torch.from_numpy(labels[self._rows.start : self._rows.stop])

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Tensor:
        return self._part.pixels(self._rows[index])

    def item_name(self, index: int) -> str:
        return self._part.item_name(self._rows[index])

    def content(self) -> dict[str, object]:
        rows = [self._rows.start, self._rows.stop]
        return {"distribution": self.distribution, "rows": rows, "files": self._part.digest()}


class _OlderPart:
    """The PNG files of one part, in the order of their names."""

    def __init__(self, root: Path, test: bool, size: int, what: str) -> None:
        folder = root / _png_folder(test, size)
        if not folder.is_dir():
            raise UserError(f"{what}: {folder} does not exist; unpack {folder.name}.tar there")
        self._store = FolderStore(folder)
        self._size = size
        self._what = what
        if not self._store.names:
            raise UserError(f"{what}: no images in {folder}; unpack {folder.name}.tar again")

    def __len__(self) -> int:
        return len(self._store.names)

    def pixels(self, row: int) -> Tensor:
        pixels = decode_image(self._store.read(row), 3, self._store.label(row))
        if pixels.shape != (3, self._size, self._size):
            found = "x".join(str(side) for side in pixels.shape[1:])
            raise UserError(f"{self._what}: {self._store.label(row)} is {found} pixels, not {self._size}x{self._size}")
        return pixels

    def labels(self) -> np.ndarray | None:
        return None

    def item_name(self, row: int) -> str:
        return f"{self._store.where.name}/{self._store.names[row]}"

    def digest(self) -> str:
        return self._store.digest()


class _NewerPart:
    """The batch files of one part, in the order of their numbers; only one batch of pixels is in memory."""

    def __init__(self, root: Path, test: bool, size: int, what: str) -> None:
        self._root = root
        self._size = size
        self._what = what
        found = {number: path for path in _batch_files(root) if ((number := _batch_number(path)) == 0) == test}
        expected = [0] if test else list(range(1, 11))
        missing = [number for number in expected if number not in found]
        if missing:
            names = ", ".join("val_data" if number == 0 else f"train_data_batch_{number}" for number in missing)
            raise UserError(f"{what}: {names} (.npz or pickled) missing in {root}; download the rest")
        self._files = [found[number] for number in expected]
        self._loaded: tuple[int, np.ndarray] | None = None
        labels = [self._read_labels(path) for path in self._files]
        self._labels = np.concatenate(labels)
        self._ends = list(accumulate(len(part) for part in labels))

    def __len__(self) -> int:
        return self._ends[-1]

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_loaded": None}

    def pixels(self, row: int) -> Tensor:
        number = bisect_right(self._ends, row)
        if self._loaded is None or self._loaded[0] != number:
            self._loaded = None  # free the old batch before the next one is loaded
            self._loaded = (number, self._read(self._files[number])[0])
        first = self._ends[number - 1] if number else 0
        return torch.from_numpy(self._loaded[1][row - first].reshape(3, self._size, self._size).copy())

    def labels(self) -> np.ndarray | None:
        return self._labels

    def item_name(self, row: int) -> str:
        number = bisect_right(self._ends, row)
        return f"{self._files[number].name} {row - (self._ends[number - 1] if number else 0)}"

    def digest(self) -> str:
        return digest_files(self._root, [path.relative_to(self._root).as_posix() for path in self._files])

    def _read(self, path: Path) -> tuple[np.ndarray, np.ndarray]:
        """Reads uint8 (N, 3 * size**2) pixels and int64 (N,) labels from 1."""
        npz = path.suffix == ".npz"
        batch = load_npz(path, self._what, ("data", "labels")) if npz else load_pickle(path, self._what)
        return rows_and_labels(batch, path, self._what, 3 * self._size**2)

    def _read_labels(self, path: Path) -> np.ndarray:
        """Reads int64 (N,) labels from 0: of an npz without the pixels, while a pickle must be read whole."""
        if path.suffix == ".npz":
            labels = load_npz(path, self._what, ("labels",)).get("labels", np.empty(0))
        else:
            labels = self._read(path)[1]
        numbers = labels.ndim == 1 and labels.dtype.kind in "iu" and len(labels) > 0
        if not numbers or not 1 <= labels.min() <= labels.max() <= 1000:
            raise UserError(f"{self._what}: {path} has no labels from 1 to 1000; is it of another data set?")
        return labels.astype(np.int64) - 1


def _png_folder(test: bool, size: int) -> str:
    return f"{'valid' if test else 'train'}_{size}x{size}"


def _batch_number(path: Path) -> int:
    """Number of a train batch; 0 for ``val_data``, -1 for other files."""
    match = _BATCH.fullmatch(path.name)
    return int(match.group(2) or 0) if match else -1


def _batch_files(root: Path) -> list[Path]:
    """Batch files in ``root`` and up to two folders below; of a batch in both forms the npz comes last and wins."""
    patterns = [f"{level}{name}*" for level in ("", "*/", "*/*/") for name in ("train_data_batch_", "val_data")]
    found = [path for pattern in patterns for path in root.glob(pattern) if _batch_number(path) >= 0]
    return sorted((path for path in found if path.is_file()), key=lambda path: (path.suffix, path.as_posix()))


def _has_older(root: Path, size: int) -> bool:
    return any((root / _png_folder(test, size)).is_dir() for test in (False, True))


def _choose(root: Path, size: int, distribution: Distribution) -> Literal["older", "newer"]:
    """Returns the requested distribution, or with ``auto`` the one found.

    Raises:
        UserError: it is not found, or with ``auto`` both are.
    """
    what = f"data=imagenet{size}"
    older, newer = _has_older(root, size), bool(_batch_files(root))
    if older and newer and distribution == "auto":
        raise UserError(
            f"{what}: {root} holds both distributions, whose results cannot be compared; set data.distribution=older "
            "(PNG folders, the published tables) or newer (batches)"
        )
    if older and distribution != "newer":
        return "older"
    if newer and distribution != "older":
        return "newer"
    if (near := find_level(root, lambda folder: _has_older(folder, size))) is not None:
        raise UserError(f"{what}: {root} is the wrong level; set data.root={near}")
    for other in SIZES:
        if other != size and _has_older(root, other):
            raise UserError(f"{what}: {root} holds {other}x{other} images; set data=imagenet{other}")
    wanted = {"older": f"train_{size}x{size}/", "newer": "train_data_batch_1 (.npz or pickled)"}
    names = " or ".join(name for key, name in wanted.items() if distribution in (key, "auto"))
    raise UserError(f"{what}: no {names} in {root}; unpack the downloaded archives there")
