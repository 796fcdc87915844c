"""CIFAR-10: 60,000 photographs of ten classes, 32 x 32 (Krizhevsky, 2009).

Page: https://www.cs.toronto.edu/~kriz/cifar.html. Used as distributed; the published augmentation, a shift by up to
0.1 of the sides, is ``transforms.shift`` and happens in training, on the device.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from glow_app.data.formats.arrays import load_pickle, read_bytes, rows_and_labels
from glow_app.data.formats.files import digest_files, find_level, require_folder, require_split
from glow_app.data.sets.splits import held_out
from glow_app.data.source import ImageSource
from glow_app.errors import UserError

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
PICKLED, BINARY = "cifar-10-batches-py", "cifar-10-batches-bin"
_ROW = 3 * 32 * 32


class Cifar10(ImageSource):
    """One split of CIFAR-10, from the pickled ("python") or from the binary version.

    Layout: ``root`` is, or holds, ``cifar-10-batches-py`` (torchvision's layout) or ``cifar-10-batches-bin``, with
    ``data_batch_1`` ... ``data_batch_5`` and ``test_batch`` (binary: with ``.bin``). Pickles are read without running
    their code. Batches may hold fewer than 10,000 images each.

    Args:
        root: the folder.
        split: ``test`` is the test batch. ``val`` is the end of the training batches, ``train`` the rest.
        validation: number of ``val`` images. The published run trains on all 50,000: ``validation=0``, and then
            there is no ``val``.

    Raises:
        UserError: files are missing, damaged, or of another data set; ``val`` without validation images.
    """

    name = "cifar10"
    image_shape = (3, 32, 32)
    preprocessing = "as distributed"
    class_names = CLASSES

    def __init__(self, root: str | Path, split: str, validation: int = 5000) -> None:
        require_split(split)
        self.split = split
        self.folder = _locate(require_folder(root, "data=cifar10"))
        suffix = "" if (self.folder / "data_batch_1").exists() or (self.folder / "test_batch").exists() else ".bin"
        stems = ["test_batch"] if split == "test" else [f"data_batch_{k}" for k in range(1, 6)]
        self.files = [stem + suffix for stem in stems]
        missing = [name for name in self.files if not (self.folder / name).is_file()]
        if missing:
            raise UserError(
                f"data=cifar10: {', '.join(missing)} missing in {self.folder}; unpack the whole archive again"
            )
        pixels, labels = zip(*(_read_batch(self.folder / name) for name in self.files), strict=True)
        all_pixels, all_labels = np.concatenate(pixels), np.concatenate(labels)
        if all_labels.min() < 0 or all_labels.max() > 9:
            raise UserError(
                f"data=cifar10: labels in {self.folder} reach {all_labels.max()}, not 0 to 9: is it CIFAR-100?"
            )
        rows = range(len(all_labels))
        if split != "test":
            rows = held_out(len(all_labels), validation, split, "data=cifar10")
        self._first = rows.start
        self._pixels = torch.from_numpy(all_pixels[rows.start : rows.stop].reshape(-1, 3, 32, 32))
        self.classes = torch.from_numpy(all_labels[rows.start : rows.stop])

    def __len__(self) -> int:
        return len(self._pixels)

    def __getitem__(self, index: int) -> Tensor:
        return self._pixels[index]

    def fetch(self, indices: Sequence[int]) -> Tensor:
        return self._pixels[torch.as_tensor(indices)]

    def item_name(self, index: int) -> str:
        part = "test" if self.split == "test" else "train"
        return f"{part} {self._first + range(len(self))[index]}"

    def content(self) -> dict[str, object]:
        return {"first": self._first, "files": digest_files(self.folder, self.files)}


def _locate(root: Path) -> Path:
    for folder in (root, root / PICKLED, root / BINARY):
        if _is_cifar(folder):
            return folder
    near = find_level(root, _is_cifar)
    if near is not None:
        raise UserError(f"data=cifar10: {root} is the wrong level; set data.root={near}")
    packed = next(iter(sorted(root.glob("cifar-10-*.tar.gz"))), None)
    if packed is not None:
        raise UserError(f"data=cifar10: {packed} is still packed; unpack it there: tar -xzf {packed} -C {root}")
    raise UserError(
        f"data=cifar10: neither {PICKLED}/ nor {BINARY}/ in {root}; get cifar-10-python.tar.gz from "
        "https://www.cs.toronto.edu/~kriz/cifar.html and unpack it there"
    )


def _is_cifar(folder: Path) -> bool:
    names = ("data_batch_1", "test_batch", "data_batch_1.bin", "test_batch.bin")
    return any((folder / name).is_file() for name in names)


def _read_batch(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """uint8 (N, 3072) and int64 (N,) of one batch file."""
    what = "data=cifar10"
    if path.suffix != ".bin":
        return rows_and_labels(load_pickle(path, what), path, what, _ROW)
    # Each record is one byte of label, then 1024 bytes each of red, green and blue.
    content = np.frombuffer(read_bytes(path, what), dtype=np.uint8)
    if len(content) % (1 + _ROW):
        raise UserError(
            f"{what}: {path} has {len(content)} bytes, no multiple of {1 + _ROW}: cut short? download it again"
        )
    records = content.reshape(-1, 1 + _ROW)
    return records[:, 1:], records[:, 0].astype(np.int64)
