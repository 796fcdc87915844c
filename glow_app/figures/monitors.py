"""Plots the metrics of a run that are no likelihoods, each in a small plot of its own."""

import math
from collections.abc import Sequence
from pathlib import Path

from glow_app.figures.band_plot import COLOURS
from glow_app.runtime.atomic import write_atomically

LIKELIHOODS = ("train/bits_per_dim", "train/kl_bits_per_dim", "val/bits_per_dim", "test/bits_per_dim")
"""Metrics that :func:`glow_app.figures.curves` plots, or that are one figure."""

COLUMNS, WIDTH, HEIGHT, DPI = 3, 3.4, 2.0, 100
"""Plots in a row; inches of one plot, and pixels per inch."""

FEWEST = 2
"""Values that make a curve."""


def draw(rows: Sequence[dict[str, float]], path: Path) -> bool:
    """Plots every metric that changes; returns whether there are any.

    Args:
        rows: rows of metrics.csv.
        path: path of the PNG.
    """
    names = dict.fromkeys(key for row in rows for key in row if key not in ("step", *LIKELIHOODS))
    curves = {
        name: [(row["step"], row[name]) for row in rows if math.isfinite(row.get(name, math.nan))] for name in names
    }
    curves = {name: points for name, points in curves.items() if len(points) >= FEWEST}
    if not curves:
        return False
    # Imported here: matplotlib takes a second to load, and most commands draw no curve.
    from matplotlib.figure import Figure

    n = -(-len(curves) // COLUMNS)
    figure = Figure(figsize=(WIDTH * COLUMNS, HEIGHT * n), layout="constrained")
    grid = figure.subplots(n, COLUMNS, squeeze=False)
    for axes, (name, points) in zip(grid.flat, curves.items(), strict=False):
        axes.plot(*zip(*points, strict=True), color=COLOURS[0], linewidth=1.4)
        axes.set_title(name.replace("_", " "), loc="left", fontsize=9)
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.3)
    for axes in grid.flat[len(curves) :]:
        axes.set_visible(False)
    write_atomically(path, lambda file: figure.savefig(file, format="png", dpi=DPI))
    return True
