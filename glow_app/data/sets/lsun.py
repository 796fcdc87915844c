"""LSUN: millions of photographs of ten scenes (Yu, Seff, Zhang, Song, Funkhouser and Xiao, arXiv 1506.03365).

Page: https://www.yf.io/p/lsun. Published preprocessing:

* 64 x 64 (RealNVP's, and Glow's likelihood table): short side to 96, then a RANDOM 64 x 64 crop, in training and in
  validation;
* 96, 128, 256 (Glow's pictures): centre square, antialiased to 256, then 2 x 2 means.
"""

import difflib
import re
from pathlib import Path

from torch import Tensor

from glow_app.data.formats.files import OnCorrupt, find_level, require_choice, require_folder, require_split
from glow_app.data.formats.lmdb_store import LmdbStore, is_lmdb
from glow_app.data.image import Channels, CorruptImage, decode_image, open_image
from glow_app.data.sets.splits import held_out
from glow_app.data.source import EmptySplit, ImageSource, RandomCropSource
from glow_app.data.transforms import centre_square_boxed, short_side
from glow_app.errors import UserError

SCENES = (
    "bedroom", "bridge", "church_outdoor", "classroom", "conference_room", "dining_room", "kitchen", "living_room",
    "restaurant", "tower",
)  # fmt: skip
LONGEST = 20
"""Largest ratio of an image's long side to its short side: reducing a longer one would take gigabytes."""

_LMDB_NAME = re.compile(r"(.+)_(train|val|test)_lmdb")


class _LsunPart(ImageSource):
    """Base of both preprocessings: the LMDB, its keys and the rows of the split."""

    name = "lsun"

    def __init__(
        self,
        root: str | Path,
        category: str,
        split: str,
        image_size: int,
        validation: int,
        channels: Channels,
        on_corrupt: OnCorrupt,
        key_cache: str | Path | None,
    ) -> None:
        require_split(split)
        require_choice("data.channels", channels, (1, 3))
        require_choice("data.on_corrupt", on_corrupt, ("error", "skip"))
        if image_size < 2:
            raise UserError(f"data.image_size={image_size}: give the side of the images, at least 2")
        self.split = split
        self.category = category
        self.on_corrupt = on_corrupt
        self.channels: Channels = channels
        self.image_shape = (channels, image_size, image_size)
        folder, whole = _locate(Path(root), category, split)
        cache = None if key_cache is None else Path(key_cache)
        self.images = LmdbStore(folder, f"data=lsun {category}", cache)
        self._rows = _rows(len(self.images), split, validation, whole, folder)

    def __len__(self) -> int:
        return len(self._rows)

    def item_name(self, index: int) -> str:
        return self.images.key(self._rows[index])

    def content(self) -> dict[str, object]:
        rows = [self._rows.start, self._rows.stop]
        return {"category": self.category, "rows": rows, "files": self.images.digest()}


class Lsun(_LsunPart, RandomCropSource):
    """One split of one LSUN category, from the released LMDB directories, with the random crops of the published table.

    Layout: ``root`` holds ``<category>_train_lmdb`` and ``<category>_val_lmdb``, unzipped; directories, or LMDBs in one
    file. ``test`` is the released
    val part (300 images), ``val`` the end of the train part, ``train`` the rest; keys are hashes, so that their
    order does not depend on content. If ``root`` is itself an LMDB, ``train``, ``val`` and ``test`` are its
    first 80 %, next 10 % and last 10 %, at least one image each.

    Preprocessing: short side to 3/2 of ``image_size``, then a random crop, in training and in evaluation.

    Args:
        root: the folder.
        category: a scene, e.g. ``bedroom``, or an LSUN object category, whose LMDB has the bare name.
        split: ``train``, ``val`` or ``test``.
        image_size: side of the images.
        validation: number of ``val`` images; with 0 there are none, and ``train`` is the whole train part.
        channels: 3, or 1 for grey.
        on_corrupt: how the caller reacts to a ``CorruptImage``; see that class.
        key_cache: folder for the enumerated keys, best beside the pixel caches; None enumerates them each time.

    Attributes:
        uncropped_side: the short side of ``uncropped`` images.

    Raises:
        UserError: the category is missing, still zipped or damaged; ``val`` without validation images.
    """

    def __init__(
        self,
        root: str | Path,
        category: str,
        split: str,
        image_size: int = 64,
        validation: int = 1000,
        channels: Channels = 3,
        on_corrupt: OnCorrupt = "error",
        key_cache: str | Path | None = None,
    ) -> None:
        super().__init__(root, category, split, image_size, validation, channels, on_corrupt, key_cache)
        self.uncropped_side = image_size * 3 // 2
        size = f"{image_size}x{image_size}"
        self.preprocessing = f"{category}: short side to {self.uncropped_side} (Gaussian), random {size} crop"

    def uncropped(self, index: int) -> Tensor:
        row = self._rows[index]
        pixels = decode_image(self.images.read(row), self.channels, self.images.label(row))
        _, height, width = pixels.shape
        if max(height, width) > LONGEST * min(height, width):
            raise CorruptImage(self.images.label(row), f"{width} x {height} is a strip, not a photograph")
        return short_side(pixels, self.uncropped_side)


class LsunSquares(_LsunPart):
    """``Lsun`` with the preprocessing of the paper's pictures: central square, antialiased, repeated 2x2 means."""

    def __init__(
        self,
        root: str | Path,
        category: str,
        split: str,
        image_size: int = 128,
        validation: int = 1000,
        channels: Channels = 3,
        on_corrupt: OnCorrupt = "error",
        key_cache: str | Path | None = None,
    ) -> None:
        super().__init__(root, category, split, image_size, validation, channels, on_corrupt, key_cache)
        size = f"{image_size}x{image_size}"
        self.preprocessing = f"{category}: central square, antialiased, 2x2 means to {size}"

    def __getitem__(self, index: int) -> Tensor:
        row = self._rows[index]
        image = open_image(self.images.read(row), self.channels, self.images.label(row))
        return centre_square_boxed(image, self.image_shape[1])


def _names(category: str, part: str) -> tuple[str, ...]:
    return (f"{category}_{part}_lmdb", category) if part == "train" else (f"{category}_{part}_lmdb",)


def _locate(root: Path, category: str, split: str) -> tuple[Path, bool]:
    """Returns the LMDB directory to read, and whether all splits come from it."""
    what = f"data=lsun data.category={category}"
    if root.suffix == ".zip" and root.is_file():
        raise UserError(f"{what}: {root} is still zipped; unzip it (unzip {root.name}) and set data.root={root.parent}")
    if not (root.is_file() and is_lmdb(root)):
        require_folder(root, what)
    if is_lmdb(root):
        match = _LMDB_NAME.fullmatch(root.name)
        if match is not None and match.group(1) != category:
            raise UserError(f"{what}: {root} is of another category; set data.category={match.group(1)}")
        return root, True
    part = "val" if split == "test" else "train"
    for name in _names(category, part):
        if (root / name).exists():
            return root / name, False
    for name in _names(category, part):
        if (root / f"{name}.zip").is_file():
            raise UserError(f"{what}: {root / name}.zip is still zipped; unzip it there: unzip {name}.zip")
    raise UserError(f"{what}: {_explain_missing(root, category, part)}")


def _explain_missing(root: Path, category: str, part: str) -> str:
    wanted = _names(category, part)[0]
    near = find_level(root, lambda folder: (folder / wanted).exists())
    if near is not None:
        return f"{root} is the wrong level; set data.root={near}"
    folders = sorted(path.name for path in root.iterdir() if is_lmdb(path))
    categories = {match.group(1) for name in folders if (match := _LMDB_NAME.fullmatch(name))}
    if category in categories:
        other = next(name for name in folders if name.startswith(f"{category}_"))
        return (
            f"no {wanted} in {root}; unzip {wanted}.zip there, or set data.root={root / other} to split that one into "
            "train, val and test"
        )
    guesses = difflib.get_close_matches(category, [*categories, *SCENES], n=1)
    hint = f"did you mean data.category={guesses[0]}? " if guesses and guesses[0] != category else ""
    found = f"there are {', '.join(folders)}" if folders else "there is no LMDB directory at all"
    return f"no {wanted} in {root}: {hint}{found}; set data.category and data.root, or unzip {wanted}.zip there"


def _rows(n: int, split: str, validation: int, whole: bool, folder: Path) -> range:
    if not whole:
        return range(n) if split == "test" else held_out(n, validation, split, "data=lsun")
    if n < 3:
        raise EmptySplit(f"data=lsun: {folder} has {n} images, too few for train, val and test; use a larger one")
    tenth = max(1, n // 10)
    return {"train": range(n - 2 * tenth), "val": range(n - 2 * tenth, n - tenth), "test": range(n - tenth, n)}[split]
