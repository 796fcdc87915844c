"""How much of the machine training and sampling use: GFLOP/s beside those of a large matrix product and convolution.

    python -m benchmarks.ceiling
    python -m benchmarks.ceiling --device cuda

A training step is counted as three times a forward pass, 16 samples as one of 16 images, 2 operations per multiply-add
of the convolutions (benchmarks/shapes.py): whatever else they do costs time and counts nothing.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial

import torch
from rich.table import Table
from torch.nn import functional as F

from benchmarks import report
from benchmarks.peers import BF16, PLAIN, built
from benchmarks.sample import BATCHES
from benchmarks.shapes import CELEBA, DEEP, WIDE, Shape, faces
from benchmarks.timing import Quartiles, alternate
from benchmarks.train_step import training_step

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Work:
    """Something to time.

    Attributes:
        what: as the table has it.
        precision: ``fp32`` or ``bf16``.
        flops: operations of one run.
        run: does it once.
    """

    what: str
    precision: str
    flops: float
    run: Callable[[], object]


def matrix_product(precision: str, device: torch.device) -> Work:
    """A large square one."""
    n = 8192 if device.type == "cuda" else 2048
    a, b = (torch.randn(n, n, device=device).to(DTYPES[precision]) for _ in range(2))
    return Work(f"matrix product, {n}", precision, 2 * n**3, lambda: a @ b)


def convolution(precision: str, device: torch.device) -> Work:
    """A large 3x3 one, forward, in the layout that suits the machine best: channels last."""
    batch, channels, side = (64 if device.type == "cuda" else 8), 512, 32
    x, weight = (
        torch.randn(batch, channels, side, side, device=device),
        torch.randn(channels, channels, 3, 3, device=device),
    )
    x, weight = (t.to(DTYPES[precision], memory_format=torch.channels_last) for t in (x, weight))
    flops = 2 * 9 * channels**2 * side**2 * batch
    what = f"3x3 convolution, {batch}x{channels}x{side}x{side}"
    return Work(what, precision, flops, lambda: F.conv2d(x, weight, padding=1))


def training_steps(shape: Shape, device: torch.device) -> Iterator[Work]:
    """Forward, backward and Adam update, in both precisions; on a GPU captured, which otherwise waits for launches."""
    images = faces(shape.n_initial, shape.size, device)
    for precision, one in (("fp32", PLAIN), ("bf16", BF16)):
        model, x = built(one, shape, images).train(), images[: shape.batch].clone()
        step = training_step(model, x, captured=device.type == "cuda")
        flops = 3 * shape.batch * shape.forward_flops()
        yield Work(f"training step, {shape.name}", precision, flops, step)


def sampling(shape: Shape, device: torch.device) -> Iterator[Work]:
    """16 images at a time, in both precisions."""
    n = BATCHES[-1]
    images = faces(shape.n_initial, shape.size, device)
    for precision, one in (("fp32", PLAIN), ("bf16", BF16)):
        model = built(one, shape, images).eval()
        what = f"sampling, {shape.name}, {n} at a time"
        yield Work(what, precision, n * shape.forward_flops(), partial(model.sample, n))


def main() -> None:
    """Measures, prints a table and writes ceiling.json."""
    arguments = report.timed_parser(__doc__, repeats=7, seconds=2.0).parse_args()
    device, facts = arguments.device, report.start(arguments)
    work = [make(precision, device) for precision in DTYPES for make in (matrix_product, convolution)]
    for shape in report.shapes(arguments, usual=(DEEP, WIDE, CELEBA)):
        work += [*training_steps(shape, device), *sampling(shape, device)]
    names = [f"{one.what} {one.precision}" for one in work]
    tasks = {name: one.run for name, one in zip(names, work, strict=True)}
    timings = alternate(tasks, arguments.repeats, device, arguments.seconds)
    speeds = {
        (one.what, one.precision): Quartiles.of(one.flops / t.cost / 1e9 for t in timings[name])
        for name, one in zip(names, work, strict=True)
    }
    table = Table("", "precision", "GFLOP/s (quartiles)", "of the product", "of the convolution", box=None)
    rows = []
    for (what, precision), speed in speeds.items():
        # The first two of a precision are the machine's own.
        own = [speed.middle / found.middle for (_, theirs), found in speeds.items() if theirs == precision][:2]
        shares = (f"{share:.0%}" for share in own)
        table.add_row(what, precision, f"{speed.middle:,.0f} ({speed.low:,.0f} - {speed.high:,.0f})", *shares)
        rows.append({"what": what, "precision": precision, "gflops_per_second": asdict(speed), "shares": own})
    report.CONSOLE.print(table)
    content = {"machine": facts, "repeats": arguments.repeats, "rows": rows}
    report.write(report.timed_file(arguments.output, "ceiling", device, ".json"), content)


if __name__ == "__main__":
    main()
