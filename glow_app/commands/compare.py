"""``glow-compare``: compares the variants of a model, from the runs that trained them."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from glow_app.commands.reports import compare as report
from glow_app.comparison.runs import Run, read_run, runs_in
from glow_app.comparison.variants import Variant, differences, variants
from glow_app.config.commands import CompareConfig
from glow_app.errors import UserError
from glow_app.figures import band_plot
from glow_app.figures.band_plot import COLOURS, STYLES, Band
from glow_app.runtime import distributed
from glow_app.runtime.console import say

FOLDER, PICTURE = "compare", "variants.png"


def compare(config: CompareConfig, console: Console) -> None:
    """Calls :func:`compare_runs` in a single process.

    Raises:
        UserError: a folder holds no run, a run has not validated, or the runs cannot be compared.
    """
    distributed.require_one("glow-compare")
    compare_runs(config, console)


def compare_runs(config: CompareConfig, console: Console) -> None:
    """Prints a table of variants and their differences; writes ``variants.png``, ``variants.md``, ``variants.json``.

    Raises:
        UserError: a folder holds no run, a run has not validated, or the runs cannot be compared.
    """
    if not config.runs:
        raise UserError("runs has no value: name folders of runs or of sweeps, runs=runs/a,runs/b")
    named = [Path(name) for name in config.runs]
    found = variants(_read(named, console))
    pairs = differences(found)
    folder = Path(config.output) if config.output is not None else named[0] / FOLDER
    report.table(found, pairs, console)
    band_plot.draw(bands(found), report.title(found), folder / PICTURE)
    report.write(found, pairs, folder)
    say(console, "\nlook at")
    for name in (PICTURE, report.TABLE, report.METADATA):
        say(console, f"  {folder / name}")


def _read(named: Sequence[Path], console: Console) -> list[Run]:
    """Reads the named runs and those in the named sweeps, each once.

    Leaves out runs of a sweep that have not validated, because they are still training or failed.
    """
    runs: dict[Path, Run] = {}
    for path in named:
        for folder in runs_in(path):
            try:
                runs.setdefault(folder.resolve(), read_run(folder))
            except UserError as reason:
                if folder == path:
                    raise
                say(console, f"left out: {reason}")
    if not runs:
        raise UserError(f"no run at {named[0]} has validated yet: wait for the first validation")
    return list(runs.values())


def bands(found: Sequence[Variant]) -> list[Band]:
    """Returns the curves of the variants.

    If the variants differ in two options, colour shows the value of one and line style that of the other.
    """
    marks = _marks(found)
    return [Band(report.name(variant), *variant.band(), *mark) for variant, mark in zip(found, marks, strict=True)]


def _marks(found: Sequence[Variant]) -> list[tuple[int, int]]:
    """Returns the indices of colour and line style for each variant."""
    keys = list(found[0].values)
    if len(keys) == 2:
        columns = [[str(variant.values[key]) for variant in found] for key in keys]
        numbers = [[list(dict.fromkeys(column)).index(value) for value in column] for column in columns]
        colours, styles = sorted(numbers, key=max, reverse=True)
        if max(colours) < len(COLOURS) and max(styles) < len(STYLES):
            return list(zip(colours, styles, strict=True))
    return [(number % len(COLOURS), number // len(COLOURS)) for number in range(len(found))]
