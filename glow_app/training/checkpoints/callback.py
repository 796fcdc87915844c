"""Decides when a run saves a checkpoint, which checkpoints it keeps, and where it stops on a signal."""

import copy
import math
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import torch.distributed as dist
from pytorch_lightning.trainer.states import TrainerFn
from rich.console import Console

from glow_app.errors import UserError
from glow_app.runtime.atomic import CannotWrite, remove_unfinished
from glow_app.runtime.console import say
from glow_app.training.after_update import AfterUpdate, is_last_step
from glow_app.training.checkpoints.format import checkpoint_path, checkpoints_of, is_finite
from glow_app.training.checkpoints.signals import Interrupted, Signals
from glow_app.training.clock import Clock
from glow_app.training.loggers.metrics import MetricsCSV
from glow_app.training.module import GlowModule
from glow_app.units import unit_of

KEPT_CHECKPOINTS = 2

OURS = "glow_app"
"""Key of a checkpoint's content that is not Lightning's."""


class Checkpoints(AfterUpdate):
    """Saves checkpoints, and stops the run when a signal asks for it.

    A checkpoint is saved every ``every`` steps, every ``minutes``, after the best validation so far, at the end, and
    before a stop. The newest two are kept, and the one with the best validation.

    It is written between two steps, when the first one is complete: the rows of metrics.csv are written, the grids
    drawn, the validation over. So a resumed run repeats what was lost and nothing else. Only a validation that a signal
    interrupts is missing; the checkpoint records that, and the resumed run begins with it.

    Args:
        run_folder: folder of the run.
        every: steps between two checkpoints.
        minutes: minutes between two checkpoints.
        clock: clock of the run, which is told of better validations, and may end the run at one that is none.
        signals: signals that ask the run to stop.
        console: where to report a checkpoint that could not be written.

    Attributes:
        restored: whether training has begun, so that any checkpoint to resume from has been restored.
    """

    def __init__(
        self, run_folder: Path, every: int, minutes: float, clock: Clock, signals: Signals, console: Console
    ) -> None:
        super().__init__()
        self.run_folder = run_folder
        self.every = every
        self.minutes = minutes
        self.clock = clock
        self.signals = signals
        self.console = console
        self.restored = False
        self._best: tuple[float, int] | None = None  # bits per dimension, step
        self._reached: tuple[float, int] | None = None  # a better validation, not yet saved
        self._progress: dict[str, Any] | None = None  # state of Lightning's loops to resume from; None: nothing is new
        self._validating = False
        self._saved: tuple[int, bool] = (0, False)  # step, and whether its validation is missing
        self._saved_at = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        self.restored = True
        self.signals.install()
        self._saved_at = time.monotonic()
        if trainer.is_global_zero:
            remove_unfinished(self.run_folder)
            for later in checkpoints_of(self.run_folder):
                if later > checkpoint_path(self.run_folder, trainer.global_step):
                    # The run resumed from an earlier step: this one must not be resumed from by mistake.
                    later.rename(later.with_name(f"abandoned_{later.name}"))

    def after_update(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # Lightning's counters resume correctly from a state taken here, but not from one taken between two steps.
        self._progress = copy.deepcopy(trainer.fit_loop.state_dict())

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._between_steps(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._between_steps(trainer)
        if self.clock.ends_early:
            assert isinstance(pl_module, GlowModule)
            unit, best = unit_of(pl_module.n_bits), "none was finite"
            if self._best is not None:
                best = f"the best was at step {self._best[1]:,}, {unit.figure(self._best[0])} {unit.name}"
            n = self.clock.waited
            say(self.console, f"stopped early at step {trainer.global_step:,}: no better validation in {n}; {best}")

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.signals.install()
        self._validating = trainer.state.fn == TrainerFn.FITTING

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        # Ranks may have different numbers of batches, so they stop together at the end of the validation.
        if self.signals.asked and self._validating and trainer.world_size == 1:
            raise Interrupted(self.signals.asked)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._validating:
            self._validating = False
            value = float(trainer.callback_metrics["val/bits_per_dim"])
            if math.isfinite(value) and (self._best is None or value < self._best[0]):
                self._reached = (value, trainer.global_step)
                self.clock.waited = 0
            else:
                self.clock.waited += 1
                trainer.should_stop = trainer.should_stop or self.clock.ends_early

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        if isinstance(exception, Interrupted) and self._validating:
            self._save(trainer)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if not is_finite(checkpoint):
            raise UserError(
                f"step {trainer.global_step}: weights, their averages or the optimizer are not finite: not saved; "
                f"{self._last()}; try a smaller optim.lr or, for a Glow, model.scale=bounded"
            )
        checkpoint["loops"]["fit_loop"] = self._progress
        best = self._reached or self._best
        checkpoint[OURS] = {"best": list(best) if best else None, "validation_missing": self._validating}

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        ours, progress = checkpoint[OURS], checkpoint["loops"]["fit_loop"]
        if ours["best"] is not None:
            value, step = ours["best"]
            self._best = float(value), int(step)
        self._saved = int(checkpoint["global_step"]), bool(ours["validation_missing"])
        if self.validation_missing:
            self._progress = copy.deepcopy(progress)
            _rewind_to_validation(progress)

    @property
    def saved_step(self) -> int:
        """The step of the newest checkpoint."""
        return self._saved[0]

    @property
    def validation_missing(self) -> bool:
        """Returns whether the newest checkpoint was written during a validation, by a run that was asked to stop."""
        return self._saved[1]

    def _between_steps(self, trainer: pl.Trainer) -> None:
        if self._progress is None:  # no update since the last call: batches are accumulated
            return
        step = trainer.global_step
        late = time.monotonic() - self._saved_at >= 60 * self.minutes
        asked, late = _max_over_ranks(trainer, self.signals.asked, late)
        if (
            step % self.every == 0
            or is_last_step(trainer)
            or self._reached is not None
            or late
            or asked
            or self.validation_missing
        ):
            self._save(trainer)
        self._progress = None
        if asked:
            raise Interrupted(asked)

    def _save(self, trainer: pl.Trainer) -> None:
        state = (trainer.global_step, self._validating)
        if state == self._saved or self._progress is None:
            return
        self._saved_at = time.monotonic()
        for logger in trainer.loggers:
            if isinstance(logger, MetricsCSV):
                logger.sync()  # a checkpoint must not be ahead of the file
        failed = False
        try:
            trainer.save_checkpoint(checkpoint_path(self.run_folder, trainer.global_step))
        except CannotWrite as error:
            failed = True
            say(self.console, f"step {trainer.global_step:>7,}   {error}; {self._last()}")
            trainer.strategy.barrier("Trainer.save_checkpoint")  # where the other processes wait
        failed = bool(_max_over_ranks(trainer, int(failed), False)[0])
        if not failed:
            self._saved = state
            self._best = self._reached or self._best
            if trainer.is_global_zero:
                self._rotate()
        self._reached = None

    def _rotate(self) -> None:
        kept = checkpoints_of(self.run_folder)[-KEPT_CHECKPOINTS:]
        if self._best is not None:
            kept.append(checkpoint_path(self.run_folder, self._best[1]))
        for old in checkpoints_of(self.run_folder):
            if old not in kept:
                old.unlink(missing_ok=True)

    def _last(self) -> str:
        kept = checkpoints_of(self.run_folder)
        return f"the last good checkpoint is {kept[-1]}" if kept else "no checkpoint was written yet"


def _max_over_ranks(trainer: pl.Trainer, number: int, flag: bool) -> tuple[int, bool]:
    """The largest number, and whether any flag is set, over all ranks."""
    if trainer.world_size == 1:
        return number, flag
    both = torch.tensor([number, int(flag)], device=trainer.strategy.root_device)
    dist.all_reduce(both, dist.ReduceOp.MAX)
    return int(both[0]), bool(both[1])


def _rewind_to_validation(fit_loop: dict[str, Any]) -> None:
    """Changes the state of Lightning's loops after a step into that of a validation interrupted in its first batch.

    Lightning then repeats the validation from its beginning before it continues training.
    """
    progress = fit_loop["epoch_loop.val_loop.batch_progress"]
    done = progress["total"]["completed"]
    progress["total"] |= {"ready": done + 1, "started": done + 1, "processed": done, "completed": done}
    progress["current"] |= {"ready": 1, "started": 1, "processed": 0, "completed": 0}
    fit_loop["epoch_loop.state_dict"]["_batches_that_stepped"] -= (
        1  # Lightning counts the step again after the validation
    )
