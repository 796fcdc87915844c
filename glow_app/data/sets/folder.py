"""Any folder of images."""

from collections.abc import Iterable
from pathlib import Path

from torch import Tensor

from glow_app.data.formats.files import (
    OnCorrupt,
    digest_files,
    image_size_pair,
    list_images,
    require_choice,
    require_folder,
    require_split,
)
from glow_app.data.formats.tables import read_csv
from glow_app.data.image import Channels, open_image, to_tensor
from glow_app.data.sets.splits import name_hash
from glow_app.data.source import EmptySplit, ImageSource
from glow_app.data.transforms import centre_crop_aspect, resize_bilinear
from glow_app.errors import UserError

LIKE_A_SPLIT = ("training", "testing", "dev", "eval", "evaluation", "validate", "tests")
"""Folder names that are probably meant as a split, and would otherwise be mixed with the rest."""

SPLIT_FOLDERS = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}


class Folder(ImageSource):
    """All images below a folder, in the order of their names.

    Splits: if the folder has a subfolder ``train``, ``val`` (also ``valid``, ``validation``) or ``test``, each split is
    the content of its subfolder, and other images are not used; without ``val`` a tenth of ``train`` is held out.
    Otherwise a hash of each file's relative name decides: 80 % train, 10 % val, 10 % test. A file's split is the same
    on every machine, and does not change when files are added.

    Preprocessing: crop to the central part with the right proportions, then antialiased bilinear resize.

    Args:
        root: the folder.
        split: ``train``, ``val`` or ``test``.
        image_size: one side, or (H, W).
        channels: 3 for colour, 1 for grey; images of the other kind are converted.
        on_corrupt: how the caller reacts to a ``CorruptImage``, which ``source[i]`` always raises; see that class.
        attributes: a comma-separated file: first column the file name (relative to the root or to the split's folder,
            or the bare name if it is unique), other columns attributes of value 0/1 or -1/1.

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
    ) -> None:
        require_split(split)
        require_choice("data.channels", channels, (1, 3))
        require_choice("data.on_corrupt", on_corrupt, ("error", "skip"))
        height, width = image_size_pair(image_size)
        self.root = require_folder(root, "data=folder")
        self.split = split
        self.on_corrupt = on_corrupt
        self.channels: Channels = channels
        self.image_shape = (channels, height, width)
        self.preprocessing = f"central part, antialiased bilinear to {height}x{width}" + (
            ", grey" if channels == 1 else ""
        )
        members = split_members(self.root)
        self.files = members[split]
        if not self.files:
            raise EmptySplit(_empty_split_message(self.root, split, members))
        if attributes is not None:
            self.attribute_names, self.attributes = _attributes(Path(attributes), members, self.files)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Tensor:
        image = open_image(self.root / self.files[index], self.channels)
        _, height, width = self.image_shape
        return to_tensor(resize_bilinear(centre_crop_aspect(image, height, width), height, width))

    def item_name(self, index: int) -> str:
        return self.files[index]

    def content(self) -> dict[str, object]:
        return {"files": digest_files(self.root, self.files)}


def split_members(root: Path) -> dict[str, list[str]]:
    """The images of each split, as paths relative to ``root``, sorted; see ``Folder`` for the rule.

    Raises:
        UserError: there is no image at all.
    """
    present = _split_folders(root)
    if any(present.values()):
        members = {
            split: [f"{folder}/{name}" for name in list_images(root / folder)] if folder else []
            for split, folder in present.items()
        }
        if present["val"] is None:
            members["val"] = [name for name in members["train"] if name_hash(name) >= 90]
            members["train"] = [name for name in members["train"] if name_hash(name) < 90]
    else:
        members = {split: [] for split in SPLIT_FOLDERS}
        for name in list_images(root):
            members["train" if (share := name_hash(name)) < 80 else "val" if share < 90 else "test"].append(name)
    if not any(members.values()):
        raise UserError(
            f"data=folder: no images in {root} (PNG, JPEG, WebP, ..., hidden files not counted); check data.root"
        )
    return members


def _split_folders(root: Path) -> dict[str, str | None]:
    """Subfolder of each split, ignoring case; None if there is none.

    Raises:
        UserError: two subfolders match one split, or one looks like a split under another name.
    """
    folders = sorted(path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
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


def _attributes(path: Path, members: dict[str, list[str]], files: list[str]) -> tuple[tuple[str, ...], Tensor]:
    """Returns names and uint8 (len(files), names) of the table, which is checked against the images of all splits."""
    table = read_csv(path)
    everything = sorted(name for names in members.values() for name in names)
    row_of = match_rows(path, table.names, everything)
    return table.columns, table.as_binary()[[row_of[name] for name in files]]


def match_rows(path: Path, row_names: Iterable[str], files: Iterable[str]) -> dict[str, int]:
    """Row of every file, by its relative path, a unique end of the path, or its unique bare name.

    Raises:
        UserError: images without a row, rows without an image, or a name that matches several.
    """
    by_name: dict[str, list[str]] = {}
    n_files = 0
    for file in files:
        n_files += 1
        parts = file.split("/")
        for start in range(len(parts)):
            by_name.setdefault("/".join(parts[start:]), []).append(file)
    row_of: dict[str, int] = {}
    strays: list[str] = []
    for row, name in enumerate(row_names):
        fits = by_name.get(name.removeprefix("./").replace("\\", "/"), [])
        if not fits:
            strays.append(name)
        elif len(fits) > 1:
            raise UserError(f"{path}: {name} fits {fits[0]} and {fits[1]}; write the path relative to the folder")
        elif fits[0] in row_of:
            raise UserError(f"{path}: {name} has two rows; keep one")
        else:
            row_of[fits[0]] = row
    if len(row_of) < n_files:
        missing = next(file for names in by_name.values() for file in names if file not in row_of)
        raise UserError(f"{path}: {n_files - len(row_of)} images have no row, the first is {missing}; add their rows")
    if strays:
        raise UserError(
            f"{path}: {len(strays)} rows have no image, the first is {strays[0]}; remove them or add the images"
        )
    return row_of
