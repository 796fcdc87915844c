"""Programs on GitHub that train Glow, behind the interface of :mod:`benchmarks.models`.

They are read from a folder with a checkout of each, called after its owner: ``rosinality`` (glow-pytorch), ``y0ast``
(Glow-PyTorch), ``chaiyujin`` (glow-pytorch), ``chrischute`` (glow), ``kamenbliznashki`` (normalizing_flows) and
``didriknielsen`` (survae_flows). Their models run unchanged but for

* functions that torch and numpy have removed since, and packages that a model does not need (datasets, TensorBoard);
* rosinality's width, for which it has no option;
* the noise, which is the same for all of them. chaiyujin's adds Gaussian noise of a standard deviation of a bin
  instead, with which its figure is no likelihood of images; its likelihood is computed here without.
"""

import importlib
import math
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.models import Model, ThreeLayers
from benchmarks.shapes import Shape


class Program(Model):
    """Another program's model.

    Args:
        shape: its size.
        network: its module.
        nats: (module, dequantized images in [-1/2, 1/2)) -> log-density, (B,).
        samples: (module, n) -> n images, drawn at temperature 1.
    """

    def __init__(
        self,
        shape: Shape,
        network: nn.Module,
        nats: Callable[[Any, Tensor], Tensor],
        samples: Callable[[Any, int], Tensor],
    ) -> None:
        super().__init__(shape)
        self.network, self.nats, self.samples = network, nats, samples

    def log_prob(self, x: Tensor) -> Tensor:
        return self.nats(self.network, x)

    def sample(self, n: int) -> Tensor:
        return self.samples(self.network, n)


def load(folder: Path, module: str) -> ModuleType:
    """Imports a module of a checkout, apart from those that other checkouts call the same."""
    for name in ("model", "modules", "utils", "models", "util", "glow", "datasets", "data"):
        for loaded in [m for m in sys.modules if m == name or m.startswith(f"{name}.")]:
            del sys.modules[loaded]
    sys.path.insert(0, str(folder))
    try:
        return importlib.import_module(module)
    finally:
        sys.path.remove(str(folder))


def rosinality(root: Path, shape: Shape) -> Program:
    """rosinality/glow-pytorch: LU; no ActNorm in the conditioner; its convolutions pad with ones."""

    def nats(network: Any, x: Tensor) -> Tensor:
        log_p, logdet, _ = network(x)
        return log_p + logdet

    def samples(network: Any, n: int) -> Tensor:
        return network.reverse([torch.randn(n, *one, device=_device(network)) for one in _latents(shape)])

    module = load(root / "rosinality", "model")
    vars(module)["AffineCoupling"] = partial(module.AffineCoupling, filter_size=shape.width)  # it has no option for it
    affine = shape.coupling == "affine"
    return Program(shape, module.Glow(3, shape.n_steps, shape.n_levels, affine=affine, conv_lu=True), nats, samples)


def y0ast(root: Path, shape: Shape) -> Program:
    """y0ast/Glow-PyTorch: LU, a learned top prior."""

    def samples(network: Any, n: int) -> Tensor:
        mean, logs = network.prior(torch.empty(n, 1), None)
        return network.flow(modules.gaussian_sample(mean, logs, 1.0), temperature=1.0, reverse=True)

    torch.qr, torch.lu = torch.linalg.qr, torch.linalg.lu_factor  # type: ignore[assignment]  # removed from torch
    module = load(root / "y0ast", "model")
    modules = sys.modules["modules"]
    size = (shape.size, shape.size, 3)
    network = module.Glow(
        size, shape.width, shape.n_steps, shape.n_levels, 1.0, "invconv", shape.coupling, True, 10, True, False
    )
    return Program(shape, network, partial(_encoded, modules.gaussian_likelihood), samples)


def chaiyujin(root: Path, shape: Shape) -> Program:
    """chaiyujin/glow-pytorch: the full matrix, no learned top prior, as its configuration for CelebA has it."""

    def samples(network: Any, n: int) -> Tensor:
        mean, logs = (one.expand(n, -1, -1, -1) for one in network.prior())
        return network.flow(modules.GaussianDiag.sample(mean, logs, 1.0), eps_std=1.0, reverse=True)

    np.long = np.int64  # type: ignore[attr-defined]  # removed from numpy
    module = load(root / "chaiyujin", "glow.models")
    modules = module.modules
    glow = SimpleNamespace(
        image_shape=(shape.size, shape.size, 3), hidden_channels=shape.width, K=shape.n_steps, L=shape.n_levels,
        actnorm_scale=1.0, y_classes=10, flow_permutation="invconv", flow_coupling=shape.coupling, LU_decomposed=False,
        learn_top=False, y_condition=False,
    )  # fmt: skip
    parts = {"Glow": glow, "Device": SimpleNamespace(glow=["cpu"]), "Train": SimpleNamespace(batch_size=1)}
    network = module.Glow(SimpleNamespace(**parts))
    return Program(shape, network, partial(_encoded, modules.GaussianDiag.logp), samples)


def _encoded(log_p: Callable[[Tensor, Tensor, Tensor], Tensor], network: Any, x: Tensor) -> Tensor:
    """The log-density without the program's own noise."""
    z, objective = network.flow(x, logdet=torch.zeros(len(x), device=x.device))
    mean, logs = network.prior(x, None) if "data" in network.prior.__code__.co_varnames else network.prior()
    return objective + log_p(mean.expand_as(z), logs.expand_as(z), z)


def chrischute(root: Path, shape: Shape) -> Program:
    """chrischute/glow: logits of the images, batch normalisation in the conditioner, no split prior."""
    network = load(root / "chrischute", "models.glow.glow").Glow(shape.width, shape.n_levels, shape.n_steps)
    squeeze = sys.modules["models.glow.glow"].squeeze

    def nats(network: Any, x: Tensor) -> Tensor:
        # As its _pre_process does to an image with its noise; the Jacobian of the scaling by 0.9 included.
        y = ((2 * (x + 0.5) - 1) * network.bounds + 1) / 2
        y = y.log() - (1 - y).log()
        ldj = F.softplus(y) + F.softplus(-y) - F.softplus((1 - network.bounds).log() - network.bounds.log())
        z, logdet = network.flows(squeeze(y), ldj.flatten(1).sum(-1), False)
        return logdet - 0.5 * (z * z + math.log(2 * math.pi)).flatten(1).sum(1)

    def samples(network: Any, n: int) -> Tensor:
        x, _ = network(torch.randn(n, *shape.image_shape, device=_device(network)), reverse=True)
        return torch.sigmoid(x)  # as its script does

    return Program(shape, network, nats, samples)


def kamenbliznashki(root: Path, shape: Shape) -> Program:
    """kamenbliznashki/normalizing_flows: the full matrix, its default; ActNorm in the conditioner."""
    absent = {"tensorboardX": {"SummaryWriter": None}, "datasets": {}, "datasets.celeba": {"CelebA": None}}
    torch.qr = torch.linalg.qr  # type: ignore[assignment]  # removed from torch
    for name, content in absent.items():
        sys.modules[name] = ModuleType(name)
        vars(sys.modules[name]).update(content)
    arguments, sys.argv = sys.argv, sys.argv[:1]  # it makes a parser while it is imported
    for name in [m for m in sys.modules if m == "glow" or m.startswith("glow.")]:
        del sys.modules[name]
    sys.path.insert(0, str(root / "kamenbliznashki"))
    try:
        module = importlib.import_module("glow")
    finally:
        sys.path.remove(str(root / "kamenbliznashki"))
        sys.argv = arguments
        for name in absent:
            del sys.modules[name]
    # Its levels are those with a split; it adds one. Its first layer takes images in [0, 1) to [-1/2, 1/2).
    network = module.Glow(shape.width, shape.n_steps, shape.n_levels - 1, shape.image_shape)
    constant = math.log(256) * shape.n_dims  # of that layer, for 256 grey levels, which the loss counts itself

    def nats(network: Any, x: Tensor) -> Tensor:
        return network.log_prob(x + 0.5) + constant

    def samples(network: Any, n: int) -> Tensor:
        latents = [torch.randn(n, *one, device=_device(network)) for one in _latents(shape)]
        return network.inverse(latents)[0]

    return Program(shape, network, nats, samples)


def didriknielsen(root: Path, shape: Shape) -> Program:
    """didriknielsen/survae_flows: layers of its CIFAR-10 example, our three plain convolutions, no augmentation."""
    folder = str(root / "didriknielsen")
    sys.path.insert(0, folder)
    try:
        transforms = importlib.import_module("survae.transforms")
        distributions = importlib.import_module("survae.distributions")
        flows = importlib.import_module("survae.flows")
        layers = importlib.import_module("survae.nn.layers")
    finally:
        sys.path.remove(folder)
    parts: list[nn.Module] = []
    channels, side = 3, shape.size
    for level in range(shape.n_levels):
        channels, side = 4 * channels, side // 2
        parts.append(transforms.Squeeze2d())
        for _ in range(shape.n_steps):
            net = ThreeLayers(channels // 2, channels, shape.width)
            coupling = transforms.AffineCouplingBijection(nn.Sequential(net, layers.ElementwiseParams2d(2)))
            parts += [transforms.ActNormBijection2d(channels), transforms.Conv1x1(channels), coupling]
        if level < shape.n_levels - 1:
            base = distributions.StandardNormal((channels // 2, side, side))
            parts.append(transforms.Slice(base, num_keep=channels // 2))
            channels //= 2
    flow = flows.Flow(base_dist=distributions.StandardNormal((channels, side, side)), transforms=parts)
    return Program(shape, flow, lambda flow, x: flow.log_prob(x), lambda flow, n: flow.sample(n))


PROGRAMS: dict[str, Callable[[Path, Shape], Program]] = {
    "rosinality": rosinality,
    "y0ast": y0ast,
    "chaiyujin": chaiyujin,
    "chrischute": chrischute,
    "kamenbliznashki": kamenbliznashki,
    "didriknielsen": didriknielsen,
}
"""Owner of a checkout -> its model of a size."""

AFFINE_ONLY = ("chrischute", "kamenbliznashki", "didriknielsen")
"""Those that have no additive coupling here."""


def _device(network: nn.Module) -> torch.device:
    return next(network.parameters()).device


def _latents(shape: Shape) -> list[tuple[int, int, int]]:
    """Shapes of the latents, finest first."""
    sizes, channels, side = [], 3, shape.size
    for level in range(shape.n_levels):
        channels, side = 4 * channels, side // 2
        if level < shape.n_levels - 1:
            channels //= 2
        sizes.append((channels, side, side))
    return sizes
