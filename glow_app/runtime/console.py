"""The output of every command: plain lines, tables, and a bar for a job of known length."""

import codecs
import io
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.measure import Measurement
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as ProgressBar
from rich.table import Table

Progress = Callable[[int, int], None]
"""Called with (images done, images in all)."""

LOG_EVERY = 60.0
"""Seconds between two lines about a job, if the output is not a terminal and shows no bar."""

IN_ASCII = {
    "±": "+-", "×": "x", "−": "-", "–": "-", "—": "-", "─": "-", "━": "-", "→": "->", "…": "...",
    "‘": "'", "’": "'", "“": '"', "”": '"',
}  # fmt: skip
"""Replacements for characters that the encoding of the output does not have; others are escaped."""


def _in_ascii(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lost = error.object[error.start : error.end]
    return "".join(IN_ASCII.get(c) or c.encode("ascii", "backslashreplace").decode() for c in lost), error.end


codecs.register_error("glow_app.in_ascii", _in_ascii)


def encode_everything() -> None:
    """Lets stdout and stderr print any text: in ASCII where their encoding lacks a character."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="glow_app.in_ascii")


def say(console: Console, line: str) -> None:
    """Prints one line as it is: neither wrapped nor coloured, so that paths and commands can be copied."""
    console.print(line, soft_wrap=True, markup=False, highlight=False)


def show(console: Console, table: Table) -> None:
    """Prints a table in its full width: a truncated number is useless, and a file has no width."""
    table.width = Measurement.get(console, console.options.update(max_width=1000), table).maximum
    console.print(table, crop=False)


@contextmanager
def counting(console: Console, what: str, log_every: float = LOG_EVERY) -> Iterator[Progress]:
    """Shows a progress bar for a job of known length; yields a function (done, in all).

    If the output is not a terminal, it prints a line every ``log_every`` seconds instead.
    """
    logged = time.monotonic()
    with ProgressBar(
        TextColumn(f"[bold]{what}"),
        BarColumn(bar_width=28),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True, elapsed_when_finished=True),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    ) as progress:
        task = progress.add_task("", total=None)

        def report(done: int, total: int) -> None:
            nonlocal logged
            if not (console.is_terminal or console.quiet) and time.monotonic() - logged >= log_every:
                logged = time.monotonic()
                say(console, f"{what}: {done:,} of {total:,}")
            progress.update(task, completed=min(done, total), total=total)

        yield report
