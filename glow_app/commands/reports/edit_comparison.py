"""The comparison of ways to edit at equal success, printed and drawn."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from glow_app.evaluation.editing.comparison import NONE, Compared
from glow_app.evaluation.editing.curves import BREAKS, Point
from glow_app.figures.band_plot import COLOURS, DPI, STYLES
from glow_app.runtime.atomic import write_atomically
from glow_app.runtime.console import say, show

PANEL = 2.9
"""Inches of each side of a panel."""


def tables(compared: Compared, console: Console) -> None:
    """Prints each way's figures where it reaches the success, and what the columns are."""
    say(console, f"\nwhere {compared.success:.0%} of the edits succeed; in brackets: the most that do")
    show(console, _points(compared))
    say(
        console,
        f"\nthe same edits, or those of most success: {compared.images} images, each in one of these attributes",
    )
    show(console, _told(compared))
    say(console, "amount     of the edits")
    say(console, "drift      mean change of the judge's probability of the other attributes")
    say(console, "rise       median bits/dim of edited images under the model, minus those of the same images before")
    say(console, f"broken     edited images that are not finite, or rise by more than {BREAKS:g}: these do not succeed")
    say(console, "told       how often a network tells edited images from real ones; chance is 50%")
    if compared.moved is not None:
        say(console, "moved      distance to a network that recognises persons; two pictures of one person are usually")
        say(console, "           less than 0.60 apart" + _of_persons(compared))
    say(
        console, "none       images encoded and decoded; random, another's: directions of equal length, drawn or of the"
    )
    say(console, "           next attribute; pixels: the mean image with the attribute minus that without it, added")


def _of_persons(compared: Compared) -> str:
    if compared.persons is None:
        return ""
    one, two = compared.persons
    return f"; here {one:.2f} on average, those of two persons {two:.2f}"


def _points(compared: Compared) -> Table:
    table = _table("attribute")
    table.add_column("way", no_wrap=True)
    for name in ("amount", "drift", "rise", "broken"):
        table.add_column(name, justify="right")
    for name in _attributes(compared):
        for number, (way, of) in enumerate(compared.equal.items()):
            table.add_row("" if number else name, way, *_cells(of[name], compared.curves[way][name]))
    return table


def _cells(point: Point | None, curve: Sequence[Point]) -> list[str]:
    if point is None:
        return [f"({max(point.success for point in curve):.0%})", "", "", ""]
    return [f"{point.amount:.2f}", f"{point.drift:.3f}", f"{point.rise:+.3f}", f"{point.broken:.0%}"]


def _told(compared: Compared) -> Table:
    table = _table("way")
    for name in ("told", *(["moved"] if compared.moved else [])):
        table.add_column(name, justify="right")
    for way in (NONE, *compared.curves):
        moved = [f"{compared.moved[way]:.2f}"] if compared.moved else []
        table.add_row(way, f"{compared.told[way]:.0%}", *moved)
    return table


def _table(first: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(first, no_wrap=True)
    return table


def _attributes(compared: Compared) -> list[str]:
    return list(next(iter(compared.curves.values())))


def draw(compared: Compared, path: Path) -> None:
    """Plots drift and rise against success: a column for each attribute, a line for each way."""
    # Imported here: matplotlib takes a second to load, and this is not always drawn.
    from matplotlib.figure import Figure

    names = _attributes(compared)
    figure = Figure(figsize=(PANEL * len(names) + 1.4, 2 * PANEL), layout="constrained")
    axes = figure.subplots(2, len(names), squeeze=False)
    for column, name in enumerate(names):
        for number, (way, of) in enumerate(compared.curves.items()):
            points = [Point(0.0, 0.0, 0.0, 0.0, 0.0), *of[name]]
            for row, key in enumerate(("drift", "rise")):
                axes[row][column].plot(
                    [point.success for point in points],
                    [getattr(point, key) for point in points],
                    color=COLOURS[number % len(COLOURS)],
                    linestyle=STYLES[number % len(STYLES)],
                    marker="o",
                    markersize=3,
                    label=way,
                )
        axes[0][column].set_title(name, fontsize=10)
        axes[1][column].set_xlabel("share of edits that succeed")
        for row in range(2):
            axes[row][column].axvline(compared.success, color="#888888", linewidth=0.7)
            axes[row][column].set_xlim(0, 1)
            axes[row][column].grid(alpha=0.3)
            axes[row][column].spines[["top", "right"]].set_visible(False)
    axes[0][0].set_ylabel("drift of other attributes")
    axes[1][0].set_ylabel("rise, bits per dimension")
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", fontsize=9)
    write_atomically(path, lambda file: figure.savefig(file, format="png", dpi=DPI))
