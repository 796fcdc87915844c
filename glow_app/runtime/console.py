"""The output of every command: plain lines, tables, and a bar for a job of known length."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.measure import Measurement
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as ProgressBar
from rich.table import Table

Progress = Callable[[int, int], None]
"""Called with (images done, images in all)."""


def say(console: Console, line: str) -> None:
    """Prints one line as it is: neither wrapped nor coloured, so that paths and commands can be copied."""
    console.print(line, soft_wrap=True, markup=False, highlight=False)


def show(console: Console, table: Table) -> None:
    """Prints a table in its full width: a truncated number is useless, and a file has no width."""
    table.width = Measurement.get(console, console.options.update(max_width=1000), table).maximum
    console.print(table, crop=False)


@contextmanager
def counting(console: Console, what: str) -> Iterator[Progress]:
    """Shows a progress bar for a job of known length; yields a function (done, in all)."""
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
            progress.update(task, completed=min(done, total), total=total)

        yield report
