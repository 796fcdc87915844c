"""The configuration of a command from values of Python, as from its command line."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from glow_app.cli.arguments import quoted
from glow_app.cli.mistakes import one_line
from glow_app.cli.run import conf_folder
from glow_app.config.check import PATHS
from glow_app.config.paths import protect
from glow_app.errors import UserError


def composed(command: str, options: Mapping[str, Any]) -> DictConfig:
    """Composes the configuration of a command; :func:`glow_app.config.check.check` checks it.

    Args:
        command: name of its file in ``conf/``.
        options: key -> value. For a group such as ``data``, the value is the name of a choice, or a dictionary of
            options with the choice, unless it is the default, as ``name``.

    Raises:
        UserError: there is no such choice.
    """
    groups: dict[str, str] = {}
    values: dict[str, Any] = {}
    for key, value in options.items():
        if not (conf_folder() / key).is_dir():
            values[key] = value
            continue
        inner = dict(value) if isinstance(value, Mapping) else {"name": value}
        if (choice := inner.pop("name", None)) is not None:
            groups[key] = str(choice)
        values |= {f"{key}.{name}": one for name, one in inner.items()}
    others = GlobalHydra.instance().hydra  # of a program that uses Hydra itself
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(conf_folder()), version_base="1.3"):
            found = compose(command, overrides=[f"{key}={quoted(choice)}" for key, choice in groups.items()])
        for key, value in values.items():
            OmegaConf.update(found, key, _literal(key, value), merge=False)
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(one_line(error, command, [conf_folder()], [])) from error
    finally:
        GlobalHydra.instance().hydra = others
    return found


def _literal(key: str, value: Any) -> Any:
    """A value as OmegaConf keeps it; paths are taken as they are."""
    if isinstance(value, Path):
        value = str(value)
    if isinstance(value, tuple):
        value = list(value)
    return protect(value) if key in PATHS and isinstance(value, str) else value
