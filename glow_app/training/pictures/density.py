"""Pictures of a flow in the plane while it trains."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytorch_lightning as pl

from glow_app.data.sets.points import Points
from glow_app.evaluation import density_figures
from glow_app.evaluation.density import Square, portrait
from glow_app.training.module import GlowModule
from glow_app.training.pictures.picture_writer import Pictures, PictureWriter

SQUARE = Square(side=10.0, cells=200)
N_POINTS = 5_000


class DensityPlots(Pictures):
    """Draws ``samples/step_*_plane.png``: data, samples, log-density and warped grid, as ``glow-plot2d`` does.

    Args:
        writer: picture writer of the run.
        every: steps between two pictures; the last step is always drawn.
        data: points to show beside the flow's.
        seed: seed of the latents.
        weights: returns a context in which the flow has the weights to draw with.
    """

    def __init__(
        self,
        writer: PictureWriter,
        every: int,
        data: Points,
        seed: int,
        weights: Callable[[], AbstractContextManager[None]],
    ) -> None:
        super().__init__()
        self.writer = writer
        self.every = every
        self.data = data
        self.seed = seed
        self.weights = weights

    def draw_all(self, trainer: pl.Trainer, module: GlowModule, step: int) -> None:
        with self.weights(), module.float32_evaluation():
            shown = portrait(module.flow, self.data.points, SQUARE, N_POINTS, seed=self.seed)
        picture = density_figures.portrait(shown, "log", f"samples, step {step:,}")
        self.writer.write(picture, step, "plane", trainer.loggers, "samples/plane")
