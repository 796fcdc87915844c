"""Averaged weights: an exponential moving average of the parameters, which usually has the better likelihood."""

# pyright: reportPrivateImportUsage=false
# torch._foreach_* is how torch's own optimizers update all parameters in a few launches; it has no public name.

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from glow_app.flows import Flow
from glow_app.training.module import GlowModule


class WeightAverage(pl.Callback):
    """Computes ``average = d * average + (1 - d) * weights`` after every update; validation uses the average.

    ``d`` rises with the number of updates ``t`` as ``min(decay, (1 + t) / (10 + t))``, so that the first weights do not
    dominate the average of a short run. The average is saved in the checkpoint.

    Args:
        decay: limit of ``d``.
    """

    def __init__(self, decay: float) -> None:
        super().__init__()
        self.decay = decay
        self.n_updates = 0
        self.average: list[Tensor] = []
        self._weights: list[Tensor] = []  # cached while training: it takes a while to find a thousand of them
        self._raw: list[Tensor] | None = None

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.follow(_flow(pl_module))

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._weights = []

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step > self.n_updates:  # not after each of several accumulated batches
            self.update(trainer.global_step)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._swap_in(_flow(pl_module))

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._swap_out(_flow(pl_module))

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        # A run interrupted while it validates must not save the average as its weights.
        self._swap_out(_flow(pl_module))

    def follow(self, flow: Flow) -> None:
        """Averages the weights of ``flow`` from now on; they start the average unless there is one already."""
        self._weights = [parameter.detach() for parameter in flow.learned()]
        if not self.average:
            self.average = [weight.clone() for weight in self._weights]
        self.average = [average.to(weight.device) for average, weight in zip(self.average, self._weights, strict=True)]

    def update(self, step: int) -> None:
        """Adds the weights after update ``step``, from 1 on, to the average."""
        self.n_updates = step
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.average, self._weights, 1 - decay)

    @contextmanager
    def averaged(self, flow: Flow) -> Iterator[None]:
        """Swaps the averaged weights into ``flow`` inside the context."""
        self._swap_in(flow)
        try:
            yield
        finally:
            self._swap_out(flow)

    def state_dict(self) -> dict[str, Any]:
        return {"n_updates": self.n_updates, "average": self.average}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.n_updates = state_dict["n_updates"]
        self.average = state_dict["average"]

    def _swap_in(self, flow: Flow) -> None:
        if self.average and self._raw is None:
            self._raw = [parameter.detach().clone() for parameter in flow.learned()]
            _copy_into(flow, self.average)

    def _swap_out(self, flow: Flow) -> None:
        if self._raw is not None:
            _copy_into(flow, self._raw)
            self._raw = None


def _flow(module: pl.LightningModule) -> Flow:
    assert isinstance(module, GlowModule)
    return module.flow


@torch.no_grad()
def _copy_into(flow: Flow, values: list[Tensor]) -> None:
    for parameter, value in zip(flow.learned(), values, strict=True):
        parameter.copy_(value)
