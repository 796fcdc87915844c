"""Samples beside their nearest training images, to show if a model copies."""

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from rich.console import Console
from torch import Tensor

from glow_app import figures
from glow_app.commands.common import open_split_of
from glow_app.config.commands import SampleConfig
from glow_app.data.source import EmptySplit, ImageSource
from glow_app.evaluation.neighbours import Neighbours, nearest
from glow_app.model import Model
from glow_app.runtime.console import counting, say

NEIGHBOURS_SHOWN = 16
"""Samples in the picture of neighbours."""

N_NEIGHBOURS = 3


def show_neighbours(
    config: SampleConfig, model: Model, samples: Tensor, numbers: Sequence[int], path: Path, console: Console
) -> None:
    """Reports how near training images are to samples, and to new images, and draws the nearest.

    Args:
        config: options of ``glow-sample``.
        model: model that drew the samples.
        samples: uint8 (N, C, H, W).
        numbers: numbers of the samples.
        path: path of the picture.
        console: console to print to.
    """
    train = open_split_of(model, config.data, "train", console)
    new = _new_images(config, model, len(samples), console)
    queries = samples if new is None else torch.cat([samples, new[1]])
    with counting(console, "comparing with training images") as progress:
        found = nearest(queries, train, N_NEIGHBOURS, model.n_bits, config.data.flip, progress)
    rms = found.distances[:, 0]
    of_samples = f"{_median(rms[: len(samples)])} grey levels (RMS, median of {len(samples)} samples)"
    say(console, f"distance to the nearest of {len(train):,} training images: {of_samples}")
    if new is None:
        say(console, f"no new images to compare with: data={config.data.name} has neither a test nor a val split")
    else:
        of_new = f"{_median(rms[len(samples) :])} (median of {len(new[1])} images of {new[0]})"
        say(console, f"the same for new images: {of_new}; a model that copies has samples much nearer than new images")
    figures.save_png(_neighbours_picture(samples, numbers, found, train), path)


def _median(distances: Tensor) -> str:
    return f"{distances.quantile(0.5).item():.1f}"


def _new_images(config: SampleConfig, model: Model, n: int, console: Console) -> tuple[str, Tensor] | None:
    """Returns a split that the model was not trained on, and up to ``n`` evenly spaced images of it."""
    for split in ("test", "val"):
        try:
            source = open_split_of(model, config.data, split, console)
        except EmptySplit:
            continue
        indices = torch.linspace(0, len(source) - 1, min(n, len(source))).long().tolist()
        return split, source.fetch(indices)
    return None


def _neighbours_picture(samples: Tensor, numbers: Sequence[int], found: Neighbours, train: ImageSource) -> Image.Image:
    """Draws one row for each of the first samples: the sample, then its nearest training images."""
    cells: list[Tensor] = []
    labels: list[str] = []
    rows = zip(samples[:NEIGHBOURS_SHOWN], numbers, found.distances, found.indices, found.mirrored, strict=False)
    for image, number, distances, indices, mirrored in rows:
        near = train.fetch(indices.tolist())
        cells += [image, *torch.where(mirrored[:, None, None, None], near.flip(3), near)]
        labels.append(f"{number}: {distances[0]:.1f} away")
    columns = ["sample", "nearest", "2nd", "3rd"][: 1 + found.indices.shape[1]]
    return figures.grid(torch.stack(cells), len(columns), row_labels=labels, column_labels=columns)
