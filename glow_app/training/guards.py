"""What stops a run before it poisons itself."""

from pathlib import Path

import pytorch_lightning as pl
import torch
from torch.optim import Optimizer

from glow_app.errors import UserError
from glow_app.training.checkpoint import checkpoints_of
from glow_app.training.module import GlowModule


class FiniteGuard(pl.Callback):
    """Stops the run before an update with a loss or a gradient that is not finite; logs the gradient's norm."""

    def __init__(self, run_folder: Path) -> None:
        super().__init__()
        self.run_folder = run_folder

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        assert isinstance(pl_module, GlowModule) and pl_module.last_loss is not None
        gradients = [p.grad for p in pl_module.flow.parameters() if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        pl_module.log("train/gradient_norm", norm)
        if not torch.isfinite(norm + pl_module.last_loss):
            kept = checkpoints_of(self.run_folder)
            last = f"the last good checkpoint is {kept[-1]}" if kept else "no checkpoint was written yet"
            raise UserError(
                f"step {trainer.global_step}: loss {pl_module.last_loss.item():.4g}, gradient norm {norm.item():.4g}: "
                f"not finite; stopped before the update, {last}; try model.scale=bounded, a smaller optim.lr or a "
                "longer optim.warmup_images"
            )
