"""Reflow: a continuous flow learns straight paths from the latents of another to its samples. Liu et al. 2023."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from rich.console import Console
from torch import Tensor

from glow_app import figures
from glow_app.config.train import TrainConfig
from glow_app.data.stream import Batch
from glow_app.evaluation import density, density_figures
from glow_app.flows import CNF, Solver
from glow_app.flows.continuous.cnf import flow_matching_loss
from glow_app.likelihood import quantize
from glow_app.runtime.console import say
from glow_app.training.distillation.measure import FIRST, classes
from glow_app.training.distillation.student import PICTURE, SHOWN_IMAGES, SHOWN_POINTS, SQUARE, Distillation

STEPS = (1, 2, 4, 8)
"""Steps of Euler's method by which student and teacher are compared."""

POINTS, IMAGES = 10_000, 32
"""Samples of which the distance is measured."""


class Reflow(Distillation):
    """Trains a continuous flow by flow matching on pairs ``(z, x)``, latents and samples of another.

    The paths of flow matching cross, and the field is their mean, so that those of the flow are bent. Latents and
    samples of a flow are pairs whose straight paths cross less: learned from them, a flow has the same density, in as
    far as it is learned, and straighter paths, which take fewer steps. Liu et al. 2023, sec. 2.2 ("reflow"). The
    samples are drawn by the solver of this flow.

    Args:
        flow: the continuous flow that learns, initialised.
        teacher: the other one.
        options: those of :class:`glow_app.training.module.GlowModule`.
    """

    LOSS, LOSS_WORD = "train/flow_matching_loss", "flow matching loss "

    def __init__(self, flow: CNF, teacher: CNF, **options: Any) -> None:
        super().__init__(flow, teacher, **options)
        teacher.ode.solver = flow.ode.solver

    def bits_per_dim(self, batch: Batch) -> Tensor:
        """In training the loss of as many samples of the teacher, (B,); in validation bits per dimension of images."""
        if not self.flow.training:
            return super().bits_per_dim(batch)
        student, teacher = cast(CNF, self.flow), cast(CNF, self.teacher)
        n, first = len(batch.positions), int(batch.positions[0])
        latents, cond = student.sample_latents(n, 1.0, self.seed, first), classes(student, n, first)
        with torch.no_grad():
            x = teacher.inverse(latents, cond)
        return flow_matching_loss(student, x, self.seed, batch.positions, cond, start=latents[0])

    def loss_text(self, loss: float) -> str:
        return f"{self.LOSS_WORD}{loss:.4f}"


@dataclass(frozen=True)
class Straightened:
    """The distances from the teacher's samples by steps of Euler's method, of both flows.

    Attributes:
        student: root mean squares, in standard deviations of the data, by ``STEPS``.
        teacher: the same of the teacher itself.
        exact: the solver with which the samples were drawn.
    """

    student: list[float]
    teacher: list[float]
    exact: Solver

    def metrics(self) -> dict[str, float]:
        """The figures, for the card of a model."""
        return {
            f"reflow/{name}_euler_{n}": value
            for name, values in (("student", self.student), ("teacher", self.teacher))
            for n, value in zip(STEPS, values, strict=True)
        }

    def text(self) -> str:
        """Formats the figures as a small table."""
        rows = [f"{'solver':<10}{'student':>9}{'teacher':>9}"]
        for n, ours, theirs in zip(STEPS, self.student, self.teacher, strict=True):
            rows.append(f"{f'euler:{n}':<10}{ours:>9.3f}{theirs:>9.3f}")
        return f"distance from the teacher's samples ({self.exact}), in standard deviations of the data:\n" + "\n".join(
            rows
        )


@torch.no_grad()
def measure_straightness(student: CNF, teacher: CNF, n: int, seed: int, batch_size: int) -> Straightened:
    """Measures how far few steps of Euler's method take both from the teacher's samples, with the same latents.

    Args:
        student: the flow that was trained, in evaluation mode.
        teacher: the flow that it was trained on.
        n: number of samples.
        seed: seed of their latents.
        batch_size: samples that are drawn at a time.
    """
    squares = torch.zeros(2, len(STEPS), dtype=torch.float64)
    for done in range(0, n, batch_size):
        count = min(batch_size, n - done)
        latents = student.sample_latents(count, 1.0, seed, FIRST + done)
        cond = classes(student, count, FIRST + done)
        wanted, _ = student.standardisation(teacher.inverse(latents, cond))
        for row, flow in enumerate((student, teacher)):
            for column, steps in enumerate(STEPS):
                found, _ = student.standardisation(by_euler(flow, steps, latents, cond))
                squares[row, column] += (found - wanted).double().square().sum().item()
    ours, theirs = (squares / (n * student.n_dims)).sqrt().tolist()
    return Straightened(ours, theirs, teacher.ode.solver)


def by_euler(flow: CNF, n_steps: int, latents: list[Tensor], cond: Tensor | None) -> Tensor:
    """Decodes latents by equal steps of Euler's method: (B, C, H, W)."""
    own = flow.ode.solver
    flow.ode.solver = replace(own, method="euler", n_steps=n_steps)
    try:
        return flow.inverse(latents, cond)
    finally:
        flow.ode.solver = own


@torch.no_grad()
def conclude_reflow(module: Reflow, config: TrainConfig, run_folder: Path, console: Console) -> dict[str, float]:
    """Prints and returns how few steps the student needs, and draws what both make of the same latents in one step.

    Args:
        module: the module that was trained, with the weights to measure.
        config: all options.
        run_folder: folder of the run, which gets the picture.
        console: where to write.
    """
    student, teacher = cast(CNF, module.flow.eval()), cast(CNF, module.teacher)
    student.set_conditioner_dtype(None)
    teacher.to(student.initialized.device)
    of_points = config.data.n_bits is None
    n, batch_size = (POINTS, POINTS) if of_points else (IMAGES, config.trainer.batch_size)
    reached = measure_straightness(student, teacher, n, config.seed, batch_size)
    say(console, f"\n{reached.text()}")
    if of_points:
        both = [
            density.portrait(flow, torch.empty(0, 2), SQUARE, SHOWN_POINTS, seed=config.seed)
            for flow in (teacher, student)
        ]
        picture = density_figures.side_by_side(both[0], both[1], ("teacher", "student"))
    else:
        latents = student.sample_latents(SHOWN_IMAGES, 1.0, config.seed, FIRST)
        cond = classes(student, SHOWN_IMAGES, FIRST)
        rows = [teacher.inverse(latents, cond), *(by_euler(flow, 1, latents, cond) for flow in (teacher, student))]
        pixels = quantize(torch.nan_to_num(torch.cat(rows)), config.data.n_bits)
        labels = ["teacher", "teacher, euler:1", "student, euler:1"]
        picture = figures.grid(pixels, SHOWN_IMAGES, row_labels=labels)
    figures.save_png(picture, run_folder / PICTURE)
    return reached.metrics()
