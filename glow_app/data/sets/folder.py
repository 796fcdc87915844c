"""Any folder of images."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from glow_app.data import transforms
from glow_app.data.formats.files import (
    OnCorrupt,
    describe_left_out,
    image_size_pair,
    images_among,
    is_image_name,
    list_files,
    require_choice,
    require_folder,
    require_split,
)
from glow_app.data.formats.image_store import FolderStore, ImageStore, ZipStore, zip_files
from glow_app.data.formats.tables import read_csv
from glow_app.data.image import SUFFIXES, Channels, open_image, to_tensor
from glow_app.data.sets.celeba import IDENTITIES, find_table
from glow_app.data.sets.splits import name_hash
from glow_app.data.source import EmptySplit, ImageSource
from glow_app.errors import UserError

LIKE_A_SPLIT = ("dev", "eval", "evaluation", "validate", "tests")
"""Folder names that are probably meant as a split, and would otherwise be mixed with the rest."""

FITS = {
    "crop": "central part",
    "pad": "whole picture between black bars",
    "stretch": "whole picture stretched",
}
"""``data.fit`` -> what the data card says."""

SPLIT_FOLDERS = {"train": ("train", "training"), "val": ("val", "valid", "validation"), "test": ("test", "testing")}


class Folder(ImageSource):
    """All images below a folder or in a zip, in the order of their names.

    Splits: if the folder has a subfolder ``train`` (or ``training``), ``val`` (``valid``, ``validation``) or ``test``
    (``testing``), each is a split, and other images are not used; without ``val`` a tenth of ``train`` is held out.
    Otherwise a hash of each file's relative name decides: 80 % train, 10 % val, 10 % test. A file's split is the same
    on every machine, and does not change when files are added.

    Classes, for a conditional model: the subfolders of each split, or of the whole folder if it has no split folders.

    Preprocessing: :func:`glow_app.data.transforms.fit`.

    Args:
        root: the folder, or a zip of it, which is read without unpacking.
        split: ``train``, ``val`` or ``test``.
        image_size: one side, or (H, W).
        channels: 3 for colour, 1 for grey; images of the other kind are converted.
        on_corrupt: how the caller reacts to a ``CorruptImage``, which ``source[i]`` always raises; see that class.
        attributes: a table, see :func:`~glow_app.data.formats.tables.read_csv`: the file name (relative to the root or
            to the split's folder, or the bare name if it is unique; with or without its suffix), and attributes of
            value 0/1, -1/1 or False/True. Images without a row have no known attributes, see ``labelled``.
        fit: how a picture of other proportions becomes one of ``image_size``: ``crop``, ``pad`` or ``stretch``.

    Raises:
        UserError: no such folder, no image in it or in this split, or an attribute table that does not match.
    """

    name = "folder"

    def __init__(
        self,
        root: str | Path,
        split: str,
        image_size: int | tuple[int, int],
        channels: Channels = 3,
        on_corrupt: OnCorrupt = "error",
        attributes: str | Path | None = None,
        fit: str = "crop",
    ) -> None:
        require_split(split)
        require_choice("data.channels", channels, (1, 3))
        require_choice("data.on_corrupt", on_corrupt, ("error", "skip"))
        height, width = image_size_pair(image_size)
        require_choice("data.fit", fit, FITS)
        self.split = split
        self.on_corrupt = on_corrupt
        self.channels: Channels = channels
        self.image_shape = (channels, height, width)
        self.fit = fit
        self.preprocessing = f"{FITS[fit]}, antialiased bilinear to {height}x{width}" + (
            ", grey" if channels == 1 else ""
        )
        self.root = Path(root)
        contents, left_out = _contents_of(self.root), Counter[str]()
        members = _split_members(contents, left_out)
        self.left_out = describe_left_out(left_out)
        self.files = members[split]
        if not self.files:
            raise EmptySplit(_empty_split_message(contents.where, split, members))
        self.images = contents.store(self.files)
        if attributes is not None:
            self._set_attributes(Path(attributes), members)
        if split == "train":
            self.warning = _warning(contents)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Tensor:
        image = open_image(self.images.read(index), self.channels, self.images.label(index))
        _, height, width = self.image_shape
        return to_tensor(transforms.fit(image, height, width, self.fit))

    def item_name(self, index: int) -> str:
        return self.files[index]

    def find_classes(self) -> None:
        contents = _contents_of(self.root)
        members = _split_members(contents, Counter())
        depth = 1 if any(_split_folders(contents).values()) else 0
        of_split = {split: [_class_of(file, depth, self.root) for file in files] for split, files in members.items()}
        known = set(of_split["train"]) or set().union(*of_split.values())
        for split, classes in of_split.items():
            if strange := sorted(set(classes) - known):
                raise UserError(
                    f"data=folder: {self.root} has {split} images of class {strange[0]}, but no training images; add "
                    "some, or leave this class out"
                )
        self.class_names = tuple(sorted(known))
        number = {name: label for label, name in enumerate(self.class_names)}
        self.classes = torch.tensor([number[_class_of(file, depth, self.root)] for file in self.files])

    def content(self) -> dict[str, object]:
        return {"files": self.images.digest()}

    def _set_attributes(self, path: Path, members: dict[str, list[str]]) -> None:
        """Takes the attributes from a table, which is checked against the images of all splits."""
        table = read_csv(path)
        row_of = match_rows(path, table.names, sorted(name for names in members.values() for name in names))
        known = torch.tensor([name in row_of for name in self.files])
        self.attribute_names = table.columns
        self.attributes = torch.zeros(len(self.files), len(table.columns), dtype=torch.uint8)
        self.attributes[known] = table.as_binary()[[row_of[name] for name in self.files if name in row_of]]
        self.labelled = None if known.all() else known


class _Contents(NamedTuple):
    """The files of a folder or a zip.

    Attributes:
        where: the folder or the zip.
        folders: the folders directly in it, sorted.
        below: one of these folders, or "" -> relative paths of all files below it, sorted.
        store: relative paths of images -> a store of these.
    """

    where: Path
    folders: list[str]
    below: Callable[[str], list[str]]
    store: Callable[[Sequence[str]], ImageStore]


def _contents_of(root: Path) -> _Contents:
    if root.suffix.lower() == ".zip" and root.is_file():
        return _contents_of_zip(root)
    root = require_folder(root, "data=folder")

    def below(folder: str) -> list[str]:
        names = list_files(root / folder)
        return [f"{folder}/{name}" for name in names] if folder else names

    folders = sorted(path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    return _Contents(root, folders, below, lambda names: FolderStore(root, names))


def _contents_of_zip(root: Path) -> _Contents:
    """A zip of a folder holds its name too: that is taken off, so that the folder and its zip are the same data."""
    files = zip_files(root)
    tops = {name.partition("/")[0] if "/" in name else "" for name in files if is_image_name(name)}
    if len(tops) == 1 and (top := tops.pop()) and top.lower() not in chain(*SPLIT_FOLDERS.values()):
        files = {name.removeprefix(f"{top}/"): file for name, file in files.items() if name.startswith(f"{top}/")}

    def below(folder: str) -> list[str]:
        return [name for name in files if not folder or name.startswith(f"{folder}/")]

    folders = sorted({name.partition("/")[0] for name in files if "/" in name})
    return _Contents(root, folders, below, lambda names: ZipStore(root, {name: files[name] for name in names}))


def _class_of(file: str, depth: int, root: Path) -> str:
    """The class of an image: the folder at ``depth`` of its relative path."""
    *folders, name = file.split("/")
    if len(folders) <= depth:
        where = "/".join([*folders, "<class>", name])
        raise UserError(
            f"data=folder: {root / file} lies in no class folder, which model.class_conditional=true needs: move it to "
            f"{root / where}"
        )
    return folders[depth]


def _split_members(contents: _Contents, left_out: Counter[str]) -> dict[str, list[str]]:
    """The images of each split, sorted; see ``Folder`` for the rule.

    Args:
        contents: what is there.
        left_out: counts the pictures of formats that are not read.

    Raises:
        UserError: there is no image at all.
    """
    present = _split_folders(contents)
    if any(present.values()):
        members = {
            split: images_among(contents.below(folder), left_out) if folder else [] for split, folder in present.items()
        }
        if present["val"] is None:
            members["val"] = [name for name in members["train"] if name_hash(name) >= 90]
            members["train"] = [name for name in members["train"] if name_hash(name) < 90]
    else:
        members = {split: [] for split in SPLIT_FOLDERS}
        for name in images_among(contents.below(""), left_out):
            members["train" if (share := name_hash(name)) < 80 else "val" if share < 90 else "test"].append(name)
    if not any(members.values()):
        instead = f"; it holds {there}" if (there := describe_left_out(left_out)) else ""
        raise UserError(
            f"data=folder: no images in {contents.where} (PNG, JPEG, WebP, ..., hidden files not counted)"
            f"{instead or '; check data.root'}"
        )
    return members


def _split_folders(contents: _Contents) -> dict[str, str | None]:
    """Subfolder of each split, ignoring case; None if there is none.

    Raises:
        UserError: two subfolders match one split, or one looks like a split under another name.
    """
    root, folders = contents.where, contents.folders
    present: dict[str, str | None] = {}
    for split, names in SPLIT_FOLDERS.items():
        fits = [folder for folder in folders if folder.lower() in names]
        if len(fits) > 1:
            raise UserError(f"data=folder: {root} holds {' and '.join(fits)}, both for {split}; keep one")
        present[split] = fits[0] if fits else None
    for folder in folders:
        if folder.lower() in LIKE_A_SPLIT:
            raise UserError(
                f"data=folder: is {root / folder} a split? rename it to train, val or test, or to something else"
            )
    return present


def _empty_split_message(root: Path, split: str, members: dict[str, list[str]]) -> str:
    counts = ", ".join(f"{name} {len(files)}" for name, files in members.items())
    return (
        f"data=folder: the split {split} of {root} is empty ({counts}); "
        f"add images, or choose the split by hand with subfolders train/, val/, test/"
    )


def _warning(contents: _Contents) -> str | None:
    """A warning if these are CelebA's images, by the table of their identities, and names decide about the splits."""
    root = contents.where.absolute()
    # As downloaded, the images are in Img/img_align_celeba, and the table is in Anno, beside Img.
    places = (root, root.parent, root.parent.parent) if root.parent.name == "Img" else (root, root.parent)
    table = next((path for place in places if (path := find_table(place, IDENTITIES)) is not None), None)
    if table is None or _split_folders(contents)["val"] is not None:
        return None
    return (
        f"data=folder divides {root} by the names of files, and {table} knows several of one person, who will be in "
        "train and in test: use data=celeba, or divide them by hand into train/, val/ and test/"
    )


def match_rows(path: Path, row_names: Iterable[str], files: Iterable[str]) -> dict[str, int]:
    """Row of every file that has one, by its relative path, a unique end of the path, or its unique bare name.

    A name may lack the file's suffix, or have that of another format: files are converted after a table is made.

    Raises:
        UserError: rows without an image, two rows of one image, or a name that matches several.
    """
    by_name: dict[str, list[str]] = {}
    by_stem: dict[str, list[str]] = {}
    for file in files:
        parts = file.split("/")
        for start in range(len(parts)):
            name = "/".join(parts[start:])
            by_name.setdefault(name, []).append(file)
            by_stem.setdefault(_without_suffix(name), []).append(file)
    row_of: dict[str, int] = {}
    strays: list[str] = []
    for row, written in enumerate(row_names):
        name = written.replace("\\", "/").removeprefix("./")
        fits = by_name.get(name) or by_stem.get(_without_suffix(name), [])
        if not fits:
            strays.append(written)
        elif len(fits) > 1:
            raise UserError(
                f"{path}: {written} fits {fits[0]} and {fits[1]}; write the path relative to the folder, and its suffix"
            )
        elif fits[0] in row_of:
            raise UserError(f"{path}: {fits[0]} has two rows, one is {written}; keep one")
        else:
            row_of[fits[0]] = row
    if strays:
        raise UserError(
            f"{path}: {len(strays)} rows have no image, the first is {strays[0]}; remove them or add the images"
        )
    return row_of


def _without_suffix(name: str) -> str:
    stem, dot, suffix = name.rpartition(".")
    return stem if dot + suffix.lower() in SUFFIXES else name
