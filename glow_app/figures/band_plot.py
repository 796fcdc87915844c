"""Plots curves of several variants against images seen, each with its name at its end."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from glow_app.runtime.atomic import write_atomically

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's colours, distinct for any kind of colour vision; without yellow, which is too light for a line."""

STYLES = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (6, 2, 1, 2)))
"""Line styles: solid, dashed, dotted, dash-dotted."""

WIDTH, HEIGHT, DPI = 7.6, 4.4, 100
"""Inches, and pixels per inch."""

ROOM = 0.045
"""Smallest distance between two names, as a fraction of the axis."""

BEGINNING = 0.15
"""Fraction of the images in which a curve may be above the plot: the first updates are far from all others."""


class Band(NamedTuple):
    """A curve and its spread.

    Attributes:
        label: name of the curve.
        images: images seen.
        mean: bits/dim at these.
        low: lower edge.
        high: upper edge.
        colour: index of the colour.
        style: index of the line style.
    """

    label: str
    images: list[int]
    mean: list[float]
    low: list[float]
    high: list[float]
    colour: int
    style: int


def draw(bands: Sequence[Band], title: str, path: Path) -> None:
    """Plots validation bits/dim against images seen.

    Args:
        bands: one band for each variant.
        title: title above the plot.
        path: path of the PNG.
    """
    # Imported here: matplotlib takes a second to load, and this is not always drawn.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
    axes = figure.add_subplot()
    for band in bands:
        colour, style = COLOURS[band.colour % len(COLOURS)], STYLES[band.style % len(STYLES)]
        axes.fill_between(band.images, band.low, band.high, color=colour, alpha=0.18, linewidth=0)
        axes.plot(band.images, band.mean, color=colour, linestyle=style, linewidth=1.8)
    last = max(band.images[-1] for band in bands)
    axes.set_xlim(0, last)
    axes.set_ylim(*limits(bands, last))
    low, high = axes.get_ylim()
    ends = [(band.mean[-1] - low) / (high - low) for band in bands]
    for band, end, place in zip(bands, ends, apart(ends, ROOM), strict=True):
        axes.annotate(
            band.label,
            (band.images[-1] / last, end),
            (1.035, place),
            xycoords="axes fraction",
            textcoords="axes fraction",
            color=COLOURS[band.colour % len(COLOURS)],
            fontsize=9,
            va="center",
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": "#888888", "linewidth": 0.5, "shrinkA": 1, "shrinkB": 1},
        )
    axes.set_title(title, loc="left", fontsize=10)
    axes.set_xlabel("images seen")
    axes.set_ylabel("bits per dimension, validation")
    axes.xaxis.set_major_formatter(lambda images, _: f"{images:,.0f}")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.3)
    write_atomically(path, lambda file: figure.savefig(file, format="png", dpi=DPI))


def limits(bands: Sequence[Band], last: int) -> tuple[float, float]:
    """Limits of the vertical axis: all values after the ``BEGINNING``, and a little room."""
    shown = [
        value
        for band in bands
        for images, *values in zip(band.images, band.low, band.high, strict=True)
        if images >= min(BEGINNING * last, band.images[-1])
        for value in values
    ]
    room = 0.05 * (max(shown) - min(shown)) or 0.05
    return min(shown) - room, max(shown) + room


def apart(places: Sequence[float], room: float) -> list[float]:
    """Moves places as little as possible so that neighbours are ``room`` apart, in the same order.

    Names that would overlap become a block around the mean of their places.
    """
    order = sorted(range(len(places)), key=lambda number: places[number])
    blocks: list[list[int]] = []
    for number in order:
        blocks.append([number])
        while len(blocks) > 1 and _lowest(blocks[-1], places, room) - _highest(blocks[-2], places, room) < room:
            above = blocks.pop()
            blocks[-1] += above
    found = [0.0] * len(places)
    for block in blocks:
        for step, number in enumerate(block):
            found[number] = _lowest(block, places, room) + step * room
    return found


def _lowest(block: list[int], places: Sequence[float], room: float) -> float:
    return sum(places[number] for number in block) / len(block) - (len(block) - 1) * room / 2


def _highest(block: list[int], places: Sequence[float], room: float) -> float:
    return _lowest(block, places, room) + (len(block) - 1) * room
