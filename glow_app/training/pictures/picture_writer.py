"""The picture writer of a run, for its folder and its loggers; and when its pictures are drawn."""

from collections.abc import Sequence
from pathlib import Path

import pytorch_lightning as pl
from PIL.Image import Image as Picture
from pytorch_lightning.loggers import Logger
from rich.console import Console

from glow_app import figures
from glow_app.flows.search import SearchFailed
from glow_app.runtime.atomic import CannotWrite
from glow_app.runtime.console import say
from glow_app.training.after_update import AfterUpdate, is_last_step
from glow_app.training.loggers.make import log_picture
from glow_app.training.module import GlowModule


class PictureWriter:
    """Saves pictures as ``samples/step_<step>_<suffix>.png``, and passes them to the loggers that accept pictures.

    Args:
        run_folder: folder of the run.
        console: where to report a file that cannot be written, which does not stop training.
    """

    def __init__(self, run_folder: Path, console: Console) -> None:
        self.run_folder = run_folder
        self.console = console

    def write(
        self, picture: Picture, step: int, suffix: str, loggers: Sequence[Logger], name: str, caption: str = ""
    ) -> None:
        """Writes one picture of a step; ``name``, such as ``samples/T0.70``, and ``caption`` are for the loggers."""
        log_picture(loggers, name, picture, step, caption)
        try:
            figures.save_png(picture, self.run_folder / "samples" / f"step_{step:08d}_{suffix}.png")
        except CannotWrite as error:
            say(self.console, f"step {step:>7,}   {error}")


class Pictures(AfterUpdate):
    """Calls :meth:`draw_all` every ``every`` steps and after the last one, on rank 0.

    A run that a validation ends early has made its last update before anybody knew: it is drawn at the end.
    """

    writer: PictureWriter
    every: int
    _undrawn = False

    def after_update(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._undrawn = bool(trainer.global_step % self.every) and not is_last_step(trainer)
        if not self._undrawn:
            self._draw_on_rank_zero(trainer, pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._undrawn:
            self._draw_on_rank_zero(trainer, pl_module)

    def _draw_on_rank_zero(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, GlowModule)
        if trainer.is_global_zero:
            step = trainer.global_step
            try:
                self.draw_all(trainer, pl_module, step)
            except SearchFailed as error:
                say(self.writer.console, f"step {step:>7,}   a picture is not drawn: {error}")

    def draw_all(self, trainer: pl.Trainer, module: GlowModule, step: int) -> None:
        """Draws and writes the pictures of this step."""
        raise NotImplementedError
