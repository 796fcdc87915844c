"""What every command uses to speak: plain lines, and a bar for a job of known length."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.measure import Measurement
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from glow_app.data.cache import Progress as ReportProgress


def say(console: Console, line: str) -> None:
    """One line as it is: neither wrapped nor coloured, so that paths and commands can be copied."""
    console.print(line, soft_wrap=True, markup=False, highlight=False)


def show(console: Console, table: Table) -> None:
    """A table in its full width: a figure that is cut is worth nothing, and a file has no width."""
    table.width = Measurement.get(console, console.options.update(max_width=1000), table).maximum
    console.print(table, crop=False)


@contextmanager
def counting(console: Console, what: str) -> Iterator[ReportProgress]:
    """A progress bar for a job of known length: gives a function (done, in all)."""
    with Progress(
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
