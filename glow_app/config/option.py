"""How a field of a configuration says what it means and which values it may have."""

from dataclasses import field
from typing import Any


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


def path_option(meaning: str) -> Any:
    """A field of the schema that holds a path, or a list of paths: it is taken as the shell hands it over."""
    limits = dict.fromkeys(("at_least", "above", "at_most", "choices"))
    return field(metadata=limits | {"meaning": meaning, "path": True})
