"""What ``trainer.compile`` buys: our training steps as they are, compiled step by step, and compiled as one.

    python -m benchmarks.compiled
    python -m benchmarks.compiled --device cuda

Beside the ratio stands how long the first step took, in which the code is generated: seconds on the clock, since the
compiler runs in processes of its own. Compiled code is kept on the disk: a second run has less to wait for.
"""

import time
from collections.abc import Callable
from dataclasses import asdict

import torch
from rich.table import Table

from benchmarks import report
from benchmarks.models import OurGlow
from benchmarks.peers import PLAIN, built
from benchmarks.shapes import NARROW, Shape, faces
from benchmarks.timing import Quartiles, alternate, ratio
from benchmarks.train_step import training_step
from glow_app.training.compiling import compile_flow

HOW = ("none", "steps", "full")


def compiled_step(how: str, shape: Shape, images: torch.Tensor) -> tuple[Callable[[], object], float]:
    """A training step, and how long the first one took, in seconds."""
    model = built(PLAIN, shape, images).train()
    assert isinstance(model, OurGlow)
    compile_flow(model.flow, how)
    step = training_step(model, images[: shape.batch].clone())
    start = time.perf_counter()
    step()
    return step, time.perf_counter() - start


def main() -> None:
    """Measures, prints a table and writes compiled.json."""
    arguments = report.timed_parser(__doc__, repeats=9, seconds=2.0).parse_args()
    device, facts = arguments.device, report.start(arguments)
    table = Table("trainer.compile", "first step, s", "ms", "against none (quartiles)", box=None)
    content = {}
    for shape in report.shapes(arguments, usual=(NARROW,)):
        images = faces(shape.n_initial, shape.size, device)
        made = {how: compiled_step(how, shape, images) for how in HOW}
        timings = alternate(
            {how: step for how, (step, _) in made.items()}, arguments.repeats, device, arguments.seconds
        )
        content[shape.name] = {}
        for how, times in timings.items():
            seconds, against, first = Quartiles.of(t.cost for t in times), ratio(timings, how, HOW[0]), made[how][1]
            table.add_row(f"{shape.name} {how}", f"{first:.0f}", f"{1000 * seconds.middle:,.1f}", str(against))
            content[shape.name][how] = {
                "first_step_seconds": first, "seconds": asdict(seconds), "against_none": asdict(against),
            }  # fmt: skip
    report.CONSOLE.print(table)
    report.write(
        report.file(arguments.output, "compiled", device, ".json"),
        {"machine": facts, "repeats": arguments.repeats, "shapes": content},
    )


if __name__ == "__main__":
    main()
