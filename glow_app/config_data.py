"""The options of every data set; see :mod:`glow_app.config`."""

from dataclasses import dataclass
from typing import Any

from glow_app.errors import UserError
from glow_app.option import option


@dataclass
class DataConfig:
    """What every data set has. ``image_size`` is one side of a square, or [height, width]."""

    name: str = option("data set")
    image_size: Any = option("pixels: one side of a square, or [height, width]")
    n_bits: int = option("bits per subpixel that the model sees; 8 and 5 are never comparable", at_least=1, at_most=8)
    flip: bool = option("mirror training images at random")
    cache: bool = option("decode once into a cache on disk, then read pixels from there")
    cache_folder: str | None = option("where the cache lives; null: $XDG_CACHE_HOME/glow_app or ~/.cache/glow_app")
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


@dataclass
class DrawnFacesConfig(DataConfig):
    """Faces drawn by the program itself: nothing to download."""

    seed: int = option("of the drawing; another seed draws other people", at_least=0)
    n_images: int | None = option("faces per split; null: 10,000 / 1,000 / 1,000", at_least=1)


@dataclass
class FolderConfig(DataConfig):
    """Any folder of images."""

    root: str = option("folder of images, with or without train/, val/ and test/ inside")
    channels: int = option("3 for colour, 1 for grey", at_least=1, at_most=3)
    on_corrupt: str = option("what a file that cannot be decoded does", choices=("error", "skip"))
    attributes: str | None = option("CSV file of 0/1 attributes, first column the file name; null: none")


DATA_SCHEMAS: dict[str, type[DataConfig]] = {"drawn_faces": DrawnFacesConfig, "folder": FolderConfig}
