"""Speed of scoring beside plain evaluation, by column: images per CPU second of one process, no loader processes.

    python -m benchmarks.scores cifar10 /data/cifar
    python -m benchmarks.scores cifar10 /data/cifar --images 100000 --width 128 --steps 8

The flow is a Glow of the given size, initialised and untrained, which is as fast as a trained one. Plain evaluation is
bits/dim and its parts, as glow-evaluate computes them. Images are training images from the cache, which is made first;
after the last comes the first again. Ways take turns of 256 images, so that other work on the machine slows
all of them alike; CPU time is compared.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from benchmarks import processor
from glow_app.build import through_cache
from glow_app.commands.score_data import named_data
from glow_app.data.cache import default_workers
from glow_app.evaluation.likelihood import measure_likelihood
from glow_app.flows import Glow, initialize
from glow_app.flows.fast import accelerate
from glow_app.likelihood import dequantize
from glow_app.scores import measure
from glow_app.scores.measure import Scorer

BATCH, TURN = 64, 256
"""Images per batch, and of a turn."""


def main() -> None:
    """Measures, and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="name of a data set of 32x32 images, as in data=NAME")
    parser.add_argument("root", type=Path, help="its folder")
    parser.add_argument("--images", type=int, default=2048)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--steps", type=int, default=4)
    chosen = parser.parse_args()
    torch.manual_seed(0)
    console = Console()
    data = named_data(chosen.name, str(chosen.root), (3, 32, 32), 8)
    source = through_cache(data.open("train"), data, default_workers(), console)
    flow = Glow(source.image_shape, n_levels=3, n_steps=chosen.steps, width=chosen.width)
    initialize(flow, dequantize(source.fetch(range(256)), 0.5, 8))
    flow = accelerate(flow).eval()
    scorers = {
        "free columns": Scorer(flow, 8, codecs=(), mean=4.0),
        "and PNG": Scorer(flow, 8, codecs=("PNG",), mean=4.0),
        "and WebP": Scorer(flow, 8, codecs=("WebP",), mean=4.0),
        "free columns, and those of clean=true": Scorer(flow, 8, codecs=(), mean=4.0, centre=torch.full((192,), 128.0)),
        "free columns, 4 draws": Scorer(flow, 8, draws=4, codecs=(), mean=4.0),
        "free columns, a background of this size": Scorer(flow, 8, codecs=(), mean=4.0, background=flow),
    }
    ways: dict[str, Callable[[int], object]] = {
        "plain evaluation": lambda start: measure_likelihood(flow, source, range(start, start + TURN), 8, 0, BATCH)
    }
    for name, scorer in scorers.items():
        ways[name] = lambda start, scorer=scorer: list(
            measure.score(scorer, source, start + TURN, BATCH, start // BATCH)
        )
    seconds = dict.fromkeys(ways, 0.0)
    for way in ways.values():  # weights are packed and pages touched
        way(0)
    turns = -(-chosen.images // TURN)
    for turn in range(turns):
        first = turn % (len(source) // TURN) * TURN
        for name, way in ways.items():
            start = time.process_time()
            way(first)
            seconds[name] += time.process_time() - start
    console.print(
        f"{turns * TURN:,} images each, {source.name}, L=3 K={chosen.steps} width={chosen.width}, {processor.name()}"
    )
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("", "images/s", "of plain"):
        table.add_column(column, justify="right" if column else "left")
    for name, taken in seconds.items():
        share = seconds["plain evaluation"] / taken
        table.add_row(name, f"{turns * TURN / taken:,.0f}", f"{share:.0%}")
    console.print(table)


if __name__ == "__main__":
    main()
