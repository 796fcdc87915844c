"""The demo page: how long the server takes for one move of a slider, at several sizes of image and model.

    python -m benchmarks.demo
    python -m benchmarks.demo --shapes 64x64-small

One move is what :mod:`glow_app.demo` does with it: edit along a direction, decode one image, write it as HTML. Opening
a picture, which encodes it once, is measured beside it. Wall-clock time; the models are initialised, not trained, which
makes no difference to their speed.
"""

import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from benchmarks import report
from benchmarks.shapes import faces
from glow_app.artifacts.card import Card
from glow_app.artifacts.weights import export
from glow_app.build import PRECISIONS
from glow_app.config.model import GlowConfig
from glow_app.demo import show
from glow_app.demo.studio import Moves, Studio
from glow_app.demo.view import View
from glow_app.flows import Glow, initialize
from glow_app.flows.fast import accelerate
from glow_app.latents.directions import Directions
from glow_app.model import Model, load

SHAPES = {
    "32x32-tiny": (32, 3, 4, 64),
    "64x64-small": (64, 4, 8, 128),
    "64x64-K16-w256": (64, 4, 16, 256),
    "64x64-glow": (64, 4, 32, 512),
}
"""name -> image size, L, K, width."""

MOST_AT_64 = 0.5
"""Seconds that a move may take at 64x64."""


def model_of(size: int, n_levels: int, n_steps: int, width: int, folder: Path) -> Model:
    """An initialised model, exported and loaded as a trained one is."""
    torch.manual_seed(0)
    flow = accelerate(Glow((3, size, size), n_levels, n_steps, width))
    images = faces(16, size, torch.device("cpu"))
    initialize(flow, images)
    options = GlowConfig("glow", False, "plain", 32, n_levels, n_steps, width, "affine", "lu", "bounded", True)
    export(flow, Card(options, (3, size, size), 8, (), {"name": "drawn_faces"}, "", 0, "raw", {}, {}), folder)
    return load(folder)


def studio_of(model: Model) -> Studio:
    """With one attribute, a direction of which nothing is known but its length."""
    unit = torch.nn.functional.normalize(torch.randn(1, model.flow.n_dims))
    zeros, gains = torch.zeros_like(unit), torch.ones(1, dtype=torch.float64)
    shapes = tuple(model.flow.latent_shapes)
    directions = Directions(("Smiling",), unit, zeros, 3 * unit, gains, shapes, "balanced", model.digest, {})
    return Studio(model, directions, None, seed=0)


def milliseconds(task: Callable[[int], object], repeats: int) -> list[float]:
    """Wall-clock time of each of ``repeats`` calls, after three that do not count."""
    times = []
    for number in range(-3, repeats):
        start = time.perf_counter()
        task(number)
        times.append(1000 * (time.perf_counter() - start))
    return times[3:]


def measure(studio: Studio, repeats: int) -> dict[str, float]:
    """Median and 95th percentile, in milliseconds, of a move, and of opening a sample."""
    subject = studio.sampled(0)

    def move(number: int) -> str:
        moves = Moves(0.7, {"Smiling": 0.05 * (number % 40)})
        return show.stage(View(subject, moves), studio.after(subject, moves), "Smiling")

    pixels = subject.pixels
    moved = milliseconds(move, repeats)
    opened = milliseconds(lambda _: studio.model.decode(studio.model.encode(pixels)), max(repeats // 4, 3))
    return {
        "move_median": float(np.median(moved)),
        "move_95": float(np.percentile(moved, 95)),
        "open_median": float(np.median(opened)),
    }


def main() -> None:
    """Measures, prints a table, and writes demo.json."""
    options = report.parser(__doc__)
    options.add_argument("--shapes", nargs="*", choices=list(SHAPES), default=list(SHAPES))
    options.add_argument("--repeats", type=int, default=40, help="moves that are timed")
    arguments = options.parse_args()
    facts = report.start(arguments)
    table = Table("milliseconds", "move, median", "move, 95%", "open a picture", box=None)
    content = {}
    for name in arguments.shapes:
        with TemporaryDirectory() as folder:
            studio = studio_of(model_of(*SHAPES[name], Path(folder)))
        for precision, dtype in PRECISIONS.items():
            studio.model.flow.set_conditioner_dtype(dtype)
            found = measure(studio, arguments.repeats)
            content[f"{name} {precision}"] = found
            table.add_row(f"{name} {precision}", *(f"{value:.1f}" for value in found.values()))
    Console().print(table)
    at_64 = [name for name in content if name.startswith("64x64")]
    fast = {name: content[name]["move_95"] < 1000 * MOST_AT_64 for name in at_64}
    report.write(
        report.timed_file(arguments.output, "demo", arguments.device, ".json"),
        {"machine": facts, "repeats": arguments.repeats, "milliseconds": content, "under_half_a_second": fast},
    )


if __name__ == "__main__":
    main()
