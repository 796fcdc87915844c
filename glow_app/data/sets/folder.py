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
"""Names of folders that somebody meant as a split, and which would otherwise be mixed with the rest."""

SPLIT_FOLDERS = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}


class Folder(ImageSource):
    """All images below a folder, in the order of their names.

    Splits: where the folder has a subfolder ``train`` or ``val`` (also ``valid``, ``validation``) or ``test``, each
    split is what its subfolder holds, and images elsewhere are not used; if ``val`` is the missing one, a tenth of
    ``train`` is held out. Otherwise a hash of each file's relative name decides: 80 % train, 10 % val, 10 % test, the
    same on every machine, and for one file the same whatever files join it.

    Preprocessing: the central part of the right proportions, then antialiased bilinear resize.

    Args:
        root: the folder.
        split: ``train``, ``val`` or ``test``.
        image_size: one side, or (H, W).
        channels: 3 for colour, 1 for grey; images of the other kind are converted.
        on_corrupt: what the reader of this source should do about a ``CorruptImage`` raised by ``source[i]``; the
            source itself always raises it.
        attributes: a comma-separated file: first column the file name (relative to the root or to the split's folder,
            or the bare name where that is unique), other columns attributes of value 0/1 or -1/1.

    Raises:
        UserError: no such folder, no image in it, none in this split, or an attribute table that does not fit.
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
            raise EmptySplit(_why_empty(self.root, split, members))
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
    """Which subfolder holds each split, whatever its capitals.

    Raises:
        UserError: two fit one split, or one looks like a split and is none of the names.
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


def _why_empty(root: Path, split: str, members: dict[str, list[str]]) -> str:
    counts = ", ".join(f"{name} {len(files)}" for name, files in members.items())
    return (
        f"data=folder: the split {split} of {root} is empty ({counts}); "
        f"add images, or choose the split by hand with subfolders train/, val/, test/"
    )


def _attributes(path: Path, members: dict[str, list[str]], files: list[str]) -> tuple[tuple[str, ...], Tensor]:
    """Names and uint8 (len(files), names) of the table, after checking it against all splits' images."""
    table = read_csv(path)
    everything = sorted(name for names in members.values() for name in names)
    row_of = match_rows(path, table.names, everything)
    return table.columns, table.as_binary()[[row_of[name] for name in files]]


def match_rows(path: Path, row_names: Iterable[str], files: Iterable[str]) -> dict[str, int]:
    """The row of every file, by its relative name, the end of it, or its bare name, whichever is unique.

    Raises:
        UserError: images without a row, rows without an image, or a name that fits several.
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
