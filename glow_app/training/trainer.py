"""Lightning's trainer for a configuration: where the steps run, and how often what happens."""

from collections.abc import Sequence
from pathlib import Path

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import Logger

from glow_app.config import TrainConfig, TrainerConfig
from glow_app.errors import UserError
from glow_app.training.checkpoint import DurableCheckpointIO

LOG_EVERY = 50
"""Steps between two rows of training figures in metrics.csv."""


def require_device(trainer: TrainerConfig) -> None:
    """Raises a UserError for an accelerator that is not there, before any data are read."""
    if trainer.accelerator == "gpu" and not torch.cuda.is_available():
        raise UserError("trainer.accelerator=gpu: this machine has none; choose trainer=cpu")


def make_trainer(
    config: TrainConfig,
    run_folder: Path,
    validates: bool,
    callbacks: Sequence[pl.Callback],
    loggers: Sequence[Logger],
) -> pl.Trainer:
    """The trainer of a run.

    Args:
        config: all options.
        run_folder: folder of the run.
        validates: whether there are validation images.
        callbacks: what accompanies training, in the order in which it is called.
        loggers: where figures go.
    """
    return pl.Trainer(
        accelerator=config.trainer.accelerator,
        devices=config.trainer.devices,
        max_steps=config.max_steps,
        max_epochs=-1,
        accumulate_grad_batches=config.trainer.accumulate,
        val_check_interval=min(config.validate_every, config.max_steps) * config.trainer.accumulate,
        check_val_every_n_epoch=None,
        limit_val_batches=1.0 if validates else 0,
        num_sanity_val_steps=0,
        gradient_clip_val=config.optim.clip_norm,
        log_every_n_steps=min(LOG_EVERY, config.max_steps),
        callbacks=list(callbacks),
        # On SLURM, Lightning starts a new run from whatever hpc_ckpt_* it finds there: not from another program's.
        default_root_dir=run_folder,
        logger=list(loggers),
        plugins=[DurableCheckpointIO()],
        use_distributed_sampler=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
