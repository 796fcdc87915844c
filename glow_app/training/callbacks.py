"""What accompanies training: checkpoints, sample grids, a clean end on Ctrl-C."""

import signal
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from types import FrameType
from typing import Any

import pytorch_lightning as pl
import torch
from rich.console import Console
from torch.optim import Optimizer

from glow_app import figures
from glow_app.likelihood import quantize
from glow_app.progress import say
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


class SampleGrids(AfterUpdate):
    """Draws ``samples/step_*_T*.png``: the same latents every time, so that one sees the same pictures improve.

    Args:
        run_folder: folder of the run.
        every: steps between two; the last step is always drawn.
        temperatures: one grid for each.
        n: images in a grid.
        seed: of the latents.
        weights: inside of what it gives, the flow has the weights to draw with.
        console: where to say that samples are not finite, and so not drawn.
    """

    def __init__(
        self,
        run_folder: Path,
        every: int,
        temperatures: list[float],
        n: int,
        seed: int,
        weights: Callable[[], AbstractContextManager[None]],
        console: Console,
    ) -> None:
        super().__init__()
        self.run_folder = run_folder
        self.every = every
        self.temperatures = temperatures
        self.n = n
        self.seed = seed
        self.weights = weights
        self.console = console

    def after_update(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        step = trainer.global_step
        if trainer.is_global_zero and (step % self.every == 0 or step == trainer.max_steps):
            assert isinstance(pl_module, GlowModule)
            with self.weights(), pl_module.float32_evaluation():
                for temperature in self.temperatures:
                    self.draw(pl_module, step, temperature)

    def draw(self, module: GlowModule, step: int, temperature: float) -> None:
        """One grid; nothing but a line if the model's images are not finite (a young model's may overflow)."""
        flow = module.flow
        cond = torch.arange(self.n, device=module.device) % flow.n_classes if flow.n_classes else None
        x = flow.sample(self.n, temperature, self.seed, cond)
        if not torch.isfinite(x).all():
            say(self.console, f"step {step:>7,}   samples at temperature {temperature} are not finite: not drawn")
            return
        path = self.run_folder / "samples" / f"step_{step:08d}_T{temperature:.2f}.png"
        figures.save_png(figures.grid(quantize(x, module.n_bits), columns=8), path)


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
