"""Measurements of a flow of points in the plane: its density, the density's integral, and its map of the plane.

In two dimensions everything can be checked: a density can be integrated on a grid, and a map can be drawn.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor

from glow_app.data.sets.points import Points
from glow_app.evaluation.likelihood import standard_error
from glow_app.flows import (
    CNF,
    AdditiveCoupling,
    AffineCoupling,
    Bijection,
    Flow,
    Inverse,
    MarginalGaussianization,
    MintLayer,
    PlanarLayer,
    RadialLayer,
    Reordered,
    Reversed,
)
from glow_app.flows.bijection import Chain
from glow_app.flows.glow import FlowStep
from glow_app.units import with_error

TOGETHER = 1 << 15
"""Points per batch."""

COUPLINGS = (
    AdditiveCoupling, AffineCoupling, Inverse, MarginalGaussianization, MintLayer, PlanarLayer, RadialLayer, Reordered,
    Reversed,
)  # fmt: skip
"""Layers that a film adds one by one; in a flow of points, reordered and reversed ones are autoregressive."""

PATH_STAGES = 16
"""Stages of a continuous flow's film."""

TOLERANCE = 0.02
"""Largest deviation of a density's mass from 1 that is not reported."""


def as_images(points: Tensor) -> Tensor:
    """Reshapes points (N, 2) for a flow: (N, 2, 1, 1)."""
    return points[:, :, None, None]


def as_points(x: Tensor) -> Tensor:
    """Inverts :func:`as_images`."""
    return x.flatten(1)


@dataclass(frozen=True)
class Square:
    """A square around the origin, divided into cells.

    Attributes:
        side: length of a side.
        cells: cells along each side.
    """

    side: float
    cells: int

    def centres(self) -> Tensor:
        """The middle of every cell, float32 (cells * cells, 2): row by row from the lowest, each from the left."""
        middle = ((torch.arange(self.cells) + 0.5) / self.cells - 0.5) * self.side
        y, x = torch.meshgrid(middle, middle, indexing="ij")
        return torch.stack([x.flatten(), y.flatten()], 1)

    def integral(self, log_density: Tensor) -> float:
        """Integrates a density over the square, from its log in nats at the middle of every cell."""
        return log_density.double().exp().sum().item() * (self.side / self.cells) ** 2

    def without(self, points: Tensor) -> float:
        """The fraction of points (N, 2) that is outside."""
        return (points.abs() > self.side / 2).any(1).double().mean().item()


@torch.no_grad()
def log_density(flow: Flow, points: Tensor) -> Tensor:
    """log p of points (N, 2) in nats, (N,), on the CPU."""
    parts = as_images(points).to(flow.initialized.device).split(TOGETHER)
    return torch.cat([flow.log_prob(part).cpu() for part in parts])


@torch.no_grad()
def decoded(flow: Flow, latents: Tensor) -> Tensor:
    """The points (N, 2) with these latents (N, 2), on the CPU."""
    parts = as_images(latents).to(flow.initialized.device).split(TOGETHER)
    return torch.cat([as_points(flow.inverse([part])).cpu() for part in parts])


def drawn_latents(flow: Flow, n: int, temperature: float, seed: int) -> Tensor:
    """The latents (n, 2), on the CPU, of the flow's first samples at a temperature."""
    return as_points(flow.sample_latents(n, temperature, seed)[0]).cpu()


def grid(n_lines: int, reach: float = 3.0, n_points: int = 400) -> Tensor:
    """A grid of lines over the latents: ``n_lines`` vertical and as many horizontal ones, (2 n_lines, n_points, 2)."""
    at, along = torch.linspace(-reach, reach, n_lines), torch.linspace(-reach, reach, n_points)
    vertical = torch.stack(torch.meshgrid(at, along, indexing="ij"), 2)
    return torch.cat([vertical, vertical.flip(2)])


@dataclass(frozen=True)
class Portrait:
    """The content of a density plot.

    Attributes:
        square: the square that is shown.
        data: points (N, 2) of the data.
        samples: points (N, 2) of the flow.
        latents: latents of the samples, (N, 2).
        log_density: log-density in nats, (cells, cells), the lowest row first.
        lines: lines of a grid over the latents, decoded to points, (L, P, 2).
    """

    square: Square
    data: Tensor
    samples: Tensor
    latents: Tensor
    log_density: Tensor
    lines: Tensor


def portrait(
    flow: Flow, data: Tensor, square: Square, n: int, temperature: float = 1.0, n_lines: int = 21, seed: int = 0
) -> Portrait:
    """Computes the content of a density plot, with the first ``n`` of the points ``data``, (N, 2)."""
    latents, lines = drawn_latents(flow, n, temperature, seed), grid(n_lines)
    nats = log_density(flow, square.centres())
    warped = decoded(flow, lines.flatten(0, 1)).view_as(lines)
    return Portrait(square, data[:n], decoded(flow, latents), latents, nats.view(square.cells, -1), warped)


@torch.no_grad()
def stages(flow: Flow, latents: Tensor) -> Tensor:
    """Decodes latents (N, 2) with more and more of the couplings: (K + 1, N, 2).

    Stage k is the inverse of the flow with only its last k couplings. So stage 0 is an affine map of the latents,
    and stage K the points themselves. From one stage to the next, points move along parallel lines only, because a
    coupling moves one coordinate by a function of the other. Autoregressive layers are couplings in the plane, which
    may also move and scale the other coordinate. A marginal layer of Gaussianization counts as one too, though it moves
    each coordinate by itself: read from its end, that film shows the points becoming normal. Planar layers move points
    along a direction of their own, and radial ones to or from a centre. A continuous flow has no couplings: its stages
    are 16 equal parts of the time.
    """
    if isinstance(flow, CNF):
        return _path(flow, as_images(latents).to(flow.initialized.device))
    layers = list(_layers(cast(Bijection, flow.levels[0])))
    h = as_images(latents).to(flow.initialized.device)
    found = [_without_couplings(layers, h)]
    for number in range(len(layers) - 1, -1, -1):
        h = layers[number].inverse(h)
        if isinstance(layers[number], COUPLINGS):
            found.append(_without_couplings(layers[:number], h))
    return torch.stack(found)


def _path(flow: CNF, z: Tensor) -> Tensor:
    """The points (17, N, 2) of a continuous flow's equation at the times 0, 1/16 ... 1, in the scale of the data."""
    times = [step / PATH_STAGES for step in range(PATH_STAGES + 1)]
    found = [z]
    for start, end in pairwise(times):
        found.append(flow.ode.solve(found[-1], (start, end)))
    return torch.stack([as_points(flow.standardisation.inverse(h)).cpu() for h in found])


def _layers(bijection: Bijection) -> Iterator[Bijection]:
    """The layers of chains and steps, in the order in which ``forward`` applies them."""
    if not isinstance(bijection, Chain | FlowStep):
        yield bijection
        return
    for child in bijection.children():
        yield from _layers(cast(Bijection, child))


def _without_couplings(layers: list[Bijection], h: Tensor) -> Tensor:
    """The inverse of all layers but the couplings, as points (N, 2) on the CPU."""
    for layer in reversed(layers):
        h = h if isinstance(layer, COUPLINGS) else layer.inverse(h)
    return as_points(h).cpu()


@dataclass(frozen=True)
class Entropies:
    """Mean ``-log p`` of points in nats, by the density that they were drawn from and by a flow.

    Attributes:
        data: mean ``-log p`` by the true density: an estimate of its entropy.
        flow: mean ``-log p`` by the flow.
        difference: ``flow - data``, an estimate of the Kullback-Leibler divergence.
        error: standard error of the difference.
    """

    data: float
    flow: float
    difference: float
    error: float

    def text(self) -> str:
        """Formats the numbers in one line."""
        return (
            f"entropy of the data: {self.data:.4f} nats; the flow: {self.flow:.4f} nats; "
            f"it could be better by {with_error(self.difference, self.error)}"
        )


def entropies(source: Points, nats: Tensor) -> Entropies:
    """Compares ``nats``, a flow's ``-log p`` (N,) of the first N points of a source, with the true density."""
    true = -source.density.log_density(source.points[: len(nats)])
    excess = nats.double() - true
    return Entropies(true.mean().item(), nats.mean().item(), excess.mean().item(), standard_error(excess))
