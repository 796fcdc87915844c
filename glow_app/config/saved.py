"""Reads the configuration in a run's folder, without torch."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from glow_app.config.check import PATHS
from glow_app.config.paths import DOLLAR, protect
from glow_app.errors import UserError

LARGEST_CONFIG = 1 << 20
"""Bytes; a configuration has about a hundred lines."""


def read_config(path: Path) -> DictConfig:
    """Reads the configuration of a run: plain values, nothing that YAML or OmegaConf would resolve.

    Raises:
        UserError: it cannot be read, or holds anything else.
    """
    try:
        if path.stat().st_size > LARGEST_CONFIG:
            raise UserError(f"{path} is not the configuration of a run: it is larger than a megabyte")
        text = path.read_text()
        # A few lines of aliases can stand for more than fits into memory.
        if any(isinstance(token, yaml.AliasToken | yaml.TagToken) for token in yaml.scan(text)):
            raise UserError(f"{path} is not the configuration of a run: it has aliases or tags; repair it")
        saved = OmegaConf.create(protect(text))
    except (OSError, ValueError, RecursionError, yaml.YAMLError, OmegaConfBaseException) as error:
        raise UserError(f"{path} cannot be read ({' '.join(str(error).split())}); repair it") from error
    if not isinstance(saved, DictConfig):
        raise UserError(f"{path} is not the configuration of a run; repair it")
    for key, value in flat(saved).items():
        if isinstance(value, str) and DOLLAR in value and key not in PATHS:
            raise UserError(f"{path} is not the configuration of a run: {key} holds a $; repair it")
    return saved


def flat(options: Mapping[Any, Any] | DictConfig, prefix: str = "") -> dict[str, Any]:
    """Maps paths to values, ``{"model.width": 64, ...}``; lists are values, and a missing value is ``???``."""
    container = OmegaConf.to_container(options, resolve=True) if isinstance(options, DictConfig) else options
    assert isinstance(container, Mapping)
    found: dict[str, Any] = {}
    for key, value in container.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found
