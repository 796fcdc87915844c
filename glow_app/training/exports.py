"""The model that a run exports after each validation, so that it can be used while it is still being trained."""

from collections.abc import Callable

import pytorch_lightning as pl
from pytorch_lightning.trainer.states import TrainerFn
from rich.console import Console

from glow_app.runtime.atomic import CannotWrite
from glow_app.runtime.console import say


class ModelExports(pl.Callback):
    """Exports the model after each validation; one that cannot be written is reported, and training goes on.

    Args:
        export: exports the model of a step.
        console: where to report.
    """

    def __init__(self, export: Callable[[int], None], console: Console) -> None:
        self.export = export
        self.console = console

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.state.fn != TrainerFn.FITTING or not trainer.is_global_zero:
            return
        try:
            self.export(trainer.global_step)
        except CannotWrite as error:
            say(self.console, f"step {trainer.global_step:>7,}   {error}; the model of an earlier step is kept, if any")
