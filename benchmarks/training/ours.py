"""The program of this project, with layers and optimizers replaced one at a time."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from benchmarks.training.layers import DeepSplit
from benchmarks.training.race import Model
from glow_app.flows import Flow, Glow, initialize
from glow_app.flows.bijection import Bijection
from glow_app.flows.conditioner import ConvNet, Network
from glow_app.flows.coupling import AffineCoupling
from glow_app.flows.fast import accelerate
from glow_app.flows.glow import Level
from glow_app.flows.split import Split
from glow_app.likelihood import bits_per_dim, dequantize, log_prob, quantize

Net = Callable[[int, int], Network]
"""(n_in, n_out) -> conditioner."""


class Ours(Model):
    """A flow of this project, its conditioners in bfloat16 while it trains and in float32 where it is evaluated.

    Args:
        flow: not initialised.
        noise: a learned distribution of the dequantization noise; None for uniform noise.
        dtype: of the conditioners in training; None for float32.
    """

    def __init__(self, flow: Flow, noise: nn.Module | None = None, dtype: torch.dtype | None = torch.bfloat16) -> None:
        super().__init__()
        self.flow, self.noise, self.dtype = flow, noise, dtype

    @torch.no_grad()
    def initialize(self, images: Tensor) -> None:
        initialize(self.flow, dequantize(images, torch.rand(images.shape), 8))
        if self.noise is not None:
            self.noise.initialize(images)  # type: ignore[operator]
        accelerate(self.flow)
        self.flow.set_conditioner_dtype(self.dtype)

    def bits(self, images: Tensor, u: Tensor) -> Tensor:
        if self.noise is None:
            return bits_per_dim(log_prob(self.flow, images, u, 8), self.flow.n_dims)
        u, log_q = self.noise(images)
        return bits_per_dim(log_prob(self.flow, images, u, 8) - log_q, self.flow.n_dims)

    def reconstruct(self, images: Tensor) -> Tensor:
        return quantize(self.flow.inverse(self.flow(dequantize(images, 0.5, 8))[0]), 8)

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        self.flow.set_conditioner_dtype(None)
        with super().evaluating():
            yield
        self.flow.set_conditioner_dtype(self.dtype)


def glow(
    shape: tuple[int, int, int],
    net: Net | None = None,
    coupling: Callable[[Net, int], Bijection] | None = None,
    split: Net | None = None,
    width: int = 128,
    n_steps: int = 8,
) -> Glow:
    """The preset ``small`` with some layers replaced: L3 at 32 pixels, L4 at 64.

    Args:
        shape: of the images.
        net: conditioner of the couplings.
        coupling: (conditioner, half of the channels) -> coupling.
        split: network of the splits' Gaussians.
        width: of the conditioners.
        n_steps: K.
    """
    flow = Glow(shape, n_levels=3 if shape[1] <= 32 else 4, n_steps=n_steps, width=width)
    net = net or (lambda n_in, n_out: ConvNet(n_in, n_out, width, True, None))
    for level in flow.levels:
        assert isinstance(level, Level)
        half = level.steps.steps[0].actnorm.bias.numel() // 2  # type: ignore[union-attr]
        for step in level.steps.steps:
            step.coupling = coupling(net, half) if coupling else AffineCoupling(net(half, 2 * half), "bounded")
        if split is not None and isinstance(level.prior, Split):
            level.prior = DeepSplit(split(half, 2 * half))  # type: ignore[assignment]
    return flow
