"""Other programs that train Glow, each with the settings of its own training script or example.

Libraries (normflows, FrEIA) are installed; programs from GitHub are read from a folder with a checkout of each, called
after its owner: ``rosinality`` (glow-pytorch), ``y0ast`` (Glow-PyTorch), ``chaiyujin`` (glow-pytorch), ``chrischute``
(glow). Their models run unchanged but for functions that torch and numpy have removed since, and rosinality's width,
for which it has no option. Likelihoods are computed from their latents and log-determinants as each program does, but
with the same uniform noise for all of them: chaiyujin's adds Gaussian noise of a standard deviation of a bin instead,
with which its figure is no likelihood of images.
"""

import importlib
import math
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Adam, Adamax, Optimizer

from benchmarks.models import FreiaGlow, normflows_glow
from benchmarks.shapes import Shape
from benchmarks.training.race import Model, Recipe
from benchmarks.training.schedules import clip_value_and_norm, constant, noam

LEVELS, STEPS, WIDTH = 3, 8, 128
LN2 = math.log(2)


class Program(Model):
    """Another program's model.

    Args:
        network: its module.
        nats: (module, dequantized images in [-1/2, 1/2)) -> log-density, (B,).
    """

    def __init__(self, network: nn.Module, nats: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__()
        self.network, self.nats = network, nats

    def bits(self, images: Tensor, u: Tensor) -> Tensor:
        x = ((images + u) / 256 - 0.5).contiguous(memory_format=torch.channels_last)
        return 8 - self.nats(self.network, x) / (images[0].numel() * LN2)


class Library(Model):
    """A library's Glow, from :mod:`benchmarks.models`."""

    def __init__(self, build: Callable[[Shape], Any]) -> None:
        super().__init__()
        self.network = build(Shape(32, LEVELS, STEPS, WIDTH, 64))

    def initialize(self, images: Tensor) -> None:
        self.train()
        self.network.initialize((images + torch.rand(images.shape)) / 256 - 0.5)

    def bits(self, images: Tensor, u: Tensor) -> Tensor:
        x = ((images + u) / 256 - 0.5).contiguous(memory_format=torch.channels_last)
        return 8 - self.network.log_prob(x) / (images[0].numel() * LN2)


def load(folder: Path, module: str) -> ModuleType:
    """Imports a module of a checkout, apart from those that other checkouts call the same."""
    for name in ("model", "modules", "utils", "models", "util", "glow"):
        for loaded in [m for m in sys.modules if m == name or m.startswith(f"{name}.")]:
            del sys.modules[loaded]
    sys.path.insert(0, str(folder))
    try:
        return importlib.import_module(module)
    finally:
        sys.path.remove(str(folder))


def rosinality(root: Path) -> Program:
    """rosinality/glow-pytorch: LU; no ActNorm in the conditioner; its convolutions pad with ones."""

    def nats(network: Any, x: Tensor) -> Tensor:
        log_p, logdet, _ = network(x)
        return log_p + logdet

    module = load(root / "rosinality", "model")
    vars(module)["AffineCoupling"] = partial(module.AffineCoupling, filter_size=WIDTH)  # its Glow has no option for it
    return Program(module.Glow(3, STEPS, LEVELS, affine=True, conv_lu=True), nats)


def y0ast(root: Path) -> Program:
    """y0ast/Glow-PyTorch: LU, a learned top prior."""
    torch.qr, torch.lu = torch.linalg.qr, torch.linalg.lu_factor  # type: ignore[assignment]  # removed from torch
    module = load(root / "y0ast", "model")
    network = module.Glow((32, 32, 3), WIDTH, STEPS, LEVELS, 1.0, "invconv", "affine", True, 10, True, False)
    return Program(network, partial(_encoded, sys.modules["modules"].gaussian_likelihood))


def chaiyujin(root: Path) -> Program:
    """chaiyujin/glow-pytorch: the full matrix, no learned top prior, as its configuration for CelebA has it."""
    np.long = np.int64  # type: ignore[attr-defined]  # removed from numpy
    module = load(root / "chaiyujin", "glow.models")
    glow = SimpleNamespace(
        image_shape=(32, 32, 3), hidden_channels=WIDTH, K=STEPS, L=LEVELS, actnorm_scale=1.0, y_classes=10,
        flow_permutation="invconv", flow_coupling="affine", LU_decomposed=False, learn_top=False, y_condition=False,
    )  # fmt: skip
    parts = {"Glow": glow, "Device": SimpleNamespace(glow=["cpu"]), "Train": SimpleNamespace(batch_size=1)}
    network = module.Glow(SimpleNamespace(**parts))
    return Program(network, partial(_encoded, module.modules.GaussianDiag.logp))


def _encoded(log_p: Callable[[Tensor, Tensor, Tensor], Tensor], network: Any, x: Tensor) -> Tensor:
    """The log-density without the program's own noise."""
    z, objective = network.flow(x, logdet=torch.zeros(len(x)))
    mean, logs = network.prior(x, None) if "data" in network.prior.__code__.co_varnames else network.prior()
    return objective + log_p(mean.expand_as(z), logs.expand_as(z), z)


def chrischute(root: Path) -> Program:
    """chrischute/glow: logits of the images, batch normalisation in the conditioner, no split prior."""
    network = load(root / "chrischute", "models.glow.glow").Glow(WIDTH, LEVELS, STEPS)
    squeeze = sys.modules["models.glow.glow"].squeeze

    def nats(network: Any, x: Tensor) -> Tensor:
        # As its _pre_process does to an image with its noise; the Jacobian of the scaling by 0.9 included.
        y = ((2 * (x + 0.5) - 1) * network.bounds + 1) / 2
        y = y.log() - (1 - y).log()
        ldj = F.softplus(y) + F.softplus(-y) - F.softplus((1 - network.bounds).log() - network.bounds.log())
        z, logdet = network.flows(squeeze(y), ldj.flatten(1).sum(-1), False)
        return logdet - 0.5 * (z * z + math.log(2 * math.pi)).flatten(1).sum(1)

    return Program(network, nats)


def adam(lr: float, **options: Any) -> Callable[[Model], Sequence[Optimizer]]:
    """Torch's fused Adam."""
    return lambda model: [Adam(model.parameters(), lr=lr, fused=True, **options)]


def adamax(lr: float, weight_decay: float) -> Callable[[Model], Sequence[Optimizer]]:
    """Torch's Adamax."""
    return lambda model: [Adamax(model.parameters(), lr=lr, weight_decay=weight_decay)]


def programs(root: Path) -> dict[str, Recipe]:
    """Every program with its own settings: optimizer, rate, batch, augmentation and initialisation."""
    return {
        "rosinality": Recipe(lambda shape: rosinality(root), adam(1e-4), constant(), batch=16, init_images=16),
        "y0ast": Recipe(
            lambda shape: y0ast(root), adamax(5e-4, 5e-5), constant(5 * 45000), batch=64, shift=0.1, init_images=512
        ),
        "chaiyujin": Recipe(
            lambda shape: chaiyujin(root), adam(1e-3, betas=(0.9, 0.9999)), noam(), batch=12, init_images=12,
            clip=clip_value_and_norm(5, 100), flip=False,
        ),
        "chrischute": Recipe(lambda shape: chrischute(root), adam(1e-3), constant(500000), batch=64, init_images=64),
        "normflows": Recipe(
            lambda shape: Library(normflows_glow), adamax(1e-3, 1e-5), constant(), batch=128, init_images=128
        ),
        "freia": Recipe(lambda shape: Library(FreiaGlow), adam(1e-3), constant(), batch=64, init_images=256),
    }  # fmt: skip
