"""Metrics that warn of a run that is about to go wrong."""

from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.optim import Optimizer

from glow_app.data.stream import Batch
from glow_app.training.after_update import figures_are_due
from glow_app.training.guards.diagnose import smallest_scale
from glow_app.training.module import GlowModule


class Monitors(pl.Callback):
    """Logs metrics that change before a run goes wrong, without influence on the run.

    ``train/loss_spike``: how many robust standard deviations (1.4826 times the median absolute deviation) the loss is
    above the median of the last ``WINDOW`` updates. ``train/min_scale``: the smallest scale of any affine coupling on a
    few images of the batch; inverses magnify errors by its reciprocal.
    """

    WINDOW = 200
    FEWEST = 5
    IMAGES = 8

    def __init__(self) -> None:
        super().__init__()
        self._n = 0
        self._losses = torch.zeros(self.WINDOW)
        self._batch: Batch | None = None

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._losses = self._losses.to(pl_module.device)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        self._batch = batch

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        assert isinstance(pl_module, GlowModule)
        loss = pl_module.last_loss
        if loss is None:
            return  # the first update was left out
        if figures_are_due(trainer, trainer.global_step + 1):
            self._log(pl_module, loss)
        # On the device, without waiting for it.
        self._losses[self._n % self.WINDOW] = loss
        self._n += 1

    def _log(self, module: GlowModule, loss: Tensor) -> None:
        before = self._losses[: min(self._n, self.WINDOW)]
        if len(before) >= self.FEWEST:
            median = before.median()
            deviation = 1.4826 * (before - median).abs().median()
            module.log("train/loss_spike", (loss - median) / deviation.clamp_min(1e-6))
        assert self._batch is not None
        scale = smallest_scale(module, self._batch, self.IMAGES)
        if scale is not None:
            module.log("train/min_scale", scale)

    def state_dict(self) -> dict[str, Any]:
        return {"n": self._n, "losses": self._losses.cpu()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._n, self._losses = state_dict["n"], state_dict["losses"]
