"""CelebA: aligned faces with 40 attributes and identities (Liu, Luo, Wang and Tang, ICCV 2015).

Page: https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html. Preprocessing of the published 64 x 64 tables:
central 148 x 148, antialiased bilinear.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from glow_app.data.alignment import Eyes, celeba_eyes
from glow_app.data.formats.files import (
    OnCorrupt,
    find_level,
    image_size_pair,
    require_choice,
    require_folder,
    require_split,
)
from glow_app.data.formats.image_store import FolderStore, ImageStore, ZipStore
from glow_app.data.formats.tables import Table, read_table
from glow_app.data.image import Channels, CorruptImage, open_image, to_tensor
from glow_app.data.source import EmptySplit, ImageSource
from glow_app.data.transforms import celeba_aligned
from glow_app.errors import UserError

IMAGES, ZIP = "img_align_celeba", "img_align_celeba.zip"
ALIGNED = (IMAGES, ZIP, "img_align_celeba_png", "img_align_celeba_png.zip")
"""Folders and zips of the aligned images: the JPEG files, which published figures are about, before the lossless."""

WILD = "img_celeba"
PARTITION, ATTRIBUTES, IDENTITIES = "list_eval_partition", "list_attr_celeba", "identity_CelebA"
WHERE_FROM = "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html"

# torchvision's flat layout, and the folders of the original download.
_SUBFOLDERS = (".", "Anno", "Eval", "Img")
PARTITION_NUMBERS = {"train": 0, "val": 1, "test": 2}


class CelebA(ImageSource):
    """One split of CelebA, from torchvision's folder layout or from ``img_align_celeba.zip`` without unpacking it.

    Layout: in ``root`` or ``root/celeba`` (torchvision), flat or in ``Anno``, ``Eval``, ``Img`` as downloaded:
    the folder ``img_align_celeba`` or else ``img_align_celeba.zip``, or else the same with ``_png``, the lossless
    release; ``list_eval_partition.txt``; optionally ``list_attr_celeba.txt`` and ``identity_CelebA.txt``. The tables
    may also be ``.csv``. Images may have another suffix than in the tables.

    Args:
        root: the folder, or the path of the zip with the text files beside it.
        split: ``train`` (162,770 images), ``val`` (19,867) or ``test`` (19,962): the official partition.
        image_size: one side, or (H, W).
        crop: side of the central square that is resized; None uses the whole central square, for images that were
            already cropped.
        channels: 3, or 1 for grey.
        on_corrupt: how the caller reacts to a ``CorruptImage``; see that class.
        subset: accept missing images, and images or rows that the partition file does not list. Without it these are
            errors.
        validation_identities: if given, ``val`` consists of the images of the official TRAIN partition whose identity
            number it divides, and ``train`` of the others, so that no person is in both; ``test`` is unchanged.
        download: if CelebA is not found, download it through torchvision into ``root/celeba``.

    Attributes:
        files: names of the images, in the partition's order.
        identities: int64 (N,) number of the person; None without the file.
        missing: number of images of this split that were not found (0 unless ``subset``).

    Raises:
        UserError: a file is missing, of another kind, or does not match the others.
    """

    name = "celeba"

    def __init__(
        self,
        root: str | Path,
        split: str,
        image_size: int | tuple[int, int] = 64,
        crop: int | None = 148,
        channels: Channels = 3,
        on_corrupt: OnCorrupt = "error",
        subset: bool = False,
        validation_identities: int | None = None,
        download: bool = False,
    ) -> None:
        require_split(split)
        require_choice("data.channels", channels, (1, 3))
        require_choice("data.on_corrupt", on_corrupt, ("error", "skip"))
        height, width = image_size_pair(image_size)
        if crop is not None and crop < 1:
            raise UserError(f"data.crop={crop}: give the side of the central square, e.g. 148, or null for all of it")
        self.split = split
        self.crop = crop
        self.on_corrupt = on_corrupt
        self.channels: Channels = channels
        self.image_shape = (channels, height, width)
        part = f"crop {crop}" if crop is not None else "central square, no crop"
        self.preprocessing = f"{part}, antialiased bilinear to {height}x{width}" + (", grey" if channels == 1 else "")
        root = Path(root)
        if download and not is_celeba(root) and not is_celeba(root / "celeba"):
            _download(root)
        self._load_split(_locate(root), validation_identities, subset)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Tensor:
        image = open_image(self.images.read(index), self.channels, self.images.label(index))
        if self.crop is not None and min(image.size) < self.crop:
            raise UserError(
                f"image {self.images.label(index)} is {image.width} x {image.height}, smaller than "
                f"data.crop={self.crop}; if these images were cropped before, set data.crop=null"
            )
        _, height, width = self.image_shape
        return to_tensor(celeba_aligned(image, height, width, self.crop))

    @property
    def eyes(self) -> Eyes | None:
        """The published alignment's, if the images are cropped here; of images that were cropped before, not known."""
        if self.crop is None:
            return None
        try:
            size = open_image(self.images.read(0)).size
        except CorruptImage:
            return None
        return celeba_eyes(size, *self.image_shape[1:], self.crop)

    def item_name(self, index: int) -> str:
        return self.files[index]

    def content(self) -> dict[str, object]:
        return {"files": self.images.digest()}

    def _load_split(self, base: Path, divisor: int | None, subset: bool) -> None:
        """Sets files, store, identities and attributes to the rows of this split that have an image."""
        path = find_table(base, PARTITION)
        if path is None:
            raise UserError(f"data=celeba: no {PARTITION}.txt in {base}; put it there, from {WHERE_FROM}")
        partition = read_table(path, header=False)
        identities = None
        if (path := find_table(base, IDENTITIES)) is not None:
            table = read_table(path, header=False)
            identities = table.values[matching_rows(table, partition.names, not subset), 0].astype(np.int64)
        chosen = _rows_of_split(partition, identities, self.split, divisor, base)
        store = _open_store(base)
        stored = _stored_names(store, partition.names)
        rows = [row for row in chosen if partition.names[row] in stored]
        if not subset:
            _refuse_gaps(partition, chosen, store, stored, self.split)
        if not rows:
            raise UserError(f"data=celeba: none of the {len(chosen):,} images of {self.split} is in {store.where}")
        self.missing = len(chosen) - len(rows)
        self.files = [stored[partition.names[row]] for row in rows]
        self.images = store.select(self.files)
        self.identities = None if identities is None else torch.from_numpy(identities[rows])
        if (path := find_table(base, ATTRIBUTES)) is not None:
            table = read_table(path, header=True)
            self.attribute_names = table.columns
            self.attributes = table.as_binary()[matching_rows(table, partition.names, not subset)[rows]]


def is_celeba(folder: Path) -> bool:
    """Returns whether the folder holds CelebA's partition file or its images (folder or zip)."""
    return folder.is_dir() and (find_table(folder, PARTITION) is not None or _find(folder, *ALIGNED) is not None)


def find_table(base: Path, stem: str) -> Path | None:
    """Finds the annotation file ``stem`` (.txt or .csv) in ``base`` or in the original download's folders."""
    return _find(base, stem + ".txt", stem + ".csv")


def matching_rows(table: Table, names: list[str], exactly: bool) -> np.ndarray:
    """Row of each name in the table, int64 (len(names),).

    Raises:
        UserError: a name has no row; with ``exactly`` also if a row is not in ``names``.
    """
    if table.names == names:
        return np.arange(len(names))
    row_of = table.rows()
    without = [name for name in names if name not in row_of]
    if without:
        raise UserError(
            f"{table.path}: {len(without):,} images of the partition have no row here, the first is {without[0]}; "
            "use files of one download"
        )
    if exactly and len(row_of) > len(names):
        stray = next(iter(row_of.keys() - set(names)))
        raise UserError(
            f"{table.path}: {len(row_of) - len(names):,} rows are not in the partition file, one is {stray}; "
            "use files of one download, or set data.subset=true"
        )
    return np.array([row_of[name] for name in names], dtype=np.int64)


def _find(base: Path, *names: str) -> Path | None:
    candidates = (base / subfolder / name for subfolder in _SUBFOLDERS for name in names)
    return next((path for path in candidates if path.exists()), None)


def _locate(root: Path) -> Path:
    """Finds the folder that holds CelebA: ``root``, ``root/celeba``, or the folder of a zip.

    Raises:
        UserError: it is not there; a folder below that holds it is suggested.
    """
    if root.suffix == ".zip" and root.is_file():
        root = root.parent
    require_folder(root, "data=celeba")
    for folder in (root, root / "celeba"):
        if is_celeba(folder):
            return folder
    near = find_level(root, is_celeba)
    if near is not None:
        raise UserError(f"data=celeba: {root} is the wrong level; set data.root={near}")
    _refuse_wild(root)
    raise UserError(
        f"data=celeba: neither {IMAGES}/ nor {ZIP} nor {PARTITION}.txt in {root} or in celeba/ there; "
        f"set data.root to the folder that holds them, or {_download_advice(root)}"
    )


def _download_advice(root: Path) -> str:
    files = ", ".join([ZIP, PARTITION + ".txt", ATTRIBUTES + ".txt", IDENTITIES + ".txt"])
    return f"put {files} from {WHERE_FROM} into {root / 'celeba'}"


def _download(root: Path) -> None:
    from torchvision.datasets import CelebA as Published

    try:
        root.mkdir(parents=True, exist_ok=True)
        Published(str(root), split="all", download=True)
    except Exception as error:  # hosts, proxies and quotas raise different errors, but the advice is the same
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise UserError(f"data=celeba: the download failed ({reason}); {_download_advice(root)}") from None


def _open_store(base: Path) -> ImageStore:
    path = next((found for name in ALIGNED if (found := _find(base, name)) is not None), None)
    if path is None:
        _refuse_wild(base)
        packed = _find(base, f"{IMAGES}_png.7z.001")
        advice = f"put one of them there, from {WHERE_FROM}" if packed is None else f"unpack {packed} there (7z x)"
        raise UserError(f"data=celeba: neither {IMAGES}/ nor {ZIP} in {base}; {advice}")
    if path.suffix == ".zip":
        return ZipStore(path)
    # Some mirrors pack the folder once more into a folder of its own name.
    return FolderStore(path / path.name if (path / path.name).is_dir() else path)


def _refuse_wild(base: Path) -> None:
    """Raises a UserError if there are only CelebA's images as they were found, of any size and not aligned."""
    wild = base if base.name == WILD else _find(base, WILD)
    if wild is not None:
        raise UserError(
            f"data=celeba: {wild} holds the images in the wild, and this reads the aligned ones, {IMAGES}/; put those "
            f"there, or train on the images in the wild with data=folder data.root={wild}"
        )


def _stored_names(store: ImageStore, listed: list[str]) -> dict[str, str]:
    """Listed name -> name in the store, of all images that are there: the same name, or one with another suffix."""
    there = set(store.names)
    by_stem = {name.rsplit(".", 1)[0]: name for name in store.names}
    found = {name: name if name in there else by_stem.get(name.rsplit(".", 1)[0]) for name in listed}
    return {name: stored for name, stored in found.items() if stored is not None}


def _rows_of_split(
    partition: Table, identities: np.ndarray | None, split: str, divisor: int | None, base: Path
) -> list[int]:
    """Row numbers of the split in the partition's order; see ``CelebA`` for ``validation_identities``."""
    number = partition.values[:, 0]
    if len(set(partition.names)) < len(partition.names) or not np.isin(number, (0, 1, 2)).all():
        raise UserError(
            f"{partition.path}: a name appears twice, or a partition number is not 0, 1 or 2; download the file again"
        )
    if divisor is None or split == "test":
        chosen = number == PARTITION_NUMBERS[split]
    else:
        if divisor < 2:
            raise UserError(f"data.validation_identities={divisor}: give a number of at least 2, e.g. 10")
        if identities is None:
            raise UserError(f"data=celeba: data.validation_identities needs {IDENTITIES}.txt in {base}; put it there")
        chosen = (number == PARTITION_NUMBERS["train"]) & ((identities % divisor == 0) == (split == "val"))
    if not chosen.any():
        hint = "; data.validation_identities=10 takes a tenth of the persons in train" if split == "val" else ""
        raise EmptySplit(f"data=celeba: {partition.path} puts no image into the split {split}{hint}")
    return np.flatnonzero(chosen).tolist()


def _refuse_gaps(partition: Table, chosen: list[int], store: ImageStore, stored: dict[str, str], split: str) -> None:
    """Raises a UserError if images of the split are missing, or images have no row in the partition."""
    absent = [partition.names[row] for row in chosen if partition.names[row] not in stored]
    if absent:
        raise UserError(
            f"data=celeba: {len(absent):,} of {len(chosen):,} images of {split} are not in {store.where}, the first is "
            f"{absent[0]}; unpack or download the rest, or set data.subset=true to use only those found"
        )
    strays = sorted(set(store.names) - set(stored.values()))
    if strays:
        raise UserError(
            f"data=celeba: {len(strays):,} images in {store.where} have no row in {partition.path}, the first is "
            f"{strays[0]}; use files of one download, or leave these out with data.subset=true"
        )
