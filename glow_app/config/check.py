"""Checks the keys, types and ranges of a composed configuration against its schema."""

import dataclasses
import difflib
import math
import re
from collections.abc import Mapping
from typing import Any, TypeVar, get_type_hints

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, MissingMandatoryValue, OmegaConfBaseException, ValidationError

from glow_app.config import commands, editing
from glow_app.config.architecture import ModelConfig
from glow_app.config.data import (
    DATA_SCHEMAS,
    DataConfig,
    FacesConfig,
    MnistConfig,
    PicturesConfig,
    PointsConfig,
    has_density,
)
from glow_app.config.model import MODEL_SCHEMAS
from glow_app.config.paths import path_options, settle_paths
from glow_app.config.train import PrepareConfig, TrainConfig
from glow_app.errors import UserError

T = TypeVar("T")

OF_COMMANDS = [one for name, one in (vars(commands) | vars(editing)).items() if name.endswith("Config")]
"""The schemas of all commands that use a model."""

PATHS = path_options(TrainConfig, PrepareConfig, *OF_COMMANDS) | {
    f"data.{key}": many for key, many in path_options(*DATA_SCHEMAS.values()).items()
}
"""Keys of all commands that are paths, with whether they are lists."""


def list_options(schema: type) -> tuple[str, ...]:
    """The keys of a command's options that are lists, those of every data set included."""
    schemas = {"": [schema]} | {f"{group}.": list(kinds.values()) for group, kinds in SCHEMAS.items()}
    found = {
        f"{group}{name}"
        for group, kinds in schemas.items()
        for kind in kinds
        for name, hint in get_type_hints(kind).items()
        if str(hint).startswith("list[")
    }
    return tuple(sorted(found))


SCHEMAS: dict[str, Mapping[str, type]] = {"data": DATA_SCHEMAS, "model": MODEL_SCHEMAS}
"""Groups whose options depend on their ``name``."""


def check(composed: DictConfig, schema: type[T]) -> T:
    """Returns the typed configuration.

    Args:
        composed: the configuration that Hydra composed from files and command line.
        schema: dataclass of options; the schemas of fields ``data`` and ``model`` depend on their ``name``.

    Raises:
        UserError: one line that names the first key that is unknown, missing, of a wrong type or out of range.
    """
    known = OmegaConf.structured(schema)
    for name, kind in get_type_hints(schema).items():
        if dataclasses.is_dataclass(kind):
            known[name] = OmegaConf.structured(kind)
    try:
        values = OmegaConf.create(OmegaConf.to_container(composed, resolve=True))
        for group in [group for group in SCHEMAS if group in known]:
            name = str(OmegaConf.select(values, f"{group}.name"))
            check_choice(f"{group}.name", name, tuple(SCHEMAS[group]))
            known[group] = OmegaConf.structured(SCHEMAS[group][name])
        typed = OmegaConf.to_object(OmegaConf.merge(known, values))
    except ConfigKeyError as error:
        *group, key = str(error.full_key).split(".")
        names = OmegaConf.select(known, ".".join(group)) if group else known
        raise UserError(f"unknown key {error.full_key}{did_you_mean(key, [str(name) for name in names])}") from error
    except MissingMandatoryValue as error:
        raise UserError(f"{error.full_key} has no value: add {error.full_key}=... to the command line") from error
    except ValidationError as error:
        reason = str(error.msg).splitlines()[0]
        if "is not a ListConfig" in reason:
            raise UserError(f"{error.full_key} is a list: write {error.full_key}=one,two") from error
        if reason.endswith("to Dict[str, float]"):
            raise UserError(f"{error.full_key} gives each name a number: write {error.full_key}=name=1") from error
        text = _no_number(str(error.full_key), reason) or f"{error.full_key}: {reason}"
        raise UserError(f"{text}{_meaning(known, str(error.full_key))}") from error
    except OmegaConfBaseException as error:
        raise UserError(str(error).splitlines()[0]) from error
    assert isinstance(typed, schema)
    settle_paths(typed)
    check_ranges(typed, "")
    _check_data(getattr(typed, "data", None))
    if isinstance(model := getattr(typed, "model", None), ModelConfig):
        model.check()
    if isinstance(typed, TrainConfig):
        _check_together(typed)
    return typed


def _no_number(key: str, reason: str) -> str | None:
    """OmegaConf's reason in plain words, if it is that a value is no number."""
    found = re.match(r"Value '(.*)' of type '\w+' could not be converted to (Integer|Float)", reason)
    if found is None:
        return None
    value, kind = found.groups()
    if kind == "Float":
        return f"{key}={value} is not a number"
    whole = re.fullmatch(r"([+-]?\d+)\.0*", value)
    return f"{key}={value} is not a whole number" + (f": write {key}={whole[1]}" if whole else "")


def _meaning(known: DictConfig, key: str) -> str:
    """The meaning of an option in brackets, or an empty text if it has none."""
    *group, name = key.split(".")
    schema = OmegaConf.get_type(known, ".".join(group)) if group else OmegaConf.get_type(known)
    fields = dataclasses.fields(schema) if dataclasses.is_dataclass(schema) else ()
    return next((f" ({field.metadata['meaning']})" for field in fields if field.name == name), "")


def check_choice(key: str, value: str, choices: tuple[str, ...]) -> None:
    """Raises a UserError, with the nearest choice, unless ``value`` is one of ``choices``."""
    if value == "mps":
        raise UserError(f"{key}=mps: Apple's GPUs have no float64, which samples and inverses need; choose {key}=cpu")
    if value not in choices:
        raise UserError(f"{key}={value} is not one of {', '.join(choices)}{did_you_mean(value, list(choices))}")


def no_gpu(key: str, value: str) -> UserError:
    """The error for a GPU that is asked for, ``device=cuda``, on a machine without one."""
    group = f"{key.partition('.')[0]}=cpu, or " if "." in key else ""
    return UserError(f"{key}={value}: this machine has none; choose {group}{key}=cpu")


def no_mask(name: str) -> UserError:
    """The error for a mask, ``mask=name``, that is neither a known one nor a file."""
    known = [*commands.MASKS, "random:0.5"]
    return UserError(f"mask={name} is neither a file nor one of {', '.join(known)}{did_you_mean(name, known)}")


def did_you_mean(word: str, known: list[str]) -> str:
    """Returns ``": did you mean X?"``, or an empty text if no known word is near."""
    near = difflib.get_close_matches(word, known, n=1)
    return f": did you mean {near[0]}?" if near else ""


def _check_data(data: DataConfig | None) -> None:
    if isinstance(data, MnistConfig) and data.binarise and data.n_bits != 1:
        raise UserError(f"data.binarise=true leaves two grey levels: set data.n_bits=1, not {data.n_bits}")
    if isinstance(data, PicturesConfig) and data.on_corrupt == "skip" and not data.cache:
        raise UserError("data.on_corrupt=skip needs the cache, which records the files left out: set data.cache=true")

    if (
        isinstance(data, FacesConfig)
        and data.eyes is not None
        and not (len(data.eyes) == 4 and data.eyes[0] < data.eyes[2])
    ):
        given = ",".join(map(str, data.eyes))
        raise UserError(f"data.eyes=[{given}]: give [x1,y1,x2,y2], fractions of width and height, the left eye first")


def check_ranges(options: Any, prefix: str) -> None:
    """Raises a UserError for the first value of a dataclass of options that is out of its range."""
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if dataclasses.is_dataclass(value):
            check_ranges(value, f"{field.name}.")
        else:
            for one in value if isinstance(value, list) else [value] if not isinstance(value, dict) else value.values():
                _check_range(f"{prefix}{field.name}", one, field.metadata)


def _check_range(key: str, value: Any, limits: Any) -> None:
    if limits["choices"] and value is not None:
        check_choice(key, value, limits["choices"])
    if not isinstance(value, int | float) or isinstance(value, bool):
        return
    at_least, above, at_most = limits["at_least"], limits["above"], limits["at_most"]
    if not math.isfinite(value):
        raise UserError(f"{key}={value} is not a finite number")
    if at_least is not None and value < at_least:
        raise UserError(f"{key}={value} is too small: it must be at least {at_least} ({limits['meaning']})")
    if above is not None and value <= above:
        raise UserError(f"{key}={value} is too small: it must be above {above} ({limits['meaning']})")
    if at_most is not None and value > at_most:
        raise UserError(f"{key}={value} is too large: it must be at most {at_most} ({limits['meaning']})")


def _check_together(config: TrainConfig) -> None:
    of_points = isinstance(config.data, PointsConfig)
    if not (config.model.takes_points if of_points else config.model.takes_images):
        given = "points in the plane" if of_points else "images"
        choice = "experiment=plane" if of_points else "data=two_moons, or a model of images"
        raise UserError(f"data={config.data.name} are {given}, which model={config.model.name} cannot take: {choice}")
    if not of_points:
        config.model.check_images(config.data.n_bits)
    if of_points and config.estimate:
        raise UserError("estimate=true measures images; a run on points takes a minute or so: leave it out")
    height, width = config.data.size
    divisor = config.model.divisor_of_points if of_points else config.model.divisor
    if height % divisor or width % divisor:
        if of_points:
            raise UserError(f"data={config.data.name} are points, which have no levels: set model.n_levels=1")
        raise UserError(
            f"data.image_size={config.data.image_size} is not divisible by {divisor}, which model.n_levels="
            f"{getattr(config.model, 'n_levels', 1)} needs: choose {max(1, round(height / divisor)) * divisor}, "
            "or fewer levels"
        )
    if config.trainer.compile == "full" and config.model.memory != "plain":
        raise UserError(
            f"trainer.compile=full needs model.memory=plain, not {config.model.memory}; choose compile=steps"
        )
    if config.trainer.compile != "none" and config.model.not_compiled is not None:
        raise UserError(f"trainer.compile={config.trainer.compile}: {config.model.not_compiled}; set it to none")
    if config.model.normalises_batches and config.model.memory == "reversible":
        raise UserError(
            "model.memory=reversible needs model.normalisation=actnorm: the statistics of a batch cannot be computed "
            "from its output; choose memory=checkpoint, which works with both"
        )
    if config.model.name == "vae" and config.trainer.precision != "fp32":
        raise UserError("trainer.precision=bf16 is for the networks of couplings, which model=vae has not: choose fp32")
    if config.teacher is not None:
        _check_distillation(config, config.teacher)
    elif config.anneal_steps and not config.model.is_annealed:
        raise UserError(f"anneal_steps={config.anneal_steps} is for glow-distill: there is no teacher; leave it out")
    if config.trainer.cuda_graph:
        _check_cuda_graph(config)
    if len({f"{temperature:.2f}" for temperature in config.temperatures}) < len(config.temperatures):
        raise UserError(f"temperatures={config.temperatures}: two are the same to two digits; leave one out")
    if not config.temperatures or not all(math.isfinite(t) and t >= 0 for t in config.temperatures):
        raise UserError(f"temperatures={config.temperatures}: give a list of numbers of at least 0, such as [0.7,1.0]")
    if not re.fullmatch(r"\w[\w.-]*", config.name):
        raise UserError(f"name={config.name!r} cannot name a folder: use letters, digits, _ and -")


def _check_distillation(config: TrainConfig, teacher: str) -> None:
    if config.model.name == "vae":
        raise UserError("model=vae has no exact density, and cannot learn that of a teacher: choose a flow")
    if config.estimate:
        raise UserError("estimate=true measures training on images, not distillation: leave it out")
    if config.model.memory == "reversible":
        raise UserError("model.memory=reversible is for training on data: distil with plain or checkpoint")
    if not has_density(teacher):
        return
    if teacher == "checkerboard":
        raise UserError("teacher=checkerboard: its density is 0 outside of the board, and samples may lie there")
    if teacher != config.data.name:
        raise UserError(
            f"teacher={teacher} is the density of that data set: choose data={teacher}, not {config.data.name}"
        )


def _check_cuda_graph(config: TrainConfig) -> None:
    if config.trainer.accelerator != "gpu":
        raise UserError(
            f"trainer.cuda_graph=true needs trainer.accelerator=gpu, not {config.trainer.accelerator}; set it to false"
        )
    if config.teacher is not None:
        raise UserError("trainer.cuda_graph=true: steps of a distillation are not captured; set it to false")
    if config.model.memory == "reversible":
        raise UserError(
            "trainer.cuda_graph=true: model.memory=reversible reads values now and then to check their drift, which a "
            "captured step cannot; choose model.memory=plain or checkpoint"
        )
    if config.model.not_captured is not None:
        raise UserError(f"trainer.cuda_graph=true: {config.model.not_captured}; set it to false")
    if config.model.normalises_batches:
        raise UserError(
            "trainer.cuda_graph=true: a captured step loses the batch statistics of batch normalisation; choose "
            "model.normalisation=actnorm"
        )
