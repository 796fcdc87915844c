"""What ``trainer.compile`` buys: our training steps as they are, compiled step by step, and compiled as one.

    python -m benchmarks.compiled
    python -m benchmarks.compiled --device cuda

All of them are timed in turn, and the peers with them. Beside the ratios stands how long the first step took, in which
the code is generated: seconds on the clock, since the compiler runs in processes of its own. What earlier runs have
left on the disk, with which there is less to wait for, is not used.
"""

import argparse
import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from multiprocessing import get_context
from tempfile import TemporaryDirectory
from typing import Any

import torch
from rich.table import Table

from benchmarks import report
from benchmarks.contest import entered, fastest_peers
from benchmarks.models import OurGlow
from benchmarks.peers import BF16, CAPTURED, PLAIN, Implementation, built, peers
from benchmarks.shapes import DEEP, NARROW, Shape, faces
from benchmarks.timing import Quartiles, Requirement, alternate, ratio
from benchmarks.train_step import STEP_BOUNDS, training_step
from glow_app.training.fast.compile import compile_flow

HOW = {"cpu": ("none", "steps", "full"), "cuda": ("none", "steps")}
"""On a GPU, ``full`` takes minutes to generate the code of a deep model, and is left out."""


def implementations(device: torch.device) -> tuple[Implementation, ...]:
    """Ours that are compiled: on a GPU also those whose steps are captured."""
    return (
        (PLAIN, BF16) if device.type == "cpu" else (BF16, *(one for one in CAPTURED if one.name.startswith(BF16.name)))
    )


def first_step(one: Implementation, how: str, shape: Shape, images: torch.Tensor) -> tuple[Callable[[], object], float]:
    """A training step, and how long the first one took, in seconds."""
    model = built(one, shape, images).train()
    if isinstance(model, OurGlow):
        compile_flow(model.flow, how)
    step = training_step(model, images[: shape.batch].clone(), one.captured)
    start = time.perf_counter()
    step()
    return step, time.perf_counter() - start


def label(one: Implementation, how: str) -> str:
    """As the tables have it."""
    return one.name if how == "none" else f"{one.name}, compile={how}"


def main() -> None:
    """Measures, prints tables and writes compiled.json."""
    arguments = report.timed_parser(__doc__, repeats=9, seconds=2.0).parse_args()
    facts = report.start(arguments)
    content: dict[str, Any] = {}
    found: list[tuple[Requirement, Quartiles]] = []
    for shape in report.shapes(arguments, usual=() if arguments.device.type == "cuda" else (NARROW, DEEP)):
        with ProcessPoolExecutor(1, get_context("spawn")) as process:
            content[shape.name], of_shape = process.submit(race, arguments, shape).result()
        found += of_shape
    content = {
        "machine": facts, "repeats": arguments.repeats, "shapes": content, "required": report.verdicts(found),
    }  # fmt: skip
    report.write(report.timed_file(arguments.output, "compiled", arguments.device, ".json"), content)


def race(arguments: argparse.Namespace, shape: Shape) -> tuple[dict[str, Any], list[tuple[Requirement, Quartiles]]]:
    """Compiles, times and prints; for a fresh process, which finds no code of another shape."""
    with TemporaryDirectory() as cache:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = cache
        report.start(arguments)
        images = faces(shape.n_initial, shape.size, arguments.device)
        ways = [(one, how) for one in implementations(arguments.device) for how in HOW[arguments.device.type]]
        made = {label(one, how): first_step(one, how, shape, images) for one, how in ways}
        others = entered(
            peers(arguments.programs), shape, images,
            lambda model, x: training_step(model.train(), x), report.CONSOLE.print,
        )  # fmt: skip
        tasks = {name: step for name, (step, _) in made.items()} | {one.implementation.name: one.run for one in others}
        timings = alternate(tasks, arguments.repeats, arguments.device, arguments.seconds)
    fastest = fastest_peers(others, timings)
    table = Table(
        shape.name, "first step, s", "ms", "images/s", "against none", "against the fastest peer (quartiles)", box=None
    )
    content: dict[str, Any] = {"fastest_peers": fastest, "ways": {}}
    found: list[tuple[Requirement, Quartiles]] = []
    for one, how in ways:
        name, peer = label(one, how), fastest.get(one.precision, PLAIN.name)
        seconds = Quartiles.of(t.cost for t in timings[name])
        against = {"none": ratio(timings, name, label(one, "none")), "fastest_peer": ratio(timings, name, peer)}
        table.add_row(
            name,
            f"{made[name][1]:.0f}",
            f"{1000 * seconds.middle:,.1f}",
            f"{shape.batch / seconds.middle:,.0f}",
            *(str(r) for r in against.values()),
        )
        content["ways"][name] = {
            "first_step_seconds": made[name][1],
            "seconds": asdict(seconds),
            "images_per_second": shape.batch / seconds.middle,
            **{f"against_{other}": asdict(quartiles) for other, quartiles in against.items()},
        }
        if arguments.device.type == "cpu" and how != "none" and others and one.name in STEP_BOUNDS.get(shape, {}):
            must, aim = STEP_BOUNDS[shape][one.name]
            what = f"{shape.name}: {name}, against the fastest peer, {peer}"
            found.append((Requirement(what, must, aim), against["fastest_peer"]))
    report.CONSOLE.print(table)
    return content, found


if __name__ == "__main__":
    main()
