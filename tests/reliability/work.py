"""What one of several processes does in these tests; alone, it is what they are compared with."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from glow_app.data.datamodule import ImageDataModule
from glow_app.data.sets.drawn_faces import DrawnFaces
from glow_app.data.stream import Batch
from glow_app.errors import UserError
from glow_app.evaluation.likelihood import measure_likelihood
from glow_app.flows import Glow
from glow_app.runtime import distributed
from glow_app.training import begin, clock
from glow_app.training.after_update import AfterUpdate
from glow_app.training.clock import Clock
from glow_app.training.guards.failures import explained
from glow_app.training.module import GlowModule
from glow_app.training.trainer import layout, make_trainer
from tests.training.runs import smallest, smallest_of, train


class Recorder(AfterUpdate):
    """Keeps the positions, gradients and weights of every step."""

    def __init__(self) -> None:
        self.positions: list[list[int]] = []
        self.gradients: list[np.ndarray] = []
        self.digests: list[str] = []

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        self.digests.append(digest(pl_module))

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        self.positions.append(batch.positions.tolist())

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        self.gradients.append(flat([p.grad for p in pl_module.parameters() if p.grad is not None]))

    def after_update(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.digests.append(digest(pl_module))


def flat(tensors: list[Tensor]) -> np.ndarray:
    return torch.cat([tensor.detach().flatten() for tensor in tensors]).numpy().copy()


def digest(module: nn.Module) -> str:
    return hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in module.state_dict().values())).hexdigest()


def trained(folder: Path, overrides: list[str], model: str | None = None) -> dict[str, Any]:
    """Twenty updates in float64: positions, gradients and digests of every step, and the last weights."""
    options = ["max_steps=20", "data.cache=false", *overrides]
    config = smallest(folder, *options) if model is None else smallest_of(model, folder, *options)
    source = config.data.open("train")
    flow = begin.build_flow(config, source)
    begin.initialize_flow(flow, source, config)
    where, recorder = layout(config.trainer), Recorder()
    module = begin.make_module(flow.double(), config, where, Clock(20, None))
    data = ImageDataModule(
        source, None, config.trainer.batch_size // where.world_size, 20 * config.trainer.accumulate, config.seed,
        flip=True, shift=0.1, workers=0, val_images=0,
    )  # fmt: skip
    trainer = make_trainer(config, where, folder, validates=False, callbacks=[recorder], loggers=[])
    with explained(trainer, None, None):  # type: ignore[arg-type]  # there are no checkpoints
        trainer.fit(module, data)
    return {
        "positions": recorder.positions,
        "gradients": np.stack(recorder.gradients),
        "digests": recorder.digests,
        "weights": flat(list(flow.parameters())),
    }


def bits() -> list[Tensor | float]:
    """Bits per dimension of 101 images: of each, and the mean."""
    torch.manual_seed(0)
    flow = Glow((3, 16, 16), n_levels=2, n_steps=2, width=8)
    for parameter in flow.parameters():
        nn.init.normal_(parameter, std=0.05)
    flow.initialized.fill_(1)
    reached = measure_likelihood(flow.eval(), DrawnFaces("test", 16, n_images=101), range(101), 8, seed=0, batch_size=8)
    return [reached.per_image.numpy(), reached.mean]


def fitted(folder: Path, overrides: list[str], checkpoint: Path | None = None) -> str | None:
    """A whole run; gives the error that ends it, if one does."""
    try:
        train(smallest(folder, "data.cache=false", *overrides), folder / "run", checkpoint)
    except UserError as error:
        return str(error)
    return None


def timed(folder: Path, overrides: list[str]) -> tuple[str | None, str, int, float]:
    """A run by a clock that goes faster in each process: error, digest of the weights, steps, and its seconds."""
    now, seen = 0.0, []

    def read() -> float:
        nonlocal now
        now += 1 + distributed.rank()
        return now

    begin = GlowModule.on_train_start

    def on_train_start(self: GlowModule) -> None:
        seen.append(self)
        begin(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clock, "monotonic", read)
        patch.setattr(GlowModule, "on_train_start", on_train_start)
        error = fitted(folder, overrides)
    (module,) = seen
    return error, digest(module), module.global_step, module.clock.seconds


def poisoned(folder: Path, where: str, value: float, only: int | None, overrides: list[str]) -> tuple[str | None, str]:
    """A run with a fault at step 3, in one process or in all: the error that ends it, and a digest of its weights."""
    bits_per_dim, noise = GlowModule.bits_per_dim, GlowModule.noise
    seen: list[GlowModule] = []

    def struck(module: GlowModule) -> bool:
        seen[:] = [module]
        return module.trainer.training and module.trainer.global_step == 3 and only in (None, distributed.rank())

    def bad_bits(self: GlowModule, batch: Batch) -> Tensor:
        found = bits_per_dim(self, batch)
        if struck(self) and where == "loss":
            return torch.where(batch.positions == batch.positions[1], value, found)
        if struck(self) and where == "gradient":
            parameter = dict(self.flow.named_parameters())["levels.1.steps.0.actnorm.logs"]
            parameter.register_hook(lambda gradient: gradient * value)
        return found

    def bad_noise(self: GlowModule, batch: Batch) -> Tensor:
        u = noise(self, batch)
        if struck(self) and where == "input":
            u[0, 0, 0, 0] = value
        return u

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(GlowModule, "bits_per_dim", bad_bits)
        patch.setattr(GlowModule, "noise", bad_noise)
        error = fitted(folder, ["max_steps=6", "checkpoint_every=2", "validate_every=6", *overrides])
    return error, digest(seen[0])
