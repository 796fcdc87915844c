"""What accompanies training: checkpoints, a clean end on Ctrl-C."""

import signal
from pathlib import Path
from types import FrameType
from typing import Any

import pytorch_lightning as pl
import torch
from torch.optim import Optimizer

from glow_app.training.checkpoint import checkpoint_path, checkpoints_of
from glow_app.training.module import GlowModule

KEPT_CHECKPOINTS = 2


class Interrupted(Exception):
    """Somebody pressed Ctrl-C; the checkpoint is written."""


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


class Checkpoints(AfterUpdate):
    """Saves every ``every`` steps and at the end; the newest two are kept.

    Args:
        run_folder: folder of the run.
        every: steps between two.
    """

    def __init__(self, run_folder: Path, every: int) -> None:
        super().__init__()
        self.run_folder = run_folder
        self.every = every
        self._saved_step = -1

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        self._saved_step = trainer.global_step  # it has just been loaded, or there is nothing yet
        if trainer.is_global_zero:
            for later in checkpoints_of(self.run_folder):
                if later > checkpoint_path(self.run_folder, trainer.global_step):
                    # Of a course that the run has left by resuming before it: not to be resumed from by mistake.
                    later.rename(later.with_name(f"abandoned_{later.name}"))

    def after_update(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.global_step % self.every == 0 or trainer.global_step == trainer.max_steps:
            self._save(trainer)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        if isinstance(exception, Interrupted):
            self._save(trainer)

    def _save(self, trainer: pl.Trainer) -> None:
        if trainer.global_step == self._saved_step:
            return
        self._saved_step = trainer.global_step
        trainer.save_checkpoint(checkpoint_path(self.run_folder, trainer.global_step))
        if trainer.is_global_zero:
            for old in checkpoints_of(self.run_folder)[:-KEPT_CHECKPOINTS]:
                old.unlink()




class LearningRate(pl.Callback):
    """Logs the learning rate of the update that is about to be made."""

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        pl_module.log("train/lr", optimizer.param_groups[0]["lr"])


class CleanInterrupt(AfterUpdate):
    """Ctrl-C ends the run after the current step, with a checkpoint; a second Ctrl-C ends it at once."""

    def __init__(self) -> None:
        super().__init__()
        self._asked = False
        self._previous: Any = None

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._previous = signal.signal(signal.SIGINT, self._ask)

    def after_update(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._stop_if_asked()

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._stop_if_asked()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._stop_if_asked()

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)
            self._previous = None

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True

    def _stop_if_asked(self) -> None:
        if self._asked:
            raise Interrupted
