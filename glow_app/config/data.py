"""The options of every data set, and how it is opened; see :mod:`glow_app.config.train`.

Data sets are imported when one is opened, so that options are checked without waiting for torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, cast

from glow_app.config.data_set import DataConfig, FacesConfig, FilesConfig, PicturesConfig, channels_of
from glow_app.config.option import option, path_option
from glow_app.errors import UserError

if TYPE_CHECKING:
    from glow_app.data.formats.files import OnCorrupt
    from glow_app.data.sets.celeba_hq import Partition
    from glow_app.data.sets.imagenet import Distribution
    from glow_app.data.sets.mnist import Variant
    from glow_app.data.source import ImageSource


@dataclass
class DrawnFacesConfig(DataConfig):
    """Faces drawn by the program itself: nothing to download."""

    seed: int = option("seed of the drawing; another seed draws other faces", at_least=0, at_most=2**63 - 1)
    n_images: int | None = option("faces per split; null: 10,000 / 1,000 / 1,000", at_least=1)

    def open(self, split: str) -> "ImageSource":
        from glow_app.data.sets.drawn_faces import DrawnFaces

        return DrawnFaces(split, self.side, self.seed, self.n_images)


@dataclass
class FolderConfig(FacesConfig):
    """Any folder of images, with or without train/, val/ and test/ inside."""

    root: str = path_option("folder that holds the pictures, or a zip of them")
    fit: str = option(
        "pictures of other proportions. crop: the central part; pad: the whole picture, between black bars; stretch: "
        "the whole picture, distorted",
        choices=("crop", "pad", "stretch"),
    )
    channels: int = option("3 for colour, 1 for grey", at_least=1, at_most=3)
    attributes: str | None = path_option("table of 0/1 attributes (CSV), first column the file name; null: none")

    def open(self, split: str) -> "ImageSource":
        from glow_app.data.sets.folder import Folder

        return Folder(
            self.root,
            split,
            self.size,
            channels_of(self.channels),
            cast("OnCorrupt", self.on_corrupt),
            self.attributes,
            self.fit,
        )


@dataclass
class HubConfig(FacesConfig):
    """A data set of images of the Hugging Face hub."""

    root: str = option("owner/name on the hub")  # not a path
    channels: int = option("3 for colour, 1 for grey", at_least=1, at_most=3)

    def open(self, split: str) -> "ImageSource":
        from glow_app.data.sets.hf import HubImages

        return HubImages(self.root, split, self.size, channels_of(self.channels), cast("OnCorrupt", self.on_corrupt))


@dataclass
class CelebAConfig(FacesConfig):
    """CelebA as downloaded, unpacked or not."""

    crop: int | None = option(
        "side of the central square that is kept, pixels; null: the whole central square", at_least=1
    )
    channels: int = option("3 for colour, 1 for grey", at_least=1, at_most=3)
    subset: bool = option("use the available images although others are missing")
    validation_identities: int | None = option(
        "validate on the training images whose identity number this divides; null: the official validation images",
        at_least=2,
    )
    download: bool = option("fetch what is missing")

    def open(self, split: str) -> "ImageSource":
        from glow_app.data.sets.celeba import CelebA

        return CelebA(
            self.root,
            split,
            self.size,
            self.crop,
            channels_of(self.channels),
            cast("OnCorrupt", self.on_corrupt),
            self.subset,
            self.validation_identities,
            self.download,
        )


@dataclass
class CelebAHQConfig(FacesConfig):
    """CelebA-HQ or CelebAMask-HQ: a folder of 1024 or 256 pixel images."""

    partition: str = option(
        "published: 27,000 / 3,000 by number; celeba: CelebA's own", choices=("published", "celeba")
    )
    validation: int = option("images held out of the training part for validation; 0: none, no validation", at_least=0)

    def open(self, split: str) -> "ImageSource":
        from glow_app.data.sets.celeba_hq import CelebAHQ

        partition, on_corrupt = cast("Partition", self.partition), cast("OnCorrupt", self.on_corrupt)
        return CelebAHQ(self.root, split, self.side, partition, self.validation, on_corrupt)


@dataclass
class LsunConfig(PicturesConfig):
    """One category of LSUN, from its LMDBs."""

    category: str = option("bedroom, church_outdoor, tower, ...")
    crop: str = option("random: as in the likelihood tables; centre: as in the pictures", choices=("random", "centre"))
    channels: int = option("3 for colour, 1 for grey", at_least=1, at_most=3)
    validation: int = option("images held out of the training part for validation; 0: none, no validation", at_least=0)

    def open(self, split: str) -> "ImageSource":
        from glow_app.data.sets.lsun import Lsun, LsunSquares

        kind = Lsun if self.crop == "random" else LsunSquares
        images = (self.root, self.category, split, self.side, self.validation)
        key_cache = self.cache_path if self.cache else None
        return kind(*images, channels_of(self.channels), cast("OnCorrupt", self.on_corrupt), key_cache)


@dataclass
class Cifar10Config(FilesConfig):
    """CIFAR-10, its pickles or its binary version."""

    validation: int = option("images held out of the training part for validation; 0: none, no validation", at_least=0)

    def open(self, split: str) -> "ImageSource":
        from glow_app.data.sets.cifar import Cifar10

        self._require_side(32)
        return Cifar10(self.root, split, self.validation)


@dataclass
class Cifar100Config(Cifar10Config):
    """CIFAR-100 with its fine classes, its pickles or its binary version."""

    def open(self, split: str) -> "ImageSource":
        from glow_app.data.sets.cifar import Cifar100

        self._require_side(32)
        return Cifar100(self.root, split, self.validation)


@dataclass
class ImageNetConfig(PicturesConfig):
    """ImageNet at 32x32 or 64x64, older or newer distribution."""

    distribution: str = option("older: PNG folders; newer: batches", choices=("auto", "older", "newer"))
    validation: int = option("images held out of the training part for validation; 0: none, no validation", at_least=0)

    def open(self, split: str) -> "ImageSource":
        from glow_app.data.sets.imagenet import SmallImageNet

        side = self._require_side(int(self.name.removeprefix("imagenet")))
        distribution, on_corrupt = cast("Distribution", self.distribution), cast("OnCorrupt", self.on_corrupt)
        return SmallImageNet(self.root, split, side, self.validation, distribution, on_corrupt)


@dataclass
class MnistConfig(FilesConfig):
    """MNIST or Fashion-MNIST, of 28 pixels, or padded to 32."""

    channels: int = option("1 for grey, 3 for grey in three channels", at_least=1, at_most=3)
    validation: int = option("images held out of the training part for validation; 0: none, no validation", at_least=0)
    binarise: bool = option(
        "make each pixel white with the probability that is its grey level, anew in each pass; with data.n_bits=1"
    )

    def open(self, split: str) -> "ImageSource":
        from glow_app.data.sets.mnist import Mnist

        if self.side not in (28, 32):
            raise UserError(
                f"data.image_size={self.image_size}: images of data={self.name} are 28x28 as distributed; choose 28, "
                "or 32, which pads them with zeros"
            )
        channels = channels_of(self.channels)
        variant = cast("Variant", self.name)
        return Mnist(self.root, split, variant, channels, self.validation, self.side, self.binarise)


@dataclass
class PointsConfig(DataConfig):
    """Points in the plane, drawn by formula: nothing to download or to cache."""

    noise: float = option("standard deviation of the normal noise; the plane's shapes are 6 to 8 wide", at_least=0)
    seed: int = option("seed of the points; another seed draws others", at_least=0, at_most=2**63 - 1)
    n_points: int | None = option("points per split; null: 100,000 / 10,000 / 50,000", at_least=1, at_most=10_000_000)

    # Properties that images have and points do not: not options.
    image_size: ClassVar[int] = 1  # pyright: ignore[reportIncompatibleVariableOverride]
    n_bits: ClassVar[None] = None  # pyright: ignore[reportIncompatibleVariableOverride]
    flip: ClassVar[bool] = False  # pyright: ignore[reportIncompatibleVariableOverride]
    shift: ClassVar[float] = 0.0  # pyright: ignore[reportIncompatibleVariableOverride]
    cache: ClassVar[bool] = False  # pyright: ignore[reportIncompatibleVariableOverride]
    cache_folder: ClassVar[None] = None  # pyright: ignore[reportIncompatibleVariableOverride]

    def open(self, split: str) -> "ImageSource":
        from glow_app.data.sets.points import Points

        return Points(self.name, split, self.noise, self.seed, self.n_points)


@dataclass
class EnergyConfig(PointsConfig):
    """Points of an energy in the plane, drawn by formula."""

    # Not a shape with a blur: not an option.
    noise: ClassVar[float] = 0.0  # pyright: ignore[reportIncompatibleVariableOverride]


@dataclass
class OwnDataConfig(DataConfig):
    """A data set object of a program, given to :func:`glow_app.train`.

    Attributes:
        splits: split -> images; empty in a command, which cannot have the object.
    """

    source: str | None = option("class of the data set")
    channels: int = option("3 for colour, 1 for grey; or any other number", at_least=1)

    # Its pixels are where the program keeps them: not options.
    cache: ClassVar[bool] = False  # pyright: ignore[reportIncompatibleVariableOverride]
    cache_folder: ClassVar[None] = None  # pyright: ignore[reportIncompatibleVariableOverride]

    def __post_init__(self) -> None:
        self.splits: Mapping[str, ImageSource] = {}

    def open(self, split: str) -> "ImageSource":
        from glow_app.data.source import EmptySplit

        if not self.splits:
            raise UserError(
                f"data=own is a data set object of a program ({self.source or 'none'}), which only the program can "
                "open: give it to glow_app.train, or choose other data"
            )
        if split not in self.splits:
            raise EmptySplit(f"no images are given: add them with data={{'{split}': ...}}")
        return self.splits[split]


DATA_SCHEMAS: dict[str, type[DataConfig]] = {
    "drawn_faces": DrawnFacesConfig,
    "folder": FolderConfig,
    "hf": HubConfig,
    "celeba": CelebAConfig,
    "celeba_hq": CelebAHQConfig,
    "lsun": LsunConfig,
    "cifar10": Cifar10Config,
    "cifar100": Cifar100Config,
    "imagenet32": ImageNetConfig,
    "imagenet64": ImageNetConfig,
    "mnist": MnistConfig,
    "fashion_mnist": MnistConfig,
    "two_moons": PointsConfig,
    "rings": PointsConfig,
    "spiral": PointsConfig,
    "eight_gaussians": PointsConfig,
    "checkerboard": PointsConfig,
    "u1": EnergyConfig,
    "u2": EnergyConfig,
    "u3": EnergyConfig,
    "u4": EnergyConfig,
    "own": OwnDataConfig,
}


def has_density(name: str) -> bool:
    """Returns whether a name is that of a data set whose density is known by formula."""
    return issubclass(DATA_SCHEMAS.get(name, DataConfig), PointsConfig)
