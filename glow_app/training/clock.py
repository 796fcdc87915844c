"""How long a run is: a number of updates, or a number of seconds, after which its schedule has come to its end."""

from time import monotonic
from typing import Any

import pytorch_lightning as pl
import torch
from torch.optim import Optimizer

from glow_app.runtime import distributed

ENDLESS = 2**40
"""Updates that no run comes to."""


class Clock(pl.Callback):
    """Counts the seconds of a run, and ends it at the first update after ``max_seconds``.

    The seconds are those of the clock on the wall, from the first update on, with validations and sample grids, without
    the time in which the run was stopped. They are read once an update, are the same in all processes, and travel in
    the checkpoint: a resumed run goes on with the schedule where the checkpoint stands.

    Args:
        max_steps: updates of the whole run; of no meaning where ``max_seconds`` is given.
        max_seconds: of the whole run; None for a run that is measured in updates.

    Attributes:
        seconds: of training so far, at the last update.
    """

    def __init__(self, max_steps: int, max_seconds: float | None) -> None:
        super().__init__()
        self.max_steps = max_steps
        self.max_seconds = max_seconds
        self.seconds = 0.0
        self._before = 0.0  # seconds of the run before this process
        self._started = 0.0

    @property
    def most_steps(self) -> int:
        """Updates that the run makes at most."""
        return self.max_steps if self.max_seconds is None else ENDLESS

    @property
    def length(self) -> str:
        """How long the whole run is, in words."""
        return f"{self.max_steps:,} steps" if self.max_seconds is None else f"{self.max_seconds:g} seconds"

    def count(self, step: int) -> str:
        """How far a run is, after ``step`` updates, of how far it is to come."""
        if self.max_seconds is None:
            return f"{step:,}/{self.max_steps:,}"
        return f"{self.seconds:.0f}/{self.max_seconds:g} s"

    def is_over(self, step: int) -> bool:
        """Whether nothing is left to train after ``step`` updates."""
        return step >= self.max_steps if self.max_seconds is None else self.seconds >= self.max_seconds

    def part(self, step: int, first: float = 0.0) -> float:
        """Of the way from update ``first`` to the end of the run, how much is behind update ``step``: 0 to 1.

        Where the run is measured in seconds, the way from its beginning.
        """
        if self.max_seconds is None:
            part = (step - first) / max(1.0, self.max_steps - first)
        else:
            part = self.seconds / self.max_seconds
        return min(1.0, max(0.0, part))

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # Of a run that has ended, Lightning would else make another update: it knows of steps alone.
        trainer.should_stop = self.is_over(trainer.global_step)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._before, self._started = self.seconds, monotonic()

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        now = self._before + monotonic() - self._started
        if trainer.world_size > 1 and self.max_seconds is not None:
            now = distributed.all_reduce_mean(torch.tensor(now, dtype=torch.float64, device=pl_module.device)).item()
        self.seconds = now

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self.max_seconds is not None and self.seconds >= self.max_seconds:
            trainer.should_stop = True  # Lightning validates, and is done

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.seconds = float(state_dict["seconds"])
