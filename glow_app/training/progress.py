"""The progress bar and the lines that are printed while a model trains."""

import time
from datetime import timedelta
from typing import Any

import pytorch_lightning as pl
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from glow_app.data.stream import Batch
from glow_app.runtime.console import say
from glow_app.training.after_update import figures_are_due, is_last_step
from glow_app.training.clock import Clock
from glow_app.training.module import GlowModule
from glow_app.units import Unit, unit_of


class ProgressReport(pl.Callback):
    """Shows a bar with bits/dim, images/s and the time left, and prints one line per validation.

    Images per second are measured over the last stretch, without validation, and logged as
    ``speed/images_per_second``. If the output is not a terminal, a line every ``log_every`` seconds replaces the bar.

    Args:
        console: where to write.
        clock: clock of the run, for its progress.
        log_every: seconds between two lines.
    """

    STRETCH = 5.0
    """Seconds over which the speed is measured."""

    def __init__(self, console: Console, clock: Clock, log_every: float) -> None:
        super().__init__()
        self.log_every = log_every
        self._logged = self._began = time.perf_counter()
        self._part = 0.0
        self.console = console
        self.clock = clock
        self._progress = Progress(
            TextColumn("[bold]training"),
            BarColumn(bar_width=28),
            TextColumn("[progress.download]{task.fields[count]}"),
            TextColumn("{task.fields[status]}"),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("training", status="", count="", total=1.0)
        self._smoothed: float | None = None
        self._images = 0
        self._since = 0.0
        self._last_end = 0.0
        self.images_per_second = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.is_global_zero:
            self._progress.start()
            self._show(trainer, pl_module)
        self._last_end = self._began = time.perf_counter()
        self._part = self.clock.part(trainer.global_step)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        self._images += len(batch.images) * trainer.world_size

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self.images_per_second and figures_are_due(trainer, trainer.global_step):
            pl_module.log("speed/images_per_second", self.images_per_second)
        now = time.perf_counter()
        self._since += now - self._last_end
        self._last_end = now
        if self._since < self.STRETCH and not is_last_step(trainer):
            self._show(trainer, pl_module)
            self._log_training(trainer, pl_module)
            return
        assert isinstance(pl_module, GlowModule)
        self.images_per_second = self._images / self._since
        self._images, self._since = 0, 0.0
        if pl_module.last_loss is not None:  # the first update may still be accumulated, or was left out
            loss = pl_module.last_loss.item()
            self._smoothed = loss if self._smoothed is None else 0.7 * self._smoothed + 0.3 * loss
        self._show(trainer, pl_module)
        self._log_training(trainer, pl_module)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._since += time.perf_counter() - self._last_end

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        (n_batches,) = trainer.num_val_batches
        self._log(trainer, f"validation: {batch_idx + 1:,} of {n_batches:,} batches")

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._last_end = time.perf_counter()
        metrics = trainer.callback_metrics
        if trainer.is_global_zero and "val/bits_per_dim" in metrics:
            assert isinstance(pl_module, GlowModule)
            unit = _unit(pl_module)
            speed = f"   {self.images_per_second:,.0f} {unit.things}/s" if self.images_per_second else ""
            reached, error = (metrics[f"val/{key}"].item() for key in ("bits_per_dim", "standard_error"))
            self._logged = time.perf_counter()
            self.console.print(
                f"step {trainer.global_step:>7,}   validation {unit.with_error(reached, error)} {unit.name}   "
                f"{pl_module.validated_text(metrics)}{speed}",
                highlight=False,
                soft_wrap=True,
            )

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._progress.stop()

    def _show(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        step, status = trainer.global_step, "  ".join(self._figures(module))
        self._progress.update(self._task, completed=self.clock.part(step), count=self.clock.count(step), status=status)

    def _figures(self, module: pl.LightningModule) -> list[str]:
        if self._smoothed is None:
            return []
        assert isinstance(module, GlowModule)
        unit = _unit(module)
        return [
            module.loss_text(self._smoothed),
            f"{self.images_per_second:,.0f} {unit.things}/s",
        ]

    def _log_training(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        part = self.clock.part(trainer.global_step)
        figures = [f"training {self.clock.count(trainer.global_step)}", *self._figures(module)]
        if part > self._part:
            seconds = (time.perf_counter() - self._began) * (1 - part) / (part - self._part)
            figures.append(f"{timedelta(seconds=round(seconds))} left")
        self._log(trainer, "   ".join(figures))

    def _log(self, trainer: pl.Trainer, text: str) -> None:
        """Prints a line unless a bar is shown, or a line was printed in the last ``log_every`` seconds."""
        now = time.perf_counter()
        if trainer.is_global_zero and not self.console.is_terminal and now - self._logged >= self.log_every:
            self._logged = now
            say(self.console, f"step {trainer.global_step:>7,}   {text}")


def _unit(module: pl.LightningModule) -> Unit:
    assert isinstance(module, GlowModule)
    return unit_of(module.n_bits)
