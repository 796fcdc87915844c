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
