"""The program of this project, with layers and optimizers replaced one at a time."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import cast

import torch
from torch import Tensor, nn

from benchmarks.training.layers import DeepSplit
from benchmarks.training.race import Model
from glow_app.flows import Flow, Glow, initialize
from glow_app.flows.bijection import Bijection, Chain
from glow_app.flows.conditioner import ConvNet, Network
from glow_app.flows.coupling import AffineCoupling
from glow_app.flows.fast import accelerate
from glow_app.flows.glow import FlowStep, Level
from glow_app.flows.search import inverse_or_nan
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

    def learned(self) -> list[Tensor]:
        """Parameters, and the statistics of batch normalisation."""
        return [*self.flow.learned(), *(self.noise.parameters() if self.noise is not None else ())]

    def update_statistics(self) -> None:
        self.flow.update_statistics()

    def bits(self, images: Tensor, u: Tensor) -> Tensor:
        if self.noise is None:
            return bits_per_dim(log_prob(self.flow, images, u, 8), self.flow.n_dims)
        u, log_q = self.noise(images)
        return bits_per_dim(log_prob(self.flow, images, u, 8) - log_q, self.flow.n_dims)

    def reconstruct(self, images: Tensor) -> Tensor:
        return quantize(inverse_or_nan(self.flow, self.flow(dequantize(images, 0.5, 8))[0], None), 8)

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
    widths: Sequence[int] = (128,) * 4,
    n_steps: Sequence[int] = (8,) * 4,
) -> Glow:
    """The preset ``small`` with some layers replaced: L3 at 32 pixels, L4 at 64.

    Args:
        shape: of the images.
        net: conditioner of the couplings; None for the published one.
        coupling: (conditioner, half of the channels) -> coupling.
        split: network of the splits' Gaussians.
        widths: of the published conditioners, by level, for four levels.
        n_steps: K, by level, for four levels.
    """
    flow = Glow(shape, n_levels=3 if shape[1] <= 32 else 4, n_steps=max(n_steps), width=8)
    n_levels = len(flow.levels)
    for level, width, n in zip(flow.levels, widths[:n_levels], n_steps[:n_levels], strict=True):
        assert isinstance(level, Level)
        level.steps = Chain(level.steps.steps[:n])
        make = net or (lambda n_in, n_out, width=width: ConvNet(n_in, n_out, width, True, None))
        half = cast(FlowStep, level.steps.steps[0]).actnorm.bias.numel() // 2
        for step in level.steps.steps:
            step.coupling = coupling(make, half) if coupling else AffineCoupling(make(half, 2 * half), "bounded")
        if split is not None and isinstance(level.prior, Split):
            level.prior = DeepSplit(split(half, 2 * half))  # type: ignore[assignment]
    return flow
