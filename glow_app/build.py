"""From names in a configuration to objects: the one place where constructors are chosen."""

import os
from pathlib import Path
from typing import cast

import torch
from rich.console import Console

from glow_app.config.data import (
    CelebAConfig,
    CelebAHQConfig,
    Cifar10Config,
    DataConfig,
    DrawnFacesConfig,
    FolderConfig,
    ImageNetConfig,
    LsunConfig,
    MnistConfig,
    PicturesConfig,
    PointsConfig,
)
from glow_app.config.model import GlowConfig, ModelConfig, NiceConfig, PlaneConfig, RealNVPConfig
from glow_app.data.cache import CachedSource, cached, default_workers
from glow_app.data.formats.files import OnCorrupt
from glow_app.data.image import Channels
from glow_app.data.sets.celeba import CelebA
from glow_app.data.sets.celeba_hq import CelebAHQ, Partition
from glow_app.data.sets.cifar import Cifar10
from glow_app.data.sets.drawn_faces import DrawnFaces
from glow_app.data.sets.folder import Folder
from glow_app.data.sets.imagenet import Distribution, SmallImageNet
from glow_app.data.sets.lsun import Lsun, LsunSquares
from glow_app.data.sets.mnist import Mnist, Variant
from glow_app.data.sets.points import Points
from glow_app.data.source import ImageSource
from glow_app.errors import UserError
from glow_app.flows import Flow, Glow, Nice, Plane, RealNVP
from glow_app.runtime.console import counting, say

PRECISIONS: dict[str, torch.dtype | None] = {"fp32": None, "bf16": torch.bfloat16}
"""``trainer.precision`` -> the dtype of the conditioners."""


def forbid_tf32() -> None:
    """float32 means float32: what may be less precise is said by ``precision``."""
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


def build_flow(model: ModelConfig, image_shape: tuple[int, int, int], n_classes: int) -> Flow:
    """A new flow of images of ``image_shape``; ``n_classes`` counts only if the model is conditional."""
    n_classes = n_classes if model.class_conditional else 0
    match model:
        case GlowConfig():
            return Glow(
                image_shape,
                n_levels=model.n_levels,
                n_steps=model.n_steps,
                width=model.width,
                coupling=model.coupling,
                permutation=model.permutation,
                scale=model.scale,
                border=model.border,
                n_classes=n_classes,
                memory=model.memory,
                anchor_every=model.anchor_every,
            )
        case NiceConfig():
            return Nice(
                image_shape,
                n_couplings=model.n_couplings,
                n_hidden=model.n_hidden,
                width=model.width,
                base=model.base,
                logit=model.logit,
                n_classes=n_classes,
                memory=model.memory,
                anchor_every=model.anchor_every,
            )
        case PlaneConfig():
            return Plane(
                n_steps=model.n_steps,
                width=model.width,
                n_hidden=model.n_hidden,
                coupling=model.coupling,
                permutation=model.permutation,
                scale=model.scale,
                base=model.base,
                memory=model.memory,
                anchor_every=model.anchor_every,
            )
        case RealNVPConfig():
            return RealNVP(
                image_shape,
                n_levels=model.n_levels,
                n_blocks=model.n_blocks,
                width=model.width,
                normalisation=model.normalisation,
                momentum=model.momentum,
                logit=model.logit,
                n_classes=n_classes,
                memory=model.memory,
                anchor_every=model.anchor_every,
            )
    raise AssertionError(f"no constructor for {type(model).__name__}")


def open_source(data: DataConfig, split: str) -> ImageSource:
    """One split of the data set that ``data`` names.

    Raises:
        UserError: its files are missing or not as they should be.
    """
    match data:
        case DrawnFacesConfig():
            return DrawnFaces(split, data.side, data.seed, data.n_images)
        case FolderConfig():
            return Folder(data.root, split, data.size, _channels(data), _on_corrupt(data), data.attributes)
        case CelebAConfig():
            return CelebA(
                data.root,
                split,
                data.size,
                data.crop,
                _channels(data),
                _on_corrupt(data),
                data.subset,
                data.validation_identities,
                data.download,
            )
        case CelebAHQConfig():
            partition = cast(Partition, data.partition)
            return CelebAHQ(data.root, split, data.side, partition, data.validation, _on_corrupt(data))
        case LsunConfig():
            kind = Lsun if data.crop == "random" else LsunSquares
            place = (data.root, data.category, split, data.side, data.validation)
            key_cache = cache_folder(data) if data.cache else None
            return kind(*place, _channels(data), _on_corrupt(data), key_cache)
        case Cifar10Config():
            _require_side(data, 32)
            return Cifar10(data.root, split, data.validation)
        case ImageNetConfig():
            side = _require_side(data, int(data.name.removeprefix("imagenet")))
            distribution = cast(Distribution, data.distribution)
            return SmallImageNet(data.root, split, side, data.validation, distribution, _on_corrupt(data))
        case MnistConfig():
            _require_side(data, 32)
            return Mnist(data.root, split, cast(Variant, data.name), _channels(data), data.validation)
        case PointsConfig():
            return Points(data.name, split, data.noise, data.seed, data.n_points)
    raise AssertionError(f"no constructor for {type(data).__name__}")


def open_split(data: DataConfig, split: str, console: Console) -> ImageSource:
    """One split of a data set, through the cache if ``data.cache`` says so.

    Raises:
        UserError: see :func:`open_source` and :func:`glow_app.data.cache.cached`.
    """
    return open_cached(data, split, default_workers(), console) if data.cache else open_source(data, split)


def open_cached(data: DataConfig, split: str, workers: int, console: Console) -> CachedSource:
    """One split of a data set with its pixels in the cache, which is built first if it has to be.

    Raises:
        UserError: see :func:`open_source` and :func:`glow_app.data.cache.cached`.
    """
    source = open_source(data, split)
    with counting(console, f"preparing {data.name} {split}") as progress:
        try:
            return cached(source, cache_folder(data), workers, progress)
        except KeyboardInterrupt:
            say(console, "interrupted; what is decoded is kept, and the same command goes on from there")
            raise


def _channels(data: FolderConfig | CelebAConfig | LsunConfig | MnistConfig) -> Channels:
    if data.channels not in (1, 3):
        raise UserError(f"data.channels={data.channels}: choose 3 for colour or 1 for grey")
    return cast(Channels, data.channels)


def _on_corrupt(data: PicturesConfig) -> OnCorrupt:
    return cast(OnCorrupt, data.on_corrupt)


def _require_side(data: DataConfig, side: int) -> int:
    if data.side != side:
        raise UserError(
            f"data.image_size={data.image_size}: images of data={data.name} are {side}x{side} as distributed"
        )
    return side


def cache_folder(data: DataConfig) -> Path:
    """Where decoded pixels are kept."""
    if data.cache_folder is not None:
        return Path(data.cache_folder).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "glow_app"
