"""Distillation: training a flow to have the density of another, on its own samples."""

import math
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

from glow_app import figures
from glow_app.config.train import TrainConfig
from glow_app.data.stream import Batch
from glow_app.evaluation import density, density_figures
from glow_app.evaluation.density import as_points
from glow_app.flows import Flow
from glow_app.likelihood import quantize
from glow_app.runtime.console import say
from glow_app.training.distillation.density import DensityTeacher, measure_fitted
from glow_app.training.distillation.measure import FIRST, classes, log_ratios, measure_distilled
from glow_app.training.module import GlowModule
from glow_app.training.optim import annealed_weight

PICTURE = "distilled.png"
"""File of a run that shows student and teacher side by side."""

POINTS, IMAGES = 50_000, 1_000
"""Samples of which the divergence is measured."""

POINTS_TOGETHER = 10_000

SHOWN_POINTS, SHOWN_IMAGES = 5_000, 24
SQUARE = density.Square(side=10.0, cells=200)


class Distillation(GlowModule):
    """Trains a flow, the student, on KL(student || teacher), in bits per dimension.

    Each batch is as many samples of the student as it has images, which themselves are ignored: each is a function of
    (seed, its position in the stream), so a run resumes to the same bits. Van den Oord et al. 2018. Validation is that
    of other training: bits per dimension of data.

    Args:
        flow: the student, initialised.
        teacher: the teacher.
        anneal_steps: updates over which the weight of ``log p`` rises from 0.01 to 1, before which the loss
            is not the divergence; 0: it is 1.
        options: those of :class:`glow_app.training.module.GlowModule`.
    """

    LOSS, LOSS_WORD = "train/kl_bits_per_dim", "KL "

    def __init__(self, flow: Flow, teacher: Flow | DensityTeacher, anneal_steps: int = 0, **options: Any) -> None:
        super().__init__(flow, **options)
        # As a submodule it would be trained, saved and averaged.
        self._teacher = (teacher.requires_grad_(False),)
        self.anneal_steps = anneal_steps

    @property
    def teacher(self) -> Flow | DensityTeacher:
        """The teacher, in evaluation mode."""
        return self._teacher[0]

    def on_train_start(self) -> None:
        super().on_train_start()
        self.teacher.to(self.device)

    def bits_per_dim(self, batch: Batch) -> Tensor:
        """In training ``log q(x) - log p(x)`` of as many samples of the student, (B,); in validation that of images."""
        if not self.flow.training:
            return super().bits_per_dim(batch)
        first = int(batch.positions[0])
        weight = annealed_weight(self.global_step, self.anneal_steps)
        ratios = log_ratios(self.flow, self.teacher, len(batch.positions), self.seed, first, weight=weight)
        return ratios / (self.flow.n_dims * math.log(2))


@torch.no_grad()
def conclude_distillation(
    module: Distillation, config: TrainConfig, run_folder: Path, console: Console
) -> dict[str, float]:
    """Prints and returns how near the student is to the teacher and how much faster, and draws both side by side.

    A density by formula has no speed; instead divergences are computed on a grid too.

    Args:
        module: the module that was trained, with the weights to measure.
        config: all options.
        run_folder: folder of the run, which gets the picture.
        console: where to write.
    """
    student, teacher = module.flow.eval(), module.teacher
    student.set_conditioner_dtype(None)
    teacher.to(student.initialized.device)
    if isinstance(teacher, DensityTeacher):
        return _conclude_fit(student, teacher, config, run_folder, console)
    of_points = config.data.n_bits is None
    n, batch_size = (POINTS, POINTS_TOGETHER) if of_points else (IMAGES, config.trainer.batch_size)
    reached = measure_distilled(student, teacher, n, config.seed, batch_size)
    say(console, f"\n{reached.text(config.data.n_bits)}")
    names = f"teacher ({teacher.kind})", f"student ({student.kind})"
    if of_points:
        both = [
            density.portrait(flow, torch.empty(0, 2), SQUARE, SHOWN_POINTS, seed=config.seed)
            for flow in (teacher, student)
        ]
        picture = density_figures.side_by_side(both[0], both[1], names)
    else:
        cond = classes(student, SHOWN_IMAGES, FIRST)
        drawn = [flow.sample(SHOWN_IMAGES, 1.0, config.seed, cond, FIRST) for flow in (teacher, student)]
        pixels = quantize(torch.nan_to_num(torch.cat(drawn)), config.data.n_bits)
        picture = figures.grid(pixels, SHOWN_IMAGES // 2, row_labels=[names[0], "", names[1], ""])
    figures.save_png(picture, run_folder / PICTURE)
    return reached.metrics()


def _conclude_fit(
    student: Flow, teacher: DensityTeacher, config: TrainConfig, run_folder: Path, console: Console
) -> dict[str, float]:
    reached = measure_fitted(student, teacher, config.seed)
    say(console, f"\n{reached.text()}")
    samples = as_points(config.data.open("test").fetch(range(SHOWN_POINTS)))
    ours = density.portrait(student, torch.empty(0, 2), SQUARE, SHOWN_POINTS, seed=config.seed)
    names = f"density ({teacher.kind})", f"student ({student.kind})"
    picture = density_figures.side_by_side(teacher.portrait(samples, SQUARE), ours, names)
    figures.save_png(picture, run_folder / PICTURE)
    return reached.metrics()
