"""Helpers and base classes for the callbacks of a run."""

from typing import Any

import pytorch_lightning as pl
from torch.optim import Optimizer


def figures_are_due(trainer: pl.Trainer, step: int) -> bool:
    """Returns whether Lightning writes the metrics of update ``step``, from 1 on: logging others only takes time."""
    every: int = trainer.log_every_n_steps  # pyright: ignore[reportAttributeAccessIssue]  # set, but not declared
    return step % every == 0


def is_last_step(trainer: pl.Trainer) -> bool:
    """Returns whether the update that has just been made is the last one of the run."""
    return trainer.should_stop or trainer.global_step == trainer.max_steps


class AfterUpdate(pl.Callback):
    """Calls :meth:`after_update` after every update of the weights, not after every accumulated batch.

    A subclass that overrides ``on_train_start`` must call this one.
    """

    _step = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._step = trainer.global_step

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step != self._step:
            self._step = trainer.global_step
            self.after_update(trainer, pl_module)

    def after_update(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Runs when ``trainer.global_step`` has just grown by one."""
        raise NotImplementedError


class LearningRate(pl.Callback):
    """Logs the learning rate of the next update."""

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        if figures_are_due(trainer, trainer.global_step + 1):
            pl_module.log("train/lr", optimizer.param_groups[0]["lr"])
