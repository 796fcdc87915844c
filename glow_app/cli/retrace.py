"""The command line that makes a run with the configuration of one that is there."""

import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hydra import compose
from omegaconf import DictConfig, OmegaConf

from glow_app.cli.arguments import quoted
from glow_app.cli.run import conf_folder
from glow_app.config.saved import flat, read_config
from glow_app.errors import UserError

GROUPS = ("data", "model", "optim", "trainer", "logger")

NOT_OF_THE_MODEL = ("resume", "debug", "data.cache", "data.cache_folder", "data.workers")
"""Keys that say where and how something was done on one machine, and change no weight."""

PLACES = ("data.root", "data.attributes")
"""Keys that are paths: of these only the last part is told."""


def training_command(run: Path) -> str | None:
    """``glow-train ...`` with which the run was, or could have been, started; None if ``run`` is not a run's folder.

    The experiment of the run's name, or of each group the choice that differs least from what was trained, whichever
    leaves less to say; then every value that still differs. Paths are cut to their last part. Only to be called while
    Hydra runs a command.
    """
    try:
        saved = read_config(run / "config.yaml")
    except UserError:
        return None
    if not all(isinstance(saved.get(group), DictConfig) for group in GROUPS):
        return None
    wanted = {key: value for key, value in flat(saved).items() if key not in NOT_OF_THE_MODEL}
    default = flat(compose("train"))
    choices = [f"{group}={choice}" for group in GROUPS if (choice := _choice(group, wanted, default)) is not None]
    arguments = min((_completed(begun, wanted) for begun in [*_experiments(wanted), choices]), key=len)
    return " ".join(["glow-train", *(shlex.quote(part) for part in arguments)])


def _experiments(wanted: Mapping[str, Any]) -> Iterator[list[str]]:
    for path in sorted((conf_folder() / "experiment").glob("*.yaml")):
        content = OmegaConf.load(path)
        if isinstance(content, DictConfig) and content.get("name") == wanted.get("name"):
            yield [f"experiment={path.stem}"]


def _completed(choices: list[str], wanted: Mapping[str, Any]) -> list[str]:
    """The choices, and every value in which what they compose to is not what is wanted."""
    composed = flat(compose("train", overrides=choices))
    return [*choices, *(f"{key}={_written(key, value)}" for key, value in wanted.items() if composed.get(key) != value)]


def _choice(group: str, wanted: Mapping[str, Any], default: Mapping[str, Any]) -> str | None:
    """The nearest choice of a group; None if the default is as near."""
    own = {key: value for key, value in wanted.items() if key.startswith(f"{group}.")}

    def distance(choice: Mapping[str, Any]) -> int:
        return sum(choice.get(key, "no such key") != value for key, value in own.items())

    best, fewest = None, distance(default)
    for path in sorted((conf_folder() / group).glob("*.yaml")):
        content = OmegaConf.to_container(OmegaConf.load(path))
        assert isinstance(content, dict)
        found = distance({f"{group}.{key}": value for key, value in content.items()})
        if found < fewest:
            best, fewest = path.stem, found
    return best


def _written(key: str, value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{','.join(_written(key, item) for item in value)}]"
    if not isinstance(value, str):
        return str(value)
    text = Path(value).name if key in PLACES else value
    return text if re.fullmatch(r"[\w.+-]+", text) else quoted(text)
