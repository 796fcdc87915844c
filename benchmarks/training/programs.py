"""Other programs that train Glow, each with the settings of its own training script or example, and with ours.

Libraries (normflows, FrEIA) are installed; programs from GitHub are those of :mod:`benchmarks.programs`. Likelihoods
are computed from their latents and log-determinants as each program does, but with the same uniform noise for all.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import Adam, Adamax, Optimizer

from benchmarks import models
from benchmarks.models import FreiaGlow, normflows_glow
from benchmarks.programs import PROGRAMS
from benchmarks.shapes import Shape
from benchmarks.training.ideas import ADAM
from benchmarks.training.race import Model, Recipe
from benchmarks.training.schedules import clip_value_and_norm, constant, noam

SHAPE = Shape(32, n_levels=3, n_steps=8, width=128, batch=64)


class Program(Model):
    """Another program's model, of the size of ``SHAPE``.

    Args:
        build: its constructor.
    """

    def __init__(self, build: Callable[[Shape], models.Model]) -> None:
        super().__init__()
        self.network = build(SHAPE)

    def initialize(self, images: Tensor) -> None:
        self.train()
        self.network.initialize((images + torch.rand(images.shape)) / 256 - 0.5)

    def bits(self, images: Tensor, u: Tensor) -> Tensor:
        x = ((images + u) / 256 - 0.5).contiguous(memory_format=torch.channels_last)
        return models.bits_per_dim(self.network.log_prob(x), SHAPE)


def adam(lr: float, **options: Any) -> Callable[[Model], Sequence[Optimizer]]:
    """Torch's fused Adam."""
    return lambda model: [Adam(model.parameters(), lr=lr, fused=True, **options)]


def adamax(lr: float, weight_decay: float) -> Callable[[Model], Sequence[Optimizer]]:
    """Torch's Adamax."""
    return lambda model: [Adamax(model.parameters(), lr=lr, weight_decay=weight_decay)]


def programs(root: Path) -> dict[str, Recipe]:
    """Every program with its own settings: optimizer, rate, batch, augmentation and initialisation.

    As ``NAME_as_small`` with those of our preset ``small``, of which only conditioners in bfloat16 are missing.
    """

    def of(build: Callable[[Shape], models.Model]) -> Callable[[tuple[int, ...]], Model]:
        return lambda shape: Program(build)

    read = {name: of(partial(build, root)) for name, build in PROGRAMS.items()}
    slow_start = constant(5 * 45000)
    own = {
        "rosinality": Recipe(read["rosinality"], adam(1e-4), constant(), batch=16, init_images=16),
        "y0ast": Recipe(read["y0ast"], adamax(5e-4, 5e-5), slow_start, batch=64, shift=0.1, init_images=512),
        "chaiyujin": Recipe(
            read["chaiyujin"], adam(1e-3, betas=(0.9, 0.9999)), noam(), batch=12, init_images=12,
            clip=clip_value_and_norm(5, 100), flip=False,
        ),
        "chrischute": Recipe(read["chrischute"], adam(1e-3), constant(500000), batch=64, init_images=64),
        "normflows": Recipe(of(normflows_glow), adamax(1e-3, 1e-5), constant(), batch=128, init_images=128),
        "freia": Recipe(of(FreiaGlow), adam(1e-3), constant(), batch=64, init_images=256),
    }  # fmt: skip
    return own | {f"{name}_as_small": replace(ADAM["small"], model=recipe.model) for name, recipe in own.items()}
