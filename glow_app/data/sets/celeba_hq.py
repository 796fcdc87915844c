"""CelebA-HQ: 30,000 faces of 1024 x 1024 made from CelebA (Karras, Aila, Laine and Lehtinen, ICLR 2018).

Published preprocessing: repeated 2 x 2 means from 1024 to 256, one floor at the end, no flip. 27,000 images are for
training, 3,000 for the reported results.
"""

import os
import re
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from glow_app.data.formats.files import (
    OnCorrupt,
    find_level,
    is_image_name,
    require_choice,
    require_folder,
    require_split,
    subfolders,
)
from glow_app.data.formats.image_store import FolderStore
from glow_app.data.formats.tables import Table, read_table, read_text
from glow_app.data.image import decode_image
from glow_app.data.sets.celeba import ATTRIBUTES, PARTITION, PARTITION_NUMBERS, find_table
from glow_app.data.sets.splits import held_out
from glow_app.data.source import EmptySplit, ImageSource
from glow_app.data.transforms import box_mean
from glow_app.errors import UserError

Partition = Literal["published", "celeba"]

OWN_ATTRIBUTES = "CelebAMask-HQ-attribute-anno.txt"
MAPPING = "CelebA-HQ-to-CelebA-mapping.txt"
_N_PUBLISHED = 30_000


class CelebAHQ(ImageSource):
    """One split of CelebA-HQ, from a folder of squares of side ``image_size`` times a power of two.

    Layout: ``root``, or the one folder in it that has images (``CelebA-HQ-img`` of CelebAMask-HQ, ``data256x256``,
    ``celeba_hq_256``, ...). Files are numbered in their names: 0 to 29999, or 1 to 30000.

    Attributes, if their files are in ``root`` or beside the images: CelebAMask-HQ's own attribute file, or CelebA's
    ``list_attr_celeba.txt`` through CelebAMask-HQ's ``CelebA-HQ-to-CelebA-mapping.txt``.

    Args:
        root: the folder.
        split: see ``partition``.
        image_size: side of the images; larger files are reduced by 2 x 2 means.
        partition: ``published``: the last tenth by number (3,000 of 30,000) is ``test``; ``val`` is the end of the
            others, ``train`` the rest. The paper's own 3,000 are not known. ``celeba``: the official partition
            of CelebA through the mapping file: 24,183 / 2,993 / 2,824.
        validation: number of ``val`` images under ``published``; with 0 there are none, and ``train`` has 27,000.
        on_corrupt: how the caller reacts to a ``CorruptImage``; see that class.

    Raises:
        UserError: no images, file names without numbers, sizes that are not the right multiple, or tables that are
            missing or do not fit.
    """

    name = "celeba_hq"

    def __init__(
        self,
        root: str | Path,
        split: str,
        image_size: int = 256,
        partition: Partition = "published",
        validation: int = 1000,
        on_corrupt: OnCorrupt = "error",
    ) -> None:
        require_split(split)
        require_choice("data.partition", partition, ("published", "celeba"))
        require_choice("data.on_corrupt", on_corrupt, ("error", "skip"))
        if image_size < 1:
            raise UserError(f"data.image_size={image_size}: give the side of the images, at least 1")
        self.split = split
        self.on_corrupt = on_corrupt
        self.image_shape = (3, image_size, image_size)
        self.preprocessing = f"2x2 means to {image_size}x{image_size}, floor"
        base = require_folder(root, "data=celeba_hq")
        store = FolderStore(_image_folder(base))
        numbers = _numbers(store)
        order = sorted(range(len(numbers)), key=lambda row: numbers[row])
        numbers = [numbers[row] for row in order]
        mapping = _read_mapping(path) if (path := _beside(base, store.where, MAPPING)) is not None else None
        if partition == "published":
            rows = list(_published_rows(len(numbers), split, validation))
        else:
            rows = _celeba_rows(numbers, split, mapping, base)
        if not rows:
            raise EmptySplit(f"data=celeba_hq: the split {split} of the {len(numbers)} images in {base} is empty")
        self.files = [store.names[order[row]] for row in rows]
        self.images = store.select(self.files)
        numbers = [numbers[row] for row in rows]
        if (path := _beside(base, store.where, OWN_ATTRIBUTES)) is not None:
            table = read_table(path, header=True)
            rows_by_number = {_number(name): row for row, name in enumerate(table.names)}
            self._set_attributes(table, [rows_by_number.get(number) for number in numbers])
        elif mapping is not None and (path := find_table(base, ATTRIBUTES)) is not None:
            table = read_table(path, header=True)
            rows_by_name = table.rows()
            self._set_attributes(table, [rows_by_name.get(mapping.get(number, "")) for number in numbers])

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Tensor:
        pixels = decode_image(self.images.read(index), 3, self.images.label(index))
        side, height, width = self.image_shape[1], pixels.shape[1], pixels.shape[2]
        factor = height // side
        if height != width or height != side * factor or factor < 1 or factor & (factor - 1):
            raise UserError(
                f"image {self.images.label(index)} is {width}x{height}: data=celeba_hq needs squares of "
                f"data.image_size={side} or 2, 4, 8, ... times that; set data.image_size, or use data=folder"
            )
        return box_mean(pixels, factor)

    def item_name(self, index: int) -> str:
        return self.files[index]

    def content(self) -> dict[str, object]:
        return {"files": self.images.digest()}

    def _set_attributes(self, table: Table, rows: list[int | None]) -> None:
        known = [row for row in rows if row is not None]
        if len(known) < len(rows):
            first = self.files[rows.index(None)]
            raise UserError(
                f"{table.path}: {len(rows) - len(known):,} images have no row, the first is {first}; use files of one "
                "download, or remove the table to use no attributes"
            )
        self.attribute_names = table.columns
        self.attributes = table.as_binary()[torch.as_tensor(known)]


def _has_images(folder: Path) -> bool:
    try:
        with os.scandir(folder) as entries:
            return any(is_image_name(entry.name) for entry in entries)
    except OSError:
        return False


def _has_splits(folder: Path) -> bool:
    """Returns whether the folder is divided into train/ and val/ or test/, as StarGAN v2's copy of CelebA-HQ is."""
    parts = [part for part in subfolders(folder) if part.name in ("train", "val", "test")]
    return len(parts) > 1 and any(_has_images(below) for part in parts for below in (part, *subfolders(part)))


def _image_folder(root: Path) -> Path:
    """Returns ``root`` or its one subfolder with images."""
    if _has_images(root):
        return root
    if _has_splits(root):
        raise _divided(root)
    folders = [path for path in subfolders(root) if _has_images(path)]
    if len(folders) == 1:
        return folders[0]
    if folders:
        names = ", ".join(path.name for path in folders)
        raise UserError(
            f"data=celeba_hq: several folders with images in {root} ({names}); set data.root to the one with all of "
            "CelebA-HQ, or use data=folder, which takes them together"
        )
    near = find_level(root, lambda below: _has_images(below) or _has_splits(below))
    if near is not None and _has_splits(near):
        raise _divided(near)
    hint = f"set data.root={near}" if near is not None else "put the 30,000 images there as PNG or JPEG files"
    raise UserError(f"data=celeba_hq: no images in {root}; {hint}")


def _divided(folder: Path) -> UserError:
    return UserError(
        f"data=celeba_hq: {folder} is divided into train/, val/ or test/; use data=folder data.root={folder}, which "
        "keeps that division and takes all folders inside"
    )


def _beside(root: Path, images: Path, name: str) -> Path | None:
    return next((folder / name for folder in (root, images, images.parent) if (folder / name).is_file()), None)


def _number(name: str) -> int:
    """Number at the end of a file's stem; -1 if there is none."""
    match = re.search(r"(\d+)$", name.rpartition("/")[2].rpartition(".")[0])
    return int(match.group(1)) if match else -1


def _numbers(store: FolderStore) -> list[int]:
    """Number of each image in CelebA-HQ, from 0, in the store's order."""
    numbers = [_number(name) for name in store.names]
    if -1 in numbers:
        raise UserError(
            f"data=celeba_hq: {store.where / store.names[numbers.index(-1)]} has no number (0 to 29999) in its name; "
            "rename it, or use data=folder"
        )
    if len(set(numbers)) < len(numbers):
        raise UserError(f"data=celeba_hq: two files in {store.where} have the same number; keep one of each")
    first = 1 if max(numbers) == _N_PUBLISHED and 0 not in numbers else 0
    return [number - first for number in numbers]


def _published_rows(n: int, split: str, validation: int) -> range:
    n_train = n - n // 10
    return range(n_train, n) if split == "test" else held_out(n_train, validation, split, "data=celeba_hq")


def _read_mapping(path: Path) -> dict[int, str]:
    """CelebA-HQ's number -> CelebA's file name, from lines of ``idx orig_idx orig_file`` after a header."""
    lines = [line.split() for line in read_text(path).splitlines()[1:] if line.strip()]
    if not lines or any(len(line) != 3 or not line[0].isdigit() for line in lines):
        raise UserError(f"{path}: should hold lines of idx, orig_idx and orig_file; download it again")
    return {int(idx): name for idx, _, name in lines}


def _celeba_rows(numbers: list[int], split: str, mapping: dict[int, str] | None, base: Path) -> list[int]:
    path = find_table(base, PARTITION)
    if mapping is None or path is None:
        raise UserError(f"data.partition=celeba needs {MAPPING} and {PARTITION}.txt in {base}; put them there")
    table = read_table(path, header=False)
    part = dict(zip(table.names, np.asarray(table.values[:, 0]).tolist(), strict=True))
    parts = [part.get(mapping.get(number, "")) for number in numbers]
    if None in parts:
        number = numbers[parts.index(None)]
        raise UserError(f"{path} or {MAPPING} has no row for image number {number}; download them again")
    return [row for row, number in enumerate(parts) if number == PARTITION_NUMBERS[split]]
