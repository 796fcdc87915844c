"""The options of every data set; see :mod:`glow_app.config.train`."""

from dataclasses import dataclass
from typing import Any, ClassVar

from glow_app.config.option import option
from glow_app.errors import UserError

ON_CORRUPT = ("error", "skip")


@dataclass
class DataConfig:
    """What every data set has. ``image_size`` is one side of a square, or [height, width]."""

    name: str = option("data set")
    image_size: Any = option("pixels: one side of a square, or [height, width]")
    n_bits: int = option("bits per subpixel that the model sees; 8 and 5 are never comparable", at_least=1, at_most=8)
    flip: bool = option("mirror training images at random")
    shift: float = option("move training images by up to this part of their sides", at_least=0, at_most=0.5)
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

    @property
    def side(self) -> int:
        """Pixels of one side, for data sets whose images are squares."""
        height, width = self.size
        if height != width:
            raise UserError(f"data.image_size={self.image_size}: images of data={self.name} are squares; give one side")
        return height


@dataclass
class DrawnFacesConfig(DataConfig):
    """Faces drawn by the program itself: nothing to download."""

    seed: int = option("of the drawing; another seed draws other people", at_least=0, at_most=2**63 - 1)
    n_images: int | None = option("faces per split; null: 10,000 / 1,000 / 1,000", at_least=1)


@dataclass
class FilesConfig(DataConfig):
    """What every data set on disk has."""

    root: str = option("folder that holds the data")


@dataclass
class PicturesConfig(FilesConfig):
    """What every data set of single image files has."""

    on_corrupt: str = option("what a file that cannot be decoded does", choices=ON_CORRUPT)


@dataclass
class FolderConfig(PicturesConfig):
    """Any folder of images, with or without train/, val/ and test/ inside."""

    channels: int = option("3 for colour, 1 for grey", at_least=1, at_most=3)
    attributes: str | None = option("CSV file of 0/1 attributes, first column the file name; null: none")


@dataclass
class CelebAConfig(PicturesConfig):
    """CelebA as downloaded, unpacked or not."""

    crop: int | None = option(
        "side of the central square that is kept, pixels; null: the whole central square", at_least=1
    )
    channels: int = option("3 for colour, 1 for grey", at_least=1, at_most=3)
    subset: bool = option("use the images that are there although others are missing")
    validation_identities: int | None = option(
        "validate on the training images whose identity number this divides; null: the official validation images",
        at_least=2,
    )
    download: bool = option("fetch what is missing")


@dataclass
class CelebAHQConfig(PicturesConfig):
    """CelebA-HQ or CelebAMask-HQ: a folder of 1024 or 256 pixel images."""

    partition: str = option(
        "published: 27,000 / 3,000 by number; celeba: CelebA's own", choices=("published", "celeba")
    )
    validation: int = option("images held out of the training part for validation; 0: none, no validation", at_least=0)


@dataclass
class LsunConfig(PicturesConfig):
    """One category of LSUN, from its LMDB directories."""

    category: str = option("bedroom, church_outdoor, tower, ...")
    crop: str = option("random: as in the likelihood tables; centre: as in the pictures", choices=("random", "centre"))
    channels: int = option("3 for colour, 1 for grey", at_least=1, at_most=3)
    validation: int = option("images held out of the training part for validation; 0: none, no validation", at_least=0)


@dataclass
class Cifar10Config(FilesConfig):
    """CIFAR-10, its pickles or its binary version."""

    validation: int = option("images held out of the training part for validation; 0: none, no validation", at_least=0)


@dataclass
class ImageNetConfig(PicturesConfig):
    """ImageNet at 32x32 or 64x64, older or newer distribution."""

    distribution: str = option("older: PNG folders; newer: batches", choices=("auto", "older", "newer"))
    validation: int = option("images held out of the training part for validation; 0: none, no validation", at_least=0)


@dataclass
class MnistConfig(FilesConfig):
    """MNIST or Fashion-MNIST, padded from 28 to 32 pixels."""

    channels: int = option("1 for grey, 3 for grey in three channels", at_least=1, at_most=3)
    validation: int = option("images held out of the training part for validation; 0: none, no validation", at_least=0)


@dataclass
class PointsConfig(DataConfig):
    """Points in the plane, drawn by formula: nothing to download, nothing to keep."""

    noise: float = option("standard deviation of the normal noise; the plane's shapes are 6 to 8 wide", at_least=0)
    seed: int = option("of the points; another seed draws others", at_least=0, at_most=2**63 - 1)
    n_points: int | None = option("points per split; null: 100,000 / 10,000 / 50,000", at_least=1, at_most=10_000_000)

    # What an image has and a point has not: these are no options.
    image_size: ClassVar[int] = 1  # pyright: ignore[reportIncompatibleVariableOverride]
    n_bits: ClassVar[int] = 0  # pyright: ignore[reportIncompatibleVariableOverride]
    flip: ClassVar[bool] = False  # pyright: ignore[reportIncompatibleVariableOverride]
    shift: ClassVar[float] = 0.0  # pyright: ignore[reportIncompatibleVariableOverride]
    cache: ClassVar[bool] = False  # pyright: ignore[reportIncompatibleVariableOverride]
    cache_folder: ClassVar[None] = None  # pyright: ignore[reportIncompatibleVariableOverride]


DATA_SCHEMAS: dict[str, type[DataConfig]] = {
    "drawn_faces": DrawnFacesConfig,
    "folder": FolderConfig,
    "celeba": CelebAConfig,
    "celeba_hq": CelebAHQConfig,
    "lsun": LsunConfig,
    "cifar10": Cifar10Config,
    "imagenet32": ImageNetConfig,
    "imagenet64": ImageNetConfig,
    "mnist": MnistConfig,
    "fashion_mnist": MnistConfig,
    "two_moons": PointsConfig,
    "rings": PointsConfig,
    "spiral": PointsConfig,
    "eight_gaussians": PointsConfig,
    "checkerboard": PointsConfig,
}
