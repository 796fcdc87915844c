"""The Lightning module: one training step, one validation step, the optimizer."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from glow_app.config.train import OptimConfig
from glow_app.data.stream import Batch
from glow_app.evaluation.likelihood import Likelihood
from glow_app.flows import Flow
from glow_app.flows.search import inverse_or_nan
from glow_app.likelihood import bits_per_dim, dequantization_noise, dequantize, is_reconstructed, log_prob
from glow_app.runtime import distributed
from glow_app.training.after_update import figures_are_due
from glow_app.training.clock import Clock
from glow_app.training.fast.cuda_graph import CapturedAdam, CapturedLoss
from glow_app.training.optim import clip_gradients, largest_first, learning_rate_factor, make_optimizer
from glow_app.units import Bits, unit_of

CHECKED = 16
"""Number of validation images, the first ones, whose reconstruction is checked."""


class GlowModule(pl.LightningModule):
    """Trains a flow on bits per dimension.

    Training noise is a function of (seed, position in the stream), validation noise of (seed, index of the image):
    every validation uses the same noise, so its metrics can be compared. Validation computes in float32.

    Args:
        flow: the model, initialised.
        n_bits: bits per subpixel; None for points.
        optim: optimizer and schedule.
        images_per_step: images per update, over all devices.
        clock: clock of the run, which drives the learning rate's decay.
        seed: seed of the noise.
        conditioner_dtype: dtype of the conditioners in training; None for float32.
        cuda_graph: whether training steps are captured and replayed, see :mod:`glow_app.training.fast.cuda_graph`.

    Attributes:
        training_loss: function of a batch that returns its mean bits per dimension, which is differentiated.
        last_loss: loss of the last update, in bits per dimension, over all of its images; None before the first.
        gradient_norm: norm of the current update's gradients, set by the guard that computes it.
        LOSS: name of the loss among the metrics.
        LOSS_WORD: word before the loss where progress is shown.
    """

    LOSS, LOSS_WORD = "train/bits_per_dim", ""

    def __init__(
        self,
        flow: Flow,
        n_bits: Bits,
        optim: OptimConfig,
        images_per_step: int,
        clock: Clock,
        seed: int,
        conditioner_dtype: torch.dtype | None,
        cuda_graph: bool,
    ) -> None:
        super().__init__()
        self.flow = flow
        self.n_bits = n_bits
        self.optim = optim
        self.images_per_step = images_per_step
        self.clock = clock
        self.seed = seed
        self.conditioner_dtype = conditioner_dtype
        self.training_loss: Callable[[Batch], Tensor] = (
            CapturedLoss(self.mean_bits_per_dim, largest_first(flow.parameters()))
            if cuda_graph
            else self.mean_bits_per_dim
        )
        self.last_loss: Tensor | None = None
        self.gradient_norm: Tensor | None = None
        self._validated: list[Tensor] = []
        self._reconstructed_exactly: list[Tensor] = []

    def on_train_start(self) -> None:
        self.flow.set_conditioner_dtype(self.conditioner_dtype)
        self._apply_optim_options()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss = self.training_loss(batch)
        if figures_are_due(self.trainer, self.global_step + 1):
            # The update that this batch contributes to: Lightning would number updates from 0.
            self.log("step", float(self.global_step + 1), batch_size=len(batch.images))
        return loss

    def on_after_backward(self) -> None:
        self.flow.update_statistics()

    def configure_gradient_clipping(
        self, optimizer: Optimizer, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        norm = self.gradient_norm  # computed by the guard already
        if gradient_clip_val is None:
            return
        if norm is None:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)
            return
        clip_gradients(optimizer, gradient_clip_val, norm)

    def on_train_end(self) -> None:
        for captured in (self.training_loss, self.optimizers(use_pl_optimizer=False)):
            if isinstance(captured, CapturedLoss | CapturedAdam):
                captured.drop()

    def on_validation_start(self) -> None:
        self._validated, self._reconstructed_exactly = [], []
        self.flow.set_conditioner_dtype(None)
        # Batch sizes and dtypes differ from those in training: each would be compiled again.
        torch.compiler.set_stance("force_eager")

    def on_validation_end(self) -> None:
        torch.compiler.set_stance("default")
        self.flow.set_conditioner_dtype(self.conditioner_dtype)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._validated.append(self.bits_per_dim(batch).double().cpu())
        self._reconstructed_exactly.append(self._reconstructed(batch, batch.positions < CHECKED).cpu())

    def on_validation_epoch_end(self) -> None:
        # In the order of the images, so that the metrics do not depend on which rank computed which.
        reached = Likelihood(distributed.gather_shards(torch.cat(self._validated)))
        is_reconstructed = torch.cat(distributed.all_gather(torch.cat(self._reconstructed_exactly)))
        # Lightning uses "step" as the step of all metrics that are logged with it.
        metrics = {
            "step": float(self.global_step),
            "val/bits_per_dim": reached.mean,
            "val/standard_error": reached.standard_error,
            "val/reconstructed": is_reconstructed.double().mean(),
        }
        # Lightning requires a reduction over processes; the values are the same on all ranks, so any will do.
        self.log_dict(metrics, reduce_fx="max", sync_dist=True)

    def bits_per_dim(self, batch: Batch) -> Tensor:
        """Bits per dimension of each image, (B,), with one draw of dequantization noise."""
        nats = log_prob(self.flow, batch.images, self.noise(batch), self.n_bits, self.cond(batch.labels))
        return bits_per_dim(nats, self.flow.n_dims)

    def loss_text(self, loss: float) -> str:
        """The loss with its name and unit, where progress is shown."""
        unit = unit_of(self.n_bits)
        return f"{self.LOSS_WORD}{unit.figure(loss, 3)} {unit.name}"

    def validated_text(self, metrics: dict[str, Tensor]) -> str:
        """The result of a validation besides its bits per dimension, in words."""
        return f"reconstructed {unit_of(self.n_bits).exactly} {metrics['val/reconstructed']:.0%}"

    def mean_bits_per_dim(self, batch: Batch) -> Tensor:
        """The mean of :meth:`bits_per_dim`, a scalar."""
        return self.bits_per_dim(batch).mean()

    def noise(self, batch: Batch) -> Tensor:
        """Dequantization noise for a batch, in the dtype of the flow."""
        u = dequantization_noise(batch.images, self.seed, batch.positions)
        return u.to(next(self.flow.parameters()).dtype)

    def cond(self, labels: Tensor | None) -> Tensor | None:
        """The labels if the model is conditional, else None."""
        return labels if self.flow.n_classes else None

    @contextmanager
    def float32_evaluation(self) -> Iterator[None]:
        """Puts the flow into evaluation mode and float32 inside the context."""
        self.flow.eval()
        self.flow.set_conditioner_dtype(None)
        try:
            yield
        finally:
            self.flow.set_conditioner_dtype(self.conditioner_dtype)
            self.flow.train()

    def _reconstructed(self, batch: Batch, chosen: Tensor) -> Tensor:
        """Returns whether each chosen image is reconstructed exactly from its latents, bool."""
        images, cond = batch.images[chosen], self.cond(batch.labels)
        if not len(images):
            return chosen.new_empty(0)
        cond = None if cond is None else cond[chosen]
        latents, _ = self.flow(dequantize(images, 0.5, self.n_bits), cond)
        return is_reconstructed(inverse_or_nan(self.flow, latents, cond), images, self.n_bits)

    def _apply_optim_options(self) -> None:
        """Replaces the options that a resumed optimizer was saved with by those of this run."""
        optimizer, schedule = self.optimizers(use_pl_optimizer=False), self.lr_schedulers()
        assert isinstance(optimizer, Optimizer)
        assert isinstance(schedule, LambdaLR)
        lr = self.optim.lr * schedule.lr_lambdas[0](self.trainer.global_step)
        for group in optimizer.param_groups:
            group.update(lr=lr, initial_lr=self.optim.lr, betas=(self.optim.beta1, self.optim.beta2))
        schedule.base_lrs = [self.optim.lr] * len(optimizer.param_groups)

    def configure_optimizers(self) -> dict:  # type: ignore[override]
        optimizer = make_optimizer(self.flow, self.optim, isinstance(self.training_loss, CapturedLoss))
        factor = learning_rate_factor(self.optim, self.images_per_step, self.clock)
        schedule = LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
