"""Fields of a configuration that carry their meaning and their allowed values."""

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
    """Creates a field of the schema with its meaning (and unit) and its allowed values."""
    limits = {"meaning": meaning, "at_least": at_least, "above": above, "at_most": at_most, "choices": choices}
    return field(metadata=limits)


def path_option(meaning: str) -> Any:
    """A field of the schema that holds a path, or a list of paths: it is taken as the shell hands it over.

    So is the name of a class, which may be that of a folder, such as ``001``.
    """
    limits = dict.fromkeys(("at_least", "above", "at_most", "choices"))
    return field(metadata=limits | {"meaning": meaning, "path": True})
