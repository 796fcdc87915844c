"""Rewrites a command line before Hydra reads it: lists without brackets, and the data set of a model."""

import re
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, open_dict

from glow_app.artifacts.card import model_folder, read_card
from glow_app.config.data import DATA_SCHEMAS
from glow_app.errors import UserError

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)

OF_THE_MODEL = ("image_size", "n_bits", "channels")
"""Data options that the model fixes, whichever data set is used."""


def with_brackets(arguments: list[str], lists: tuple[str, ...]) -> list[str]:
    """Adds brackets for the keys in ``lists``: ``images=a.png,b.png`` becomes ``images=['a.png','b.png']``.

    To Hydra a comma outside of brackets means a sweep. With ``-m``, the sweep is over lists of one item.
    """
    sweep = "-m" in arguments or "--multirun" in arguments
    return [_with_brackets(argument, lists, "],[" if sweep else ",") for argument in arguments]


def _with_brackets(argument: str, lists: tuple[str, ...], comma: str) -> str:
    key, equals, value = argument.partition("=")
    if key not in lists or not equals or not value or value == "null" or value[0] in "[\"'":
        return argument
    items = [item if NUMBER.fullmatch(item) else quoted(item) for item in value.split(",")]
    return f"{key}=[{comma.join(items)}]"


def quoted(item: str) -> str:
    """Quotes a text so that Hydra reads it literally."""
    return "'" + item.replace("\\", "\\\\").replace("'", "\\'") + "'"


def with_data_of_model(arguments: list[str]) -> list[str]:
    """Adds ``data=<name>`` of the named model, unless the command line chooses a data set itself.

    The options of that data set are then known keys; :func:`fill_in_data` fills in the model's values for them.
    Errors in the model or the command line are ignored here; the code that uses them later reports them.
    """
    chosen = {key: value for key, _, value in (argument.partition("=") for argument in arguments)}
    if "data" in chosen:
        return arguments
    model = _model_of(arguments)
    if model is None:
        return arguments
    try:
        card, _ = read_card(model_folder(model))
    except UserError:
        return arguments
    if card.data["name"] not in DATA_SCHEMAS:
        return arguments
    return [*arguments, f"data={card.data['name']}"]


def _model_of(arguments: list[str]) -> str | None:
    """The value of ``checkpoint=``, or the first value of ``compare=``."""
    try:
        overrides = OverridesParser.create().parse_overrides([a for a in arguments if not a.startswith("-")])
    except HydraException:
        return None
    for override in overrides:
        if override.key_or_group in ("checkpoint", "compare") and not override.is_sweep_override():
            value = override.value()
            if isinstance(value, list) and value:
                value = value[0]
            if isinstance(value, str):
                return value
    return None


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
                composed.data[key] = value
            elif key in OF_THE_MODEL and composed.data[key] != value:
                raise UserError(
                    f"data.{key}={composed.data[key]}: the model at {model} takes data.{key}={value}; leave it out"
                )
