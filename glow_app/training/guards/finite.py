"""Stops a run, or leaves an update out, when the loss or its gradient is not finite."""

import math
from pathlib import Path
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from rich.console import Console
from torch import Tensor
from torch.optim import Optimizer

from glow_app.data.stream import Batch
from glow_app.errors import UserError
from glow_app.runtime import distributed
from glow_app.runtime.console import say
from glow_app.training.after_update import figures_are_due
from glow_app.training.checkpoints.format import checkpoints_of
from glow_app.training.fast.cuda_graph import CapturedAdam
from glow_app.training.guards.diagnose import examine
from glow_app.training.module import GlowModule
from glow_app.training.optim import gradient_norm

HELP = "try a smaller optim.lr, a longer optim.warmup_images or, for a Glow, model.scale=bounded"


class FiniteGuard(pl.Callback):
    """Prevents updates with a loss or gradient that is not finite, on any rank and in any accumulated batch.

    All ranks decide the same at the same step: to stop, or, with ``nonfinite="skip"``, to leave the update out. The
    step is still counted, so the stream of images continues. Logs the loss over all images of the last update that was
    made, and its gradient norm; with ``skip`` also the number of updates left out so far.

    The device itself leaves out captured updates. The host checks them when the next one is about to be made, so the
    device need not wait for the host. No checkpoint is written and nothing is validated in between.

    Args:
        run_folder: folder of the run.
        nonfinite: ``stop`` or ``skip``.
        limit: number of updates left out in a row that stops the run even so.
        console: where to report an update that was left out.
    """

    def __init__(self, run_folder: Path, nonfinite: str, limit: int, console: Console) -> None:
        super().__init__()
        self.run_folder = run_folder
        self.nonfinite = nonfinite
        self.limit = limit
        self.console = console
        self.skipped = 0
        self.in_a_row = 0
        self._batches: list[Batch] = []
        self._losses: list[Tensor] = []
        self._norm = torch.tensor(math.nan)  # of the update of the module's last loss
        self._pending: _PendingCheck | None = None

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        self._batches.append(batch)

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:
        self._losses.append(loss.detach())  # divided by the number of accumulated batches

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        assert isinstance(pl_module, GlowModule)
        self._check_pending()
        loss = distributed.all_reduce_mean(torch.stack(self._losses).sum())
        norm = pl_module.gradient_norm = gradient_norm(optimizer)
        due = figures_are_due(trainer, trainer.global_step + 1)
        good = torch.isfinite(norm + loss)
        batches = self._batches
        self._batches, self._losses = [], []
        if isinstance(optimizer, CapturedAdam):
            optimizer.found_inf.copy_(~good)
            if pl_module.last_loss is not None and not due:
                pl_module.last_loss = torch.where(good, loss, pl_module.last_loss)
                self._norm = torch.where(good, norm, self._norm)
                self._pending = _PendingCheck.start(trainer.global_step, loss, norm, pl_module, batches)
                return
        if good:  # the only point of a step that waits for the device
            self.in_a_row = 0
            pl_module.last_loss, self._norm = loss, norm
        else:
            self._refuse(trainer.global_step, loss, norm, pl_module, batches)
            for parameter in pl_module.flow.parameters():
                parameter.grad = None  # optimizers skip parameters without gradients, and their averages
        if due and pl_module.last_loss is not None:
            pl_module.log(pl_module.LOSS, pl_module.last_loss)
            pl_module.log("train/gradient_norm", self._norm)
        if due and self.nonfinite == "skip":
            pl_module.log("train/skipped", float(self.skipped))

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._check_pending()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._check_pending()

    def state_dict(self) -> dict[str, Any]:
        self._check_pending()
        return {"skipped": self.skipped, "in_a_row": self.in_a_row}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.skipped, self.in_a_row = state_dict["skipped"], state_dict["in_a_row"]

    def _check_pending(self) -> None:
        """Checks the update that has not been checked yet."""
        if self._pending is None:
            return
        check, self._pending = self._pending, None
        loss, norm = check.wait()
        if torch.isfinite(norm + loss):
            self.in_a_row = 0
        else:
            self._refuse(check.step, loss, norm, check.module, check.batches)

    def _refuse(self, step: int, loss: Tensor, norm: Tensor, module: GlowModule, batches: list[Batch]) -> None:
        # Every rank examines its own batches; all ranks get all findings.
        found = distributed.all_gather([line for batch in batches for line in examine(module, batch)])
        several = len(found) > 1
        lines = [f"process {rank}: {line}" if several else line for rank, own in enumerate(found) for line in own]
        where = "; ".join(lines) or "computed again, the same images give finite values: suspect the device"
        what = f"step {step}: loss {loss.item():.4g}, gradient norm {norm.item():.4g}: not finite"
        self.in_a_row += 1
        if self.nonfinite == "skip" and self.in_a_row < self.limit:
            self.skipped += 1
            say(self.console, f"{what}; this update is left out ({where})")
            return
        kept = checkpoints_of(self.run_folder)
        last = f"the last good checkpoint is {kept[-1]}" if kept else "no checkpoint was written yet"
        row = f" after {self.in_a_row} in a row" if self.nonfinite == "skip" else ""
        raise UserError(f"{what}; stopped before the update{row}, {last}; {where}; {HELP}")


class _PendingCheck(NamedTuple):
    """The loss and gradient norm of an update, copied from the device without waiting for it.

    Attributes:
        step: step before the update.
        values: loss and gradient norm, on the CPU after ``arrived``.
        arrived: event of their arrival; None if they are there already.
        module: module that is trained.
        batches: batches of the update.
    """

    step: int
    values: Tensor
    arrived: torch.cuda.Event | None
    module: GlowModule
    batches: list[Batch]

    @classmethod
    def start(cls, step: int, loss: Tensor, norm: Tensor, module: GlowModule, batches: list[Batch]) -> "_PendingCheck":
        values = torch.stack([loss, norm]).to("cpu", non_blocking=True)
        arrived = None
        if loss.is_cuda:
            arrived = torch.cuda.Event()
            arrived.record()
        return cls(step, values, arrived, module, batches)

    def wait(self) -> tuple[Tensor, Tensor]:
        """Waits for the loss and gradient norm, and returns them."""
        if self.arrived is not None:
            self.arrived.synchronize()
        return self.values[0], self.values[1]
