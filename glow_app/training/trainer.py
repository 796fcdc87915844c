"""Creates Lightning's trainer for a configuration, and decides on its processes and intervals."""

import warnings
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import pytorch_lightning as pl
import torch
import torch._dynamo
from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from pytorch_lightning.loggers import Logger
from pytorch_lightning.strategies import DDPStrategy

from glow_app.config.check import no_gpu
from glow_app.config.train import TrainConfig, TrainerConfig
from glow_app.errors import UserError
from glow_app.runtime.devices import name_of
from glow_app.runtime.rank import is_child, is_of_srun, rank_info
from glow_app.training.checkpoints.format import AtomicCheckpointIO

LOG_EVERY = 50
"""Steps between two rows of training metrics in metrics.csv."""

PATIENCE = timedelta(minutes=30)
"""Longest wait of processes for each other, such as while rank 0 draws samples. A dead one is noticed at once."""


class Layout(NamedTuple):
    """The number of processes of a run.

    Attributes:
        devices: number of processes on each machine.
        machines: number of machines.
    """

    devices: int
    machines: int

    @property
    def world_size(self) -> int:
        """Total number of processes."""
        return self.devices * self.machines


def hardware(trainer: TrainerConfig, where: Layout) -> str:
    """Names what the processes of a run compute on."""
    name = name_of(torch.device("cuda" if trainer.accelerator == "gpu" else "cpu"))
    return name if where.world_size == 1 else f"{where.world_size} x {name}"


def layout(trainer: TrainerConfig) -> Layout:
    """The processes that torchrun, srun or glow-train have started, or that the trainer will start.

    Raises:
        UserError: the machine has too few devices, or the batch or the options do not suit their number.
    """
    found = _processes(trainer, torch.cuda.device_count() if trainer.accelerator == "gpu" else 1)
    if trainer.cuda_graph and found.world_size > 1:
        raise UserError(
            f"trainer.cuda_graph=true is for one process, not {found.world_size}; set it to false, or trainer.devices=1"
        )
    if trainer.accelerator == "gpu" and not torch.cuda.is_available():
        raise no_gpu("trainer.accelerator", "gpu")
    if trainer.accelerator == "gpu" and torch.cuda.device_count() < found.devices:
        raise UserError(
            f"{found.devices} processes on this machine need a GPU each, and it has {torch.cuda.device_count()}: "
            "give a smaller trainer.devices (or nproc-per-node, or tasks per node)"
        )
    _require_whole_batches(trainer, found)
    return found


def layout_elsewhere(trainer: TrainerConfig) -> Layout:
    """The processes on a machine that has the GPUs which this one lacks; one if ``trainer.devices`` is null.

    Raises:
        UserError: the batch does not suit their number.
    """
    found = _processes(trainer, 1)
    _require_whole_batches(trainer, found)
    return found


def _processes(trainer: TrainerConfig, n_devices: int) -> Layout:
    here = rank_info()
    if here.world_size > 1:
        return Layout(here.local_world_size, here.world_size // here.local_world_size)
    return Layout(trainer.devices or n_devices, 1)


def _require_whole_batches(trainer: TrainerConfig, where: Layout) -> None:
    if trainer.batch_size % where.world_size:
        nearest = max(1, round(trainer.batch_size / where.world_size)) * where.world_size
        raise UserError(
            f"trainer.batch_size={trainer.batch_size} cannot be divided among {where.world_size} processes: "
            f"choose {nearest}"
        )


def captures_steps(config: TrainConfig, where: Layout) -> bool:
    """Returns whether training steps are captured: ``trainer.cuda_graph`` or, if that is None, if it is possible."""
    if config.trainer.cuda_graph is not None:
        return config.trainer.cuda_graph
    if config.teacher is not None or config.model.not_captured is not None:
        return False
    on_one_gpu = config.trainer.accelerator == "gpu" and where.world_size == 1
    return on_one_gpu and config.model.memory != "reversible" and not config.model.normalises_batches


def validate_every(config: TrainConfig) -> int:
    """Steps between two validations; never more than ``max_steps`` of a run measured in updates."""
    return config.validate_every if config.max_seconds is not None else min(config.validate_every, config.max_steps)


def log_every(config: TrainConfig) -> int:
    """Steps between two rows of training metrics."""
    return LOG_EVERY if config.max_seconds is not None else min(LOG_EVERY, config.max_steps)


def make_trainer(
    config: TrainConfig,
    where: Layout,
    run_folder: Path,
    validates: bool,
    callbacks: Sequence[pl.Callback],
    loggers: Sequence[Logger],
) -> pl.Trainer:
    """Creates the trainer of a run.

    Args:
        config: all options.
        where: processes of the run, see :func:`layout`.
        run_folder: folder of the run.
        validates: whether there are validation images.
        callbacks: callbacks, in the order in which they are called.
        loggers: loggers of the run.
    """
    with warnings.catch_warnings():
        # Lightning's advice names its own options; the user has chosen trainer=cpu.
        warnings.filterwarnings("ignore", "GPU available but not used")
        return pl.Trainer(
            accelerator=config.trainer.accelerator,
            devices=where.devices,
            num_nodes=where.machines,
            strategy="auto" if where.world_size == 1 else _ddp_strategy(),
            max_steps=config.max_steps if config.max_seconds is None else -1,  # the clock ends the run
            max_epochs=-1,
            accumulate_grad_batches=config.trainer.accumulate,
            val_check_interval=validate_every(config) * config.trainer.accumulate,
            check_val_every_n_epoch=None,
            limit_val_batches=1.0 if validates else 0,
            num_sanity_val_steps=0,
            gradient_clip_val=config.optim.clip_norm,
            log_every_n_steps=log_every(config),
            callbacks=list(callbacks),
            # On SLURM, Lightning resumes from any hpc_ckpt_* in this folder: it must not be another program's.
            default_root_dir=run_folder,
            logger=list(loggers),
            plugins=[AtomicCheckpointIO()],
            use_distributed_sampler=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )


def _ddp_strategy() -> DDPStrategy:
    """DDP: each process has its part of every batch, and gradients are averaged while they are computed."""
    # Each step of flow is compiled by itself: splitting its graph where gradients are sent gains nothing.
    torch._dynamo.config.optimize_ddp = False
    return DDPStrategy(cluster_environment=_environment(), timeout=PATIENCE)


def _environment() -> ClusterEnvironment | None:
    """The launcher of the processes: Lightning would take any SLURM job for one started by srun."""
    if rank_info().world_size > 1 and not is_of_srun() and not is_child():
        return TorchElasticEnvironment()
    return None if is_of_srun() else LightningEnvironment()
