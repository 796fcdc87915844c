"""Options that are paths: known by their fields in the schema, taken as the shell hands them over."""

import dataclasses
import os
from typing import Any, get_type_hints

DOLLAR = "\ue024"
"""Stands for ``$`` in the text of a path while OmegaConf holds it, which would take ``${`` for an interpolation."""


def protect(text: str) -> str:
    """``text`` without anything that OmegaConf interprets."""
    return text.replace("$", DOLLAR)


def restore(text: str) -> str:
    """Undoes :func:`protect`."""
    return text.replace(DOLLAR, "$")


def as_path(text: str) -> str:
    """The path that an option holds: a leading ``~`` is the home folder, but ``~name`` is a name."""
    text = restore(text)
    return os.path.expanduser(text) if text == "~" or text.startswith("~/") else text


def is_path(field: dataclasses.Field) -> bool:
    """Returns whether a field of a schema was declared as a path."""
    return bool(field.metadata.get("path"))


def path_options(*schemas: type) -> dict[str, bool]:
    """The keys of all paths in dataclasses of options, with whether the option is a list of them."""
    found: dict[str, bool] = {}
    for schema in schemas:
        hints = get_type_hints(schema)
        for field in dataclasses.fields(schema):
            kind = hints[field.name]
            if dataclasses.is_dataclass(kind):
                found |= {f"{field.name}.{key}": many for key, many in path_options(kind).items()}  # type: ignore[arg-type]
            elif is_path(field):
                found[field.name] = "list" in str(kind)
    return found


def settle_paths(options: Any, remembered: bool = False) -> None:
    """Puts the paths themselves where a dataclass of options has their texts.

    Args:
        options: changed in place.
        remembered: whether the paths are needed again from another folder: relative ones become absolute.
    """
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if dataclasses.is_dataclass(value):
            settle_paths(value, remembered or field.name == "data")
        elif is_path(field) and value is not None:
            settled = [as_path(one) for one in (value if isinstance(value, list) else [value])]
            if remembered:
                settled = [os.path.abspath(one) for one in settled]
            setattr(options, field.name, settled if isinstance(value, list) else settled[0])
