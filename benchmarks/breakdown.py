"""Where the time of a training step goes, by kind of operation: ours beside one other.

    python -m benchmarks.breakdown
    python -m benchmarks.breakdown --shapes 32-L3-K8-w512 --against normflows

Shares of the self time of torch's operations, by its profiler. Under it every operation takes a little longer, so that
small ones seem to weigh more than they do; the CPU time is of steps without it.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import torch
from rich.table import Table
from torch.profiler import ProfilerActivity, profile

from benchmarks import report
from benchmarks.contest import entered
from benchmarks.peers import BF16, PLAIN, Implementation, peers
from benchmarks.shapes import EMPTY, NARROW, WIDE, faces
from benchmarks.timing import measure
from benchmarks.train_step import training_step

STEPS = 5

KINDS = {
    "products": ("conv", "mm", "linear", "matmul", "mkldnn"),
    "copies and layouts": ("copy", "clone", "cat", "pad", "contiguous", "reorder", "index", "fill", "zero", "dense"),
    "sums": ("sum", "mean", "norm", "amax"),
    "Adam": ("adam",),
    "views and allocation": (
        *("view", "empty", "reshape", "slice", "chunk", "expand", "stride", "select", "detach", "unsafe", "permute"),
        *("transpose", "squeeze", "resize", "alias", "narrow", "split", "flatten"),
    ),
}
"""Kind -> parts of the names of its operations; the first that fits counts. All others compute each number alone."""

OTHERS = "element by element"


@dataclass(frozen=True)
class Breakdown:
    """The time of a step.

    Attributes:
        shares: kind -> share of its operations in the self time of all.
        operations: number of operations that torch was asked for.
        milliseconds: CPU time, without the profiler.
    """

    shares: dict[str, float]
    operations: float
    milliseconds: float


def kind_of(operation: str) -> str:
    """The kind of an operation, by its name."""
    name = operation.lower()
    return next((kind for kind, parts in KINDS.items() if any(part in name for part in parts)), OTHERS)


def breakdown(step: Callable[[], object], device: torch.device) -> Breakdown:
    """Profiles ``STEPS`` steps."""
    step()
    whole = min(measure(step, device).cost for _ in range(STEPS))
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        for _ in range(STEPS):
            step()
    times: Counter[str] = Counter()
    operations = 0
    for event in profiler.key_averages():
        if event.key.startswith(("aten::", "mkldnn", "onednn")):
            times[kind_of(event.key)] += event.self_cpu_time_total
            operations += event.count
    return Breakdown({kind: time / times.total() for kind, time in times.items()}, operations / STEPS, 1000 * whole)


def main() -> None:
    """Measures, prints a table for each shape and writes breakdown_KIND.json."""
    options = report.timed_parser(__doc__, repeats=1, seconds=1.0)
    options.add_argument("--against", default="FrEIA", help="one of the peers")
    arguments = options.parse_args()
    device, facts = arguments.device, report.start(arguments)
    theirs = [one for one in peers(arguments.programs) if one.name in (arguments.against, f"{arguments.against} bf16")]
    shapes: dict[str, dict[str, object]] = {}
    for shape in report.shapes(arguments, usual=(NARROW, WIDE, EMPTY)):
        images = faces(shape.n_initial, shape.size, device)
        ours: list[Implementation] = [PLAIN, BF16]
        contenders = entered(
            [*ours, *theirs], shape, images, lambda model, x: training_step(model.train(), x), report.CONSOLE.print
        )
        found = {one.implementation.name: breakdown(one.run, device) for one in contenders}
        table = Table(f"{shape.name}: a step", *found, box=None)
        for kind in (*KINDS, OTHERS):
            table.add_row(kind, *(f"{one.shares.get(kind, 0):.0%}" for one in found.values()))
        table.add_row("CPU ms", *(f"{one.milliseconds:.1f}" for one in found.values()))
        table.add_row("operations", *(f"{one.operations:,.0f}" for one in found.values()))
        report.CONSOLE.print(table)
        shapes[shape.name] = {name: vars(one) for name, one in found.items()}
    report.write(
        report.timed_file(arguments.output, "breakdown", device, ".json"), {"machine": facts, "shapes": shapes}
    )


if __name__ == "__main__":
    main()
