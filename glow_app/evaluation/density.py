"""A flow of points in the plane, looked at: its density, what that adds up to, and what it does to the plane.

In two dimensions nothing has to be believed: a density can be added up on a grid, and a map can be drawn.
"""

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from glow_app.data.sets.points import Points
from glow_app.evaluation.likelihood import standard_error
from glow_app.flows import Flow
from glow_app.flows.bijection import Chain
from glow_app.flows.glow import FlowStep

TOGETHER = 1 << 15
"""Points that are computed together."""

TOLERANCE = 0.02
"""How far from 1 the mass of a density may be before it is said aloud."""


def as_images(points: Tensor) -> Tensor:
    """Points (N, 2) as a flow takes them: (N, 2, 1, 1)."""
    return points[:, :, None, None]


def as_points(x: Tensor) -> Tensor:
    """The reverse of :func:`as_images`."""
    return x.flatten(1)


@dataclass(frozen=True)
class Square:
    """A square around the origin, divided into cells.

    Attributes:
        side: its length.
        cells: along each side.
    """

    side: float
    cells: int

    def centres(self) -> Tensor:
        """The middle of every cell, float32 (cells * cells, 2): row by row, the lowest first, each from the left."""
        middle = ((torch.arange(self.cells) + 0.5) / self.cells - 0.5) * self.side
        y, x = torch.meshgrid(middle, middle, indexing="ij")
        return torch.stack([x.flatten(), y.flatten()], 1)

    def integral(self, log_density: Tensor) -> float:
        """What a density, given in nats at the middle of every cell, adds up to over the square."""
        return log_density.double().exp().sum().item() * (self.side / self.cells) ** 2

    def without(self, points: Tensor) -> float:
        """The part of points (N, 2) that lies outside."""
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
    """A grid of lines over the latents: ``n_lines`` upright and as many level ones, (2 n_lines, n_points, 2)."""
    at, along = torch.linspace(-reach, reach, n_lines), torch.linspace(-reach, reach, n_points)
    upright = torch.stack(torch.meshgrid(at, along, indexing="ij"), 2)
    return torch.cat([upright, upright.flip(2)])


@dataclass(frozen=True)
class Portrait:
    """What a figure shows of a flow.

    Attributes:
        square: that is shown.
        data: points (N, 2) of the data.
        samples: points (N, 2) of the flow.
        latents: of the samples, (N, 2).
        log_density: in nats, (cells, cells), the lowest row first.
        lines: of a grid over the latents, (L, P, 2), as points.
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
    """Everything that a figure shows of a flow, beside the first ``n`` of the points ``data``, (N, 2)."""
    latents, lines = drawn_latents(flow, n, temperature, seed), grid(n_lines)
    nats = log_density(flow, square.centres())
    warped = decoded(flow, lines.flatten(0, 1)).view_as(lines)
    return Portrait(square, data[:n], decoded(flow, latents), latents, nats.view(square.cells, -1), warped)


@torch.no_grad()
def stages(flow: Flow, latents: Tensor) -> Tensor:
    """From latents to points with the couplings at work one by one: (K + 1, N, 2) of latents (N, 2).

    Stage k is the inverse of a flow whose last k couplings are as they are, and whose others do nothing. Stage 0 is
    thus an affine map of the latents, stage K the points themselves; and from one stage to the next, points move along
    parallel lines only, for one coordinate decides and the other one moves.
    """
    steps = cast(list[FlowStep], cast(Chain, flow.levels[0]).steps)
    h = as_images(latents).to(flow.initialized.device)
    found: list[Tensor] = []
    for number in range(len(steps), -1, -1):
        rest = h
        for step in reversed(steps[:number]):
            rest = step.actnorm.inverse(step.permutation.inverse(rest))
        found.append(as_points(rest).cpu())
        if number > 0:
            h = steps[number - 1].inverse(h)
    return torch.stack(found)


@dataclass(frozen=True)
class Entropies:
    """What points cost, in nats each, by the density that they were drawn from and by a flow's.

    Attributes:
        data: ``-log p`` by the true density, on average: an estimate of its entropy.
        flow: the same by the flow's.
        difference: of the two, an estimate of the Kullback-Leibler divergence.
        error: standard error of the difference.
    """

    data: float
    flow: float
    difference: float
    error: float

    def text(self) -> str:
        """One line."""
        return (
            f"entropy of the data: {self.data:.4f} nats; the flow: {self.flow:.4f} nats; "
            f"it could be better by {self.difference:.4f} ± {self.error:.4f}"
        )


def entropies(source: Points, nats: Tensor) -> Entropies:
    """Compares a flow's ``-log p`` (N,) of the first N points of a source with what these are drawn from."""
    true = -source.density.log_density(source.points[: len(nats)])
    excess = nats.double() - true
    return Entropies(true.mean().item(), nats.mean().item(), excess.mean().item(), standard_error(excess))
