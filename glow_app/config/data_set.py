"""The options that data sets share; see :mod:`glow_app.config.data` for those of each.

Data sets are imported when one is opened, so that options are checked without waiting for torch.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from glow_app.config.option import option, path_option
from glow_app.config.paths import path_options
from glow_app.errors import UserError

if TYPE_CHECKING:
    from glow_app.data.image import Channels
    from glow_app.data.source import ImageSource

ON_CORRUPT = ("error", "skip")


@dataclass
class DataConfig:
    """Options of every data set. ``image_size`` is one side of a square, or [height, width]."""

    name: str = option("data set")
    image_size: Any = option("pixels: one side of a square, or [height, width]")
    n_bits: int = option("bits per subpixel that the model sees; 8 and 5 are never comparable", at_least=1, at_most=8)
    flip: bool = option("mirror training images at random")
    shift: float = option("move training images by up to this fraction of their sides", at_least=0, at_most=0.5)
    cache: bool = option("decode once into a cache on disk, then read pixels from there")
    cache_folder: str | None = path_option("folder of the cache; null: $XDG_CACHE_HOME/glow_app or ~/.cache/glow_app")
    workers: int = option("processes that load batches; 0 is the fastest with a cache", at_least=0)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        sides = self.image_size if isinstance(self.image_size, list) else [self.image_size, self.image_size]
        if len(sides) != 2 or not all(isinstance(side, int) and side >= 1 for side in sides):
            raise UserError(
                f"data.image_size={self.image_size} is not a size: give one side, or [height,width], in pixels"
            )
        return sides[0], sides[1]

    @property
    def side(self) -> int:
        """Pixels of one side, for data sets whose images are squares."""
        height, width = self.size
        if height != width:
            raise UserError(f"data.image_size={self.image_size}: images of data={self.name} are squares; give one side")
        return height

    @property
    def missing(self) -> str | None:
        """The folder of the files, if it does not exist and will not be downloaded."""
        for key in path_options(type(self)):
            if key == "root" and not os.path.exists(getattr(self, key)) and not getattr(self, "download", False):
                return getattr(self, key)
        return None

    @property
    def cache_path(self) -> Path:
        """The folder of the cache of decoded pixels."""
        if self.cache_folder is not None:
            return Path(self.cache_folder)
        try:
            base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        except RuntimeError as error:
            raise UserError(
                "there is no home folder for the cache of decoded pixels: set data.cache_folder=..., or HOME"
            ) from error
        return Path(base) / "glow_app"

    def open(self, split: str) -> "ImageSource":
        """Opens one split of the data set.

        Raises:
            UserError: its files are missing or not as they should be.
        """
        raise NotImplementedError

    def _require_side(self, side: int) -> int:
        if self.side != side:
            raise UserError(
                f"data.image_size={self.image_size}: images of data={self.name} are {side}x{side} as distributed"
            )
        return side


@dataclass
class FilesConfig(DataConfig):
    """Options of every data set on disk."""

    root: str = path_option("folder that holds the data")


@dataclass
class PicturesConfig(FilesConfig):
    """Options of every data set of single image files."""

    on_corrupt: str = option("what to do with a file that cannot be decoded", choices=ON_CORRUPT)


@dataclass
class FacesConfig(PicturesConfig):
    """Options of every data set of files that may be aligned faces."""

    eyes: list[float] | None = option(
        "mean centres of the eyes in the images, x1,y1,x2,y2 as fractions of width and height, the left one first, for "
        "align=true; null: not known, or as published",
        at_least=0,
        at_most=1,
    )


def channels_of(channels: int) -> "Channels":
    """Checks ``data.channels``.

    Raises:
        UserError: neither 1 nor 3.
    """
    if channels not in (1, 3):
        raise UserError(f"data.channels={channels}: choose 3 for colour or 1 for grey")
    return cast("Channels", channels)
