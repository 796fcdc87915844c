"""A console that keeps what a command says, for the page to show."""

import io
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

MADE = "look at"
"""The line after which commands name the files that they have made."""


class Recorder(Console):
    """Keeps lines and tables as they are printed, and prints nothing.

    Attributes:
        said: lines and tables, in order.
    """

    def __init__(self) -> None:
        super().__init__(file=io.StringIO(), width=1000, quiet=True)  # quiet: no lines on progress
        self.said: list[str | Table] = []

    def print(self, *objects: Any, **options: Any) -> None:
        for one in objects:
            self.said += one.splitlines() if isinstance(one, str) else [one]

    @property
    def tables(self) -> list[Table]:
        """The tables."""
        return [one for one in self.said if isinstance(one, Table)]

    @property
    def lines(self) -> list[str]:
        """The lines that are not empty, up to the names of files."""
        texts = [one.strip() for one in self.said if isinstance(one, str)]
        return [text for text in texts[: texts.index(MADE) if MADE in texts else None] if text]

    @property
    def pictures(self) -> list[Path]:
        """The PNG files that are named as made."""
        texts = [one.strip() for one in self.said if isinstance(one, str)]
        named = texts[texts.index(MADE) + 1 :] if MADE in texts else []
        return [Path(text) for text in named if text.endswith(".png")]
