"""Sample grids while a model trains."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import Logger
from rich.console import Console

from glow_app import figures
from glow_app.likelihood import picture
from glow_app.runtime.console import say
from glow_app.training.module import GlowModule
from glow_app.training.pictures.picture_writer import Pictures, PictureWriter


class SampleGrids(Pictures):
    """Draws ``samples/step_*_T*.png`` from the same latents every time, so that the same pictures improve.

    The loggers receive the same pictures.

    Args:
        writer: picture writer of the run.
        every: steps between two grids; the last step is always drawn.
        temperatures: temperatures, with one grid for each.
        n: number of images in a grid.
        seed: seed of the latents.
        weights: returns a context in which the flow has the weights to draw with.
        console: where to report samples that are not finite and so not drawn.
    """

    def __init__(
        self,
        writer: PictureWriter,
        every: int,
        temperatures: list[float],
        n: int,
        seed: int,
        weights: Callable[[], AbstractContextManager[None]],
        console: Console,
    ) -> None:
        super().__init__()
        self.writer = writer
        self.every = every
        self.temperatures = temperatures
        self.n = n
        self.seed = seed
        self.weights = weights
        self.console = console

    def draw_all(self, trainer: pl.Trainer, module: GlowModule, step: int) -> None:
        with self.weights(), module.float32_evaluation():
            for temperature in self.temperatures:
                self.draw(module, step, temperature, trainer.loggers)

    def draw(self, module: GlowModule, step: int, temperature: float, loggers: Sequence[Logger]) -> None:
        """Draws one grid; only prints a line if its images are not finite, as early in training."""
        flow = module.flow
        cond = torch.arange(self.n, device=module.device) % flow.n_classes if flow.n_classes else None
        x = flow.sample(self.n, temperature, self.seed, cond)
        if not torch.isfinite(x).all():
            say(self.console, f"step {step:>7,}   samples at temperature {temperature} are not finite: not drawn")
            return
        grid = figures.grid(picture(flow, x, module.n_bits), columns=8)
        self.writer.write(grid, step, f"T{temperature:.2f}", loggers, f"samples/T{temperature:.2f}")
