"""Rewrites a command line before Hydra reads it: paths, lists without brackets, and what a model or run knows."""

import os
import re
from collections.abc import Callable
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict

from glow_app.artifacts.card import model_folder, read_card
from glow_app.artifacts.shipped import DEFAULT
from glow_app.config.check import PATHS, SCHEMAS, list_options
from glow_app.config.commands import OpenConfig, Plot2dConfig
from glow_app.config.data import DATA_SCHEMAS, has_density
from glow_app.config.paths import as_path, protect, restore
from glow_app.config.saved import read_config
from glow_app.config.train import AUTO
from glow_app.errors import UserError
from glow_app.training.checkpoints.run_folder import folder_of

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)

MULTIRUN = ("-m", "--multirun")

OF_THE_MODEL = ("image_size", "n_bits", "channels")
"""Data options that the model fixes, whichever data set is used."""


def literal_paths(arguments: list[str]) -> list[str]:
    """Quotes the values of paths, so that Hydra takes them as the shell has handed them over.

    ``null``, and what is in quotes or brackets already, is left to Hydra, unless there is a file of that name.
    """
    sweep = any(flag in arguments for flag in MULTIRUN)
    return [_literal_path(argument, sweep) for argument in arguments]


def _literal_path(argument: str, sweep: bool) -> str:
    key, _, value = argument.partition("=")
    many = PATHS.get(key.lstrip("+"))
    if many is None or value in ("", "null", "???") or (_is_for_hydra(value, many) and not os.path.lexists(value)):
        return argument
    items = [quoted(protect(item)) for item in (_split_paths(value) if many or sweep else [value])]
    if not many:
        return f"{key}={','.join(items)}"
    return f"{key}=[{('],[' if sweep else ',').join(items)}]"


def _is_for_hydra(value: str, many: bool) -> bool:
    return len(value) > 1 and value[0] + value[-1] in ("''", '""', *(["[]"] if many else []))


def _split_paths(value: str) -> list[str]:
    """Splits at commas, except for those inside of paths that exist."""
    pieces = value.split(",")
    found = []
    while pieces:
        ends = (end for end in range(len(pieces), 1, -1) if os.path.lexists(as_path(",".join(pieces[:end]))))
        end = next(ends, 1)
        found.append(",".join(pieces[:end]))
        del pieces[:end]
    return found


def as_typed(argument: str) -> str:
    """An argument as it was before :func:`literal_paths`, for the user to type again."""
    key, equals, value = argument.partition("=")
    if PATHS.get(key.lstrip("+")) is False and value[:1] == value[-1:] == "'":
        value = re.sub(r"(\\+)('|$)", lambda found: found[1][: len(found[1]) // 2] + found[2], value[1:-1])
    return restore(f"{key}{equals}{value}")


def with_brackets(arguments: list[str], lists: tuple[str, ...]) -> list[str]:
    """Adds brackets for the keys in ``lists``: ``images=a.png,b.png`` becomes ``images=['a.png','b.png']``.

    To Hydra a comma outside of brackets means a sweep. With ``-m``, the sweep is over lists of one item.
    """
    sweep = any(flag in arguments for flag in MULTIRUN)
    return [_with_brackets(argument, lists, "],[" if sweep else ",") for argument in arguments]


def _with_brackets(argument: str, lists: tuple[str, ...], comma: str) -> str:
    key, equals, value = argument.partition("=")
    if key not in lists or not equals or not value or value == "null" or value[0] in "[\"'":
        return argument
    items = [item if NUMBER.fullmatch(item) else quoted(item) for item in value.split(",")]
    return f"{key}=[{comma.join(items)}]"


def with_braces(arguments: list[str], key: str) -> list[str]:
    """Writes ``edit=Smiling=0.8,Young=-0.5`` as ``edit={Smiling:0.8,Young:-0.5}``, for one key.

    Raises:
        UserError: something is not a name with a number.
    """
    return [_with_braces(argument) if argument.startswith(f"{key}=") else argument for argument in arguments]


def _with_braces(argument: str) -> str:
    key, _, value = argument.partition("=")
    if value in ("", "null"):
        return argument
    pieces = []
    for pair in value.strip("{} ").rstrip(",").split(","):
        name, *amounts = (one.strip(" '\"") for one in re.split("[=:]", pair))
        if not name or len(amounts) != 1:
            raise UserError(f"{argument}: give each name a number, {key}=Smiling=0.8,Young=-0.5")
        if not NUMBER.fullmatch(amounts[0]):
            raise UserError(f"{argument}: {amounts[0]} is not a number; write {key}=Smiling=0.8,Young=-0.5")
        pieces.append(re.sub(r"([^\w.+-])", r"\\\1", name) + f":{amounts[0]}")
    return f"{key}={{{','.join(pieces)}}}"


def with_switch(arguments: list[str], group: str, option: str) -> list[str]:
    """Writes ``quality=true`` as ``quality.measure=true``, for a group of options that one of them switches on."""
    return [re.sub(rf"^{group}=", f"{group}.{option}=", argument) for argument in arguments]


def quoted(item: str) -> str:
    """A text that Hydra takes as it is, whatever is in it."""
    # Only backslashes before a quote, and the quote itself, are escaped.
    return "'" + re.sub(r"(\\*)('|$)", lambda found: found[1] * 2 + found[2].replace("'", "\\'"), item) + "'"


def model_arguments(schema: type[OpenConfig]) -> Callable[[list[str]], list[str]]:
    """Returns the function that rewrites the arguments of a command with a trained model and these options."""
    default = None if schema is Plot2dConfig else DEFAULT  # no model of points is shipped
    return lambda arguments: with_data_of_model(with_brackets(arguments, list_options(schema)), default)


def with_data_of_model(arguments: list[str], default: str | None = None) -> list[str]:
    """Adds ``data=<name>`` of the named model, or of ``default``, unless the command line chooses a data set itself.

    The options of that data set are then known keys; :func:`fill_in_data` fills in the model's values for them.
    Errors in the model or the command line are ignored here; the code that uses them later reports them.
    """
    chosen = {key: value for key, _, value in (argument.partition("=") for argument in arguments)}
    if "data" in chosen:
        return arguments
    model = _value_of(("checkpoint", "run", "compare", "teacher"), arguments) or default
    if model is None:
        return arguments
    if has_density(model):  # a teacher that is no model
        return [*arguments, f"data={model}"]
    try:
        card, _ = read_card(model_folder(model))
    except UserError:
        return arguments
    if card.data["name"] not in DATA_SCHEMAS:
        return arguments
    return [*arguments, f"data={card.data['name']}"]


def with_experiment_of_teacher(arguments: list[str]) -> list[str]:
    """Adds the experiment of a teacher of points, ``energies`` for a density, ``plane`` for a model, and a student."""
    given = {key: value for key, _, value in (argument.partition("=") for argument in arguments)}
    if "experiment" in given or not has_density(given.get("data", "")):
        return arguments
    of_density = has_density(_value_of(("teacher",), arguments) or "")
    experiment, model = ("energies", "planar") if of_density else ("plane", "iaf")
    return [*arguments, f"experiment={experiment}", *([] if "model" in given else [f"model={model}"])]


def _value_of(keys: tuple[str, ...], arguments: list[str]) -> str | None:
    """The path that one of ``keys`` names, or the first of several."""
    try:
        overrides = OverridesParser.create().parse_overrides([a for a in arguments if not a.startswith("-")])
    except HydraException:
        return None
    for override in overrides:
        if override.key_or_group in keys and not override.is_sweep_override():
            value = override.value()
            if isinstance(value, list) and value:
                value = value[0]
            if isinstance(value, str):
                return as_path(value)
    return None


def with_groups_of_run(arguments: list[str]) -> list[str]:
    """Adds ``data=<name>`` and ``model=<name>`` of the run that ``resume`` names, so that their options are known keys.

    Whatever is wrong with the run or the line is reported later, by :func:`glow_app.cli.resume.resumed`.
    """
    given = {argument.partition("=")[0] for argument in arguments}
    run = _value_of(("resume",), arguments)
    if run is None or run == AUTO:
        return arguments
    try:
        saved = read_config(folder_of(run) / "config.yaml")
    except UserError:
        return arguments
    names = {group: OmegaConf.select(saved, f"{group}.name") for group in SCHEMAS}
    return [*arguments, *(f"{g}={name}" for g, name in names.items() if g not in given and name in SCHEMAS[g])]


def given_keys() -> set[str]:
    """The keys that the command line sets."""
    overrides = OverridesParser.create().parse_overrides(list(HydraConfig.get().overrides.task))
    return {override.key_or_group for override in overrides}


def fill_in_data(composed: DictConfig, model: str | Path, given: set[str]) -> None:
    """Fills ``composed.data`` with the values that the model was trained with, except for the keys in ``given``.

    If the data set is not the model's own, only the image shape and the bits are filled in.

    Raises:
        UserError: there is no such model, or a key in ``given`` has a value that the model cannot use.
    """
    card, _ = read_card(model_folder(model))
    same = card.data["name"] == composed.data.get("name")
    channels, height, width = card.image_shape
    known = dict(card.data) if same else {}
    known |= {"image_size": height if height == width else [height, width], "n_bits": card.n_bits, "channels": channels}
    with open_dict(composed):
        for key, value in known.items():
            if key not in composed.data.keys():  # noqa: SIM118  a key whose value is missing is not `in`
                continue
            if f"data.{key}" not in given:
                composed.data[key] = protect(value) if isinstance(value, str) else value
            elif key in OF_THE_MODEL and composed.data[key] != value:
                raise UserError(
                    f"data.{key}={composed.data[key]}: the model at {model} takes data.{key}={value}; leave it out"
                )
