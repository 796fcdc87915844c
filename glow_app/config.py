"""The schema of every option: its type, meaning, unit and range. The values are in ``conf/``.

A field here has no default: each default stands once, in a YAML file, where a person looks for it.
"""

import dataclasses
import difflib
import math
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar, get_type_hints

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, MissingMandatoryValue, OmegaConfBaseException, ValidationError

from glow_app.errors import UserError

T = TypeVar("T")


def option(
    meaning: str,
    *,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    choices: tuple[str, ...] | None = None,
) -> Any:
    """A field of the schema: what it means (with its unit) and which values it may have."""
    limits = {"meaning": meaning, "at_least": at_least, "above": above, "at_most": at_most, "choices": choices}
    return field(metadata=limits)


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


@dataclass
class ModelConfig:
    """The shape of a Glow; see :class:`glow_app.flows.Glow`."""

    n_levels: int = option("L: levels of scale; each halves the image", at_least=1, at_most=12)
    n_steps: int = option("K: steps of flow per level", at_least=1)
    width: int = option("hidden channels of the coupling networks", at_least=1)
    coupling: str = option("coupling layer", choices=("affine", "additive"))
    permutation: str = option("what mixes the channels", choices=("lu", "full", "shuffle", "reverse"))
    scale: str = option("scale map of affine couplings; sigmoid is the published one", choices=("sigmoid", "bounded"))
    border: bool = option("border channel of the released code in every 3x3 convolution")
    class_conditional: bool = option("one top prior per class, for data with class labels")
    memory: str = option("what training keeps for the gradient", choices=("plain", "checkpoint"))


@dataclass
class OptimConfig:
    """The optimizer and its schedule."""

    name: str = option("adam, or adamax as in the released code", choices=("adam", "adamax"))
    lr: float = option("learning rate after warm-up", above=0)
    beta1: float = option("decay of the mean gradient, per step", at_least=0, at_most=0.9999999)
    beta2: float = option("decay of the gradient's size, per step", at_least=0, at_most=0.9999999)
    warmup_images: int = option("images over which the learning rate rises linearly from 0", at_least=0)
    decay: str = option("what the learning rate does after warm-up", choices=("constant", "cosine"))
    clip_norm: float | None = option("largest gradient norm; null: no clipping", above=0)
    ema_decay: float = option("decay of the averaged weights, per step; 0: no averaging", at_least=0, at_most=0.9999999)


@dataclass
class TrainerConfig:
    """Where and how the steps run."""

    accelerator: str = option("device", choices=("auto", "cpu", "gpu", "mps"))
    devices: int = option("how many devices", at_least=1)
    precision: str = option("of the coupling networks; the rest is always float32", choices=("fp32", "bf16"))
    batch_size: int = option("images per device and step", at_least=1)
    accumulate: int = option("steps whose gradients are summed before an update", at_least=1)


@dataclass
class LoggerConfig:
    """Where metrics go, besides metrics.csv in the run's folder."""

    name: str = option("csv: nothing but metrics.csv", choices=("csv", "tensorboard", "wandb"))
    project: str = option("wandb project")
    mode: str = option("wandb: offline keeps everything in the run's folder", choices=("offline", "online"))


@dataclass
class TrainConfig:
    """All options of ``glow-train``."""

    data: DataConfig
    model: ModelConfig
    optim: OptimConfig
    trainer: TrainerConfig
    logger: LoggerConfig
    name: str = option("of the run; it is put under runs/<name>/")
    seed: int = option("of the parameters, the order, the flips and the noise", at_least=0)
    max_steps: int = option("updates of the parameters in the whole run", at_least=1)
    init_images: int | None = option(
        "images for the initialisation; null: 256 at 32x32, (32/size)^2 of that", at_least=2
    )
    validate_every: int = option("steps between two validations", at_least=1)
    val_images: int = option("validation images used each time; 0: all", at_least=0)
    test_images: int = option("test images for the figure at the end; 0: all", at_least=0)
    samples_every: int = option("steps between two sample grids", at_least=1)
    temperatures: list[float] = option("temperatures of the sample grids")
    checkpoint_every: int = option("steps between two checkpoints", at_least=1)
    resume: str | None = option("folder of a run, or a checkpoint, to go on from")
    debug: bool = option("show tracebacks")


def check(composed: DictConfig) -> TrainConfig:
    """The typed configuration, every value within its range.

    Raises:
        UserError: one line that names the first key that is unknown, missing, of a wrong type or out of range.
    """
    try:
        composed = OmegaConf.create(OmegaConf.to_container(composed, resolve=True))  # type: ignore[assignment]
    except OmegaConfBaseException as error:
        raise UserError(str(error).splitlines()[0]) from error
    schemas = {key: get_type_hints(TrainConfig)[key] for key in ("model", "optim", "trainer", "logger")}
    schemas["data"] = DATA_SCHEMAS[
        _choice("data.name", str(OmegaConf.select(composed, "data.name")), tuple(DATA_SCHEMAS))
    ]
    top = OmegaConf.masked_copy(composed, [str(key) for key in composed if key not in schemas])
    groups = {key: _typed(composed[key], schema, f"{key}.") for key, schema in schemas.items()}
    own = dataclasses.make_dataclass(
        "TopLevel",
        [
            (f.name, get_type_hints(TrainConfig)[f.name], option(**f.metadata))
            for f in fields(TrainConfig)
            if f.metadata
        ],
    )
    config = TrainConfig(**groups, **{f.name: getattr(_typed(top, own, ""), f.name) for f in fields(own)})
    _check_together(config)
    return config


def _check_together(config: TrainConfig) -> None:
    height, width = config.data.size
    divisor = 2**config.model.n_levels
    if height % divisor or width % divisor:
        raise UserError(
            f"data.image_size={config.data.image_size} is not divisible by {divisor}, which model.n_levels="
            f"{config.model.n_levels} needs: choose {max(1, round(height / divisor)) * divisor}, or fewer levels"
        )
    if not config.temperatures or not all(math.isfinite(t) and t >= 0 for t in config.temperatures):
        raise UserError(f"temperatures={config.temperatures}: give a list of numbers of at least 0, such as [0.7,1.0]")
    if not config.name or "/" in config.name or config.name.startswith("."):
        raise UserError(f"name={config.name!r} cannot name a folder: use letters, digits, _ and -")


def _typed(values: DictConfig, schema: type[T], prefix: str) -> T:
    try:
        typed = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(schema), values))
    except ConfigKeyError as error:
        key = str(error.key)
        raise UserError(f"unknown key {prefix}{key}{did_you_mean(key, [f.name for f in fields(schema)])}") from error  # type: ignore[arg-type]
    except MissingMandatoryValue as error:
        key = f"{prefix}{error.full_key}"
        raise UserError(f"{key} has no value: add {key}=... to the command line") from error
    except ValidationError as error:
        key = f"{prefix}{error.full_key}"
        raise UserError(f"{key}: {str(error.msg).splitlines()[0]}") from error
    except OmegaConfBaseException as error:
        raise UserError(str(error).splitlines()[0]) from error
    assert isinstance(typed, schema)
    for f in fields(typed):  # type: ignore[arg-type]
        _check_range(f"{prefix}{f.name}", getattr(typed, f.name), f.metadata)
    return typed


def _check_range(key: str, value: Any, limits: Any) -> None:
    if value is None:
        return
    if limits.get("choices"):
        _choice(key, value, limits["choices"])
    if isinstance(value, int | float) and not isinstance(value, bool):
        at_least, above, at_most = limits.get("at_least"), limits.get("above"), limits.get("at_most")
        if not math.isfinite(value):
            raise UserError(f"{key}={value} is not a finite number")
        if at_least is not None and value < at_least:
            raise UserError(f"{key}={value} is too small: it must be at least {at_least} ({limits['meaning']})")
        if above is not None and value <= above:
            raise UserError(f"{key}={value} is too small: it must be above {above} ({limits['meaning']})")
        if at_most is not None and value > at_most:
            raise UserError(f"{key}={value} is too large: it must be at most {at_most} ({limits['meaning']})")


def _choice(key: str, value: str, choices: tuple[str, ...]) -> str:
    if value not in choices:
        raise UserError(f"{key}={value} is not one of {', '.join(choices)}{did_you_mean(value, list(choices))}")
    return value


def did_you_mean(word: str, known: list[str]) -> str:
    """``": did you mean X?"``, or nothing if no known word is near."""
    near = difflib.get_close_matches(word, known, n=1)
    return f": did you mean {near[0]}?" if near else ""
