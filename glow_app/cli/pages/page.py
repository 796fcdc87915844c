"""The page of a command in ``--help``."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Page:
    """One command's page.

    Attributes:
        schema: dataclass of the command's options.
        purpose: one line.
        more: its inputs and outputs.
        examples: command lines, each with its purpose.
        most_used: keys, in the order shown.
    """

    schema: type
    purpose: str
    more: str
    examples: tuple[tuple[str, str], ...]
    most_used: tuple[str, ...]
