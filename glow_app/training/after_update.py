"""What accompanies training."""

from typing import Any

import pytorch_lightning as pl
from torch.optim import Optimizer


def figures_are_due(trainer: pl.Trainer, step: int) -> bool:
    """Whether Lightning writes the figures of update ``step``, from 1 on: to hand it others takes time for nothing."""
    every: int = trainer.log_every_n_steps  # pyright: ignore[reportAttributeAccessIssue]  # it is set, not declared
    return step % every == 0


def is_last_step(trainer: pl.Trainer) -> bool:
    """Whether the update that has just been made is the last one of the run."""
    return trainer.should_stop or trainer.global_step == trainer.max_steps


class AfterUpdate(pl.Callback):
    """Does something after every update of the weights: not between batches whose gradients are accumulated.

    Whoever overrides ``on_train_start`` calls this one too.
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
        """Called when ``trainer.global_step`` has just grown by one."""
        raise NotImplementedError


class LearningRate(pl.Callback):
    """Logs the learning rate of the update that is about to be made."""

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        if figures_are_due(trainer, trainer.global_step + 1):
            pl_module.log("train/lr", optimizer.param_groups[0]["lr"])
