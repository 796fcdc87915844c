"""Plots histograms of several scores, each of several sets of images."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from glow_app.figures.band_plot import COLOURS
from glow_app.runtime.atomic import write_atomically

BINS, COLUMNS = 60, 3
WIDTH, HEIGHT, DPI = 3.4, 2.3, 100
"""Inches of one histogram, and pixels per inch."""

SHOWN, ROOM = 0.998, 1.0
"""Share of the first set's values that the axis shows, and its extra room for others; the last bins have the rest."""


def draw(scores: Mapping[str, Sequence[Tensor]], names: Sequence[str], titles: Mapping[str, str], path: Path) -> None:
    """Plots one histogram for each score, in which each set has area 1.

    Args:
        scores: score -> its finite values of each set, (N,) each.
        names: names of the sets, the model's own images first.
        titles: score -> title.
        path: path of the PNG.
    """
    # Imported here: matplotlib takes a second to load, and this is not always drawn.
    from matplotlib.figure import Figure

    rows = -(-len(scores) // COLUMNS)
    figure = Figure(figsize=(WIDTH * COLUMNS, HEIGHT * rows + 0.4), layout="constrained")
    grid = figure.subplots(rows, COLUMNS, squeeze=False)
    handles = []
    for axes, (score, sets) in zip(grid.flat, scores.items(), strict=False):
        low, high = _limits(sets)
        handles, highest = [], 0.0
        for number, values in enumerate(sets):
            counts = torch.histc(values.clamp(low, high), BINS, low, high) / max(len(values), 1)
            edges = torch.linspace(low, high, BINS + 1).tolist()
            highest = max(highest, counts[1:-1].max().item())
            colour = COLOURS[number % len(COLOURS)]
            handles.append(axes.stairs(counts.tolist(), edges, fill=True, color=colour, alpha=0.35))
            axes.stairs(counts.tolist(), edges, color=colour, linewidth=1)
        axes.set_ylim(0, 1.1 * highest or None)  # a pile in the last bins would flatten all others
        axes.set_title(titles[score], loc="left", fontsize=9)
        axes.set_yticks([])
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right", "left"]].set_visible(False)
    for axes in grid.flat[len(scores) :]:
        axes.set_visible(False)
    figure.legend(handles, names, loc="outside upper left", ncols=min(len(names), 5), frameon=False, fontsize=9)
    write_atomically(path, lambda file: figure.savefig(file, format="png", dpi=DPI))


def _limits(sets: Sequence[Tensor]) -> tuple[float, float]:
    """The interval of nearly all values of the first set, and ``ROOM`` times its width more where others have values.

    Scores of images far from all that a model knows can be larger than these by many orders of magnitude.
    """
    own, everything = sets[0].double(), torch.cat(list(sets)).double()
    if not len(everything):
        return 0.0, 1.0
    own = own if len(own) else everything
    edges = torch.tensor([(1 - SHOWN) / 2, (1 + SHOWN) / 2], dtype=torch.float64)
    # Not quantile(), which refuses long tensors.
    low, high = own.sort().values[(edges * (len(own) - 1)).round().long()].tolist()
    width = high - low or 1.0
    low = max(low - ROOM * width, min(low, everything.min().item()))
    high = min(high + ROOM * width, max(high, everything.max().item()))
    margin = 0.03 * (high - low) or 0.5
    return low - margin, high + margin
