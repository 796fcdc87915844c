"""CIFAR-10 and CIFAR-100: 60,000 photographs of ten or a hundred classes, 32 x 32 (Krizhevsky, 2009).

Page: https://www.cs.toronto.edu/~kriz/cifar.html. Used as distributed; the published augmentation, a shift by up to
0.1 of the sides, is ``transforms.shift`` and happens in training, on the device.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from glow_app.data.formats.arrays import load_pickle, read_bytes, rows_and_labels
from glow_app.data.formats.files import digest_files, find_level, require_folder, require_split
from glow_app.data.sets.splits import held_out
from glow_app.data.source import ImageSource
from glow_app.errors import UserError

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CLASSES_100 = (
    "apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle", "bottle", "bowl", "boy",
    "bridge", "bus", "butterfly", "camel", "can", "castle", "caterpillar", "cattle", "chair", "chimpanzee", "clock",
    "cloud", "cockroach", "couch", "crab", "crocodile", "cup", "dinosaur", "dolphin", "elephant", "flatfish",
    "forest", "fox", "girl", "hamster", "house", "kangaroo", "keyboard", "lamp", "lawn_mower", "leopard", "lion",
    "lizard", "lobster", "man", "maple_tree", "motorcycle", "mountain", "mouse", "mushroom", "oak_tree", "orange",
    "orchid", "otter", "palm_tree", "pear", "pickup_truck", "pine_tree", "plain", "plate", "poppy", "porcupine",
    "possum", "rabbit", "raccoon", "ray", "road", "rocket", "rose", "sea", "seal", "shark", "shrew", "skunk",
    "skyscraper", "snail", "snake", "spider", "squirrel", "streetcar", "sunflower", "sweet_pepper", "table", "tank",
    "telephone", "television", "tiger", "tractor", "train", "trout", "tulip", "turtle", "wardrobe", "whale",
    "willow_tree", "wolf", "woman", "worm",
)  # fmt: skip
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

    folders = ("cifar-10-batches-py", "cifar-10-batches-bin")
    archive = "cifar-10-python.tar.gz"
    stems: ClassVar = {"train": [f"data_batch_{k}" for k in range(1, 6)], "test": ["test_batch"]}
    label = "labels"  # key in the pickles
    label_bytes = 1  # before each image of the binary version; the last one counts

    def __init__(self, root: str | Path, split: str, validation: int = 5000) -> None:
        require_split(split)
        self.split = split
        what = f"data={self.name}"
        self.folder = self._locate(require_folder(root, what))
        pickled = any((self.folder / parts[0]).exists() for parts in self.stems.values())
        stems = self.stems["test" if split == "test" else "train"]
        self.files = [stem if pickled else f"{stem}.bin" for stem in stems]
        missing = [name for name in self.files if not (self.folder / name).is_file()]
        if missing:
            raise UserError(f"{what}: {', '.join(missing)} missing in {self.folder}; unpack the whole archive again")
        pixels, labels = zip(*(self._read_batch(self.folder / name) for name in self.files), strict=True)
        all_pixels, all_labels = np.concatenate(pixels), np.concatenate(labels)
        if all_labels.min() < 0 or all_labels.max() >= len(self.class_names):
            raise UserError(
                f"{what}: labels in {self.folder} reach {all_labels.max()}, not 0 to {len(self.class_names) - 1}: "
                "is it the other one of data=cifar10 (CIFAR-10) and data=cifar100 (CIFAR-100)?"
            )
        rows = range(len(all_labels))
        if split != "test":
            rows = held_out(len(all_labels), validation, split, what)
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

    def _locate(self, root: Path) -> Path:
        for folder in (root, *(root / name for name in self.folders)):
            if self._is_here(folder):
                return folder
        what = f"data={self.name}"
        near = find_level(root, self._is_here)
        if near is not None:
            raise UserError(f"{what}: {root} is the wrong level; set data.root={near}")
        packed = next(iter(sorted(root.glob(f"{self.archive.partition('python')[0]}*.tar.gz"))), None)
        if packed is not None:
            raise UserError(f"{what}: {packed} is still packed; unpack it there: tar -xzf {packed} -C {root}")
        raise UserError(
            f"{what}: neither {self.folders[0]}/ nor {self.folders[1]}/ in {root}; get {self.archive} from "
            "https://www.cs.toronto.edu/~kriz/cifar.html and unpack it there"
        )

    def _is_here(self, folder: Path) -> bool:
        names = (parts[0] for parts in self.stems.values())
        return any((folder / name).is_file() or (folder / f"{name}.bin").is_file() for name in names)

    def _read_batch(self, path: Path) -> tuple[np.ndarray, np.ndarray]:
        """uint8 (N, 3072) and int64 (N,) of one batch file."""
        what = f"data={self.name}"
        if path.suffix != ".bin":
            return rows_and_labels(load_pickle(path, what), path, what, _ROW, self.label)
        # Each record is its labels, one byte each, then 1024 bytes each of red, green and blue.
        content, record = np.frombuffer(read_bytes(path, what), dtype=np.uint8), self.label_bytes + _ROW
        if len(content) % record:
            raise UserError(
                f"{what}: {path} has {len(content)} bytes, no multiple of {record}: cut short? download it again"
            )
        records = content.reshape(-1, record)
        return records[:, self.label_bytes :], records[:, self.label_bytes - 1].astype(np.int64)


class Cifar100(Cifar10):
    """One split of CIFAR-100, as :class:`Cifar10`; its classes are the fine ones.

    Layout: ``root`` is, or holds, ``cifar-100-python`` or ``cifar-100-binary``, with ``train`` and ``test`` (binary:
    with ``.bin``).
    """

    name = "cifar100"
    class_names = CLASSES_100

    folders = ("cifar-100-python", "cifar-100-binary")
    archive = "cifar-100-python.tar.gz"
    stems: ClassVar = {"train": ["train"], "test": ["test"]}
    label = "fine_labels"
    label_bytes = 2
