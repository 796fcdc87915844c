"""What ``glow-train`` adds to its steps: loader, guards, averages, figures. Runs, beside the step alone.

    python -m benchmarks.whole_run
    python -m benchmarks.whole_run --device cuda --shapes 32-L3-K32-w512

The step alone is what ``benchmarks.train_step`` times: forward, backward and Adam on a batch that is there. A run reads
drawn faces, looks at every gradient, averages weights and logs; it is timed from one of its steps to another. On a CPU
in fp32, on a GPU in bf16 and captured, as ``trainer=cpu`` and ``trainer=gpu`` have it.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks import report
from benchmarks.peers import CAPTURED, PLAIN, Implementation, built
from benchmarks.shapes import NARROW, WIDE, Shape, faces
from benchmarks.timing import Quartiles, Timing, measure, per_run, ratio, warmed
from benchmarks.train_step import training_step
from glow_app.cli import conf_folder
from glow_app.config.check import check
from glow_app.config.train import TrainConfig
from glow_app.data.stream import Batch
from glow_app.training.module import GlowModule
from glow_app.training.run import fit

ALONE, RUN = "the step alone", "in a run"
WARM_UP = 5
"""Steps of a run before it is timed."""


def ours(device: torch.device) -> Implementation:
    """What trains on a device by default."""
    return PLAIN if device.type == "cpu" else CAPTURED[-1]


def configuration(shape: Shape, device: torch.device, n_steps: int, cache: Path) -> TrainConfig:
    """Of a run of ``n_steps`` steps whose model is that of the other benchmarks."""
    trainer, precision = ("cpu", "fp32") if device.type == "cpu" else ("gpu", "bf16")
    overrides = [
        *(f"data.image_size={shape.size}", "data.n_images=64", f"data.cache_folder={cache}"),
        *("model=glow", f"model.n_levels={shape.n_levels}", f"model.n_steps={shape.n_steps}"),
        *(f"model.width={shape.width}", f"model.coupling={shape.coupling}", "model.scale=bounded"),
        *(f"trainer={trainer}", f"trainer.precision={precision}", f"trainer.batch_size={shape.batch}"),
        *(f"max_steps={n_steps}", "optim.lr=1e-5", "val_images=1", "test_images=1", "temperatures=[0.0]"),
    ]
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        return check(compose("train", overrides=overrides), TrainConfig)


@contextmanager
def watched(device: torch.device) -> Iterator[list[tuple[float, float]]]:
    """Inside, every training step of a run leaves CPU and wall-clock time at its beginning, two with the GPU idle."""
    stamps: list[tuple[float, float]] = []
    original = GlowModule.training_step

    def training_step(self: GlowModule, batch: Batch, batch_idx: int) -> Tensor:
        if device.type == "cuda" and (batch_idx == WARM_UP or batch_idx + 1 == self.trainer.max_steps):
            torch.cuda.synchronize(device)
        stamps.append((time.process_time(), time.perf_counter()))
        return original(self, batch, batch_idx)

    GlowModule.training_step = training_step  # type: ignore[method-assign]
    try:
        yield stamps
    finally:
        GlowModule.training_step = original  # type: ignore[method-assign]


def time_run(config: TrainConfig, folder: Path, device: torch.device) -> Timing:
    """One step of a run, its share of all those from the ``WARM_UP``-th to the last."""
    with watched(device) as stamps:
        fit(config, folder, None, Console(quiet=True))
    (cpu, wall), (last_cpu, last_wall) = stamps[WARM_UP], stamps[-1]
    total = last_wall - wall
    return per_run(Timing(last_cpu - cpu, total, total if device.type == "cuda" else None), len(stamps) - 1 - WARM_UP)


def main() -> None:
    """Measures, prints a table and writes whole_run.json."""
    arguments = report.timed_parser(__doc__, repeats=5, seconds=10.0).parse_args()
    device, facts = arguments.device, report.start(arguments)
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    one = ours(device)
    table = Table("", "images/s", "ms", "against the step alone (quartiles)", box=None)
    content: dict[str, Any] = {}
    for shape in report.shapes(arguments, usual=(NARROW, WIDE)):
        images = faces(shape.n_initial, shape.size, device)
        step = training_step(built(one, shape, images).train(), images[: shape.batch].clone(), one.captured)
        n = max(10, round(arguments.seconds / warmed(step, device).wall))
        timings: dict[str, list[Timing]] = {ALONE: [], RUN: []}
        with TemporaryDirectory() as folder:
            config = configuration(shape, device, n + WARM_UP + 1, Path(folder) / "cache")
            for number in range(arguments.repeats):
                alone = measure(lambda step=step, n=n: [step() for _ in range(n)], device)
                timings[ALONE].append(per_run(alone, n))
                timings[RUN].append(time_run(config, Path(folder) / str(number), device))
        content[shape.name] = {"implementation": one.name}
        for name, times in timings.items():
            seconds, against = median(timing.cost for timing in times), ratio(timings, name, ALONE)
            speed = shape.batch / seconds
            table.add_row(f"{shape.name}, {one.name}, {name}", f"{speed:,.0f}", f"{1000 * seconds:,.1f}", str(against))
            content[shape.name][name] = {
                "seconds": asdict(Quartiles.of(timing.cost for timing in times)),
                "images_per_second": speed,
                "against_alone": asdict(against),
            }
    report.CONSOLE.print(table)
    content = {"machine": facts, "repeats": arguments.repeats, "shapes": content}
    report.write(report.timed_file(arguments.output, "whole_run", device, ".json"), content)


if __name__ == "__main__":
    main()
