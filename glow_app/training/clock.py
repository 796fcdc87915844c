"""The length of a run: a number of updates or of seconds, after which its schedule ends, or until it is of no use."""

from time import monotonic
from typing import Any

import pytorch_lightning as pl
import torch
from torch.optim import Optimizer

from glow_app.runtime import distributed

ENDLESS = 2**40
"""More updates than any run makes."""


class Clock(pl.Callback):
    """Counts the seconds of a run, and ends it at the first update after ``max_seconds``; also counts validations.

    The seconds are wall-clock time from the first update on. They include validations and sample grids, but not the
    time in which the run was stopped. They are read once per update, are the same on all ranks, and are saved in the
    checkpoint, so that a resumed run continues its schedule.

    Args:
        max_steps: updates of the whole run; ignored if ``max_seconds`` is given.
        max_seconds: seconds of the whole run; None for a run measured in updates.
        patience: validations without a better figure that end the run early; None if none do.

    Attributes:
        seconds: seconds of training up to the last update.
        waited: validations since the best one.
    """

    def __init__(self, max_steps: int, max_seconds: float | None, patience: int | None = None) -> None:
        super().__init__()
        self.max_steps = max_steps
        self.max_seconds = max_seconds
        self.patience = patience
        self.seconds = 0.0
        self.waited = 0
        self._before = 0.0  # seconds of the run before this process
        self._started = 0.0

    @property
    def most_steps(self) -> int:
        """The largest number of updates that the run can make."""
        return self.max_steps if self.max_seconds is None else ENDLESS

    @property
    def length(self) -> str:
        """The length of the whole run, in words."""
        return f"{self.max_steps:,} steps" if self.max_seconds is None else f"{self.max_seconds:g} seconds"

    def count(self, step: int) -> str:
        """The progress after ``step`` updates and the length of the run, as one text."""
        if self.max_seconds is None:
            return f"{step:,}/{self.max_steps:,}"
        return f"{self.seconds:.0f}/{self.max_seconds:g} s"

    @property
    def ends_early(self) -> bool:
        """Returns whether ``patience`` has been exhausted."""
        return self.patience is not None and self.waited >= self.patience

    @property
    def limit(self) -> tuple[str, float]:
        """The option that ends the run, and its value."""
        if self.patience is not None and self.ends_early:
            return "patience", self.patience
        return ("max_steps", self.max_steps) if self.max_seconds is None else ("max_seconds", self.max_seconds)

    def is_over(self, step: int) -> bool:
        """Returns whether nothing is left to train after ``step`` updates."""
        if self.ends_early:
            return True
        return step >= self.max_steps if self.max_seconds is None else self.seconds >= self.max_seconds

    def part(self, step: int, first: float = 0.0) -> float:
        """The fraction of the run that is over after update ``step``, from 0 to 1.

        It is counted from update ``first``, or from the beginning if the run is measured in seconds.
        """
        if self.max_seconds is None:
            part = (step - first) / max(1.0, self.max_steps - first)
        else:
            part = self.seconds / self.max_seconds
        return min(1.0, max(0.0, part))

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # Otherwise Lightning, which only counts steps, would make another update of a run that has ended.
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
            trainer.should_stop = True  # Lightning validates and stops

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": self.seconds, "waited": self.waited}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.seconds = float(state_dict["seconds"])
        self.waited = int(state_dict.get("waited", 0))  # older checkpoints have none
