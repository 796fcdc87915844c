"""Distributions of points in the plane with known densities.

All are in the square [-4, 4] x [-4, 4], up to their noise. Most are a blurred shape: a point on the shape plus normal
noise. If the shape is a set of centres, the distribution is a mixture of equal Gaussians with a closed-form density.
Others are given by an energy, and normalised by numerical integration.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F

N_CENTRES = 1000
"""Centres of a curve: dense enough that the sum of their Gaussians looks like a blurred curve."""

ROWS = 4096
"""Points whose distances to all centres are in memory at once."""


class PlaneDensity(ABC):
    """A distribution in the plane.

    Args:
        noise: standard deviation of the blur, in both directions.

    Attributes:
        log_normaliser: log Z, of the integral of what the density was before it was divided by it.
    """

    log_normaliser = 0.0

    def __init__(self, noise: float) -> None:
        self.noise = noise

    @abstractmethod
    def places(self, u: Tensor) -> Tensor:
        """Points on the shape before the noise, float64 (N, 2), from uniform numbers in (0, 1): float64 (N, 3)."""

    @abstractmethod
    def log_density(self, x: Tensor) -> Tensor:
        """log p(x) in nats, float64 (N,), of points (N, 2); -inf outside the support."""

    def points(self, u: Tensor, normal: Tensor) -> Tensor:
        """Points, float64 (N, 2), from uniform numbers (N, 3) and normal ones (N, 2)."""
        return self.places(u) + self.noise * normal


class Mixture(PlaneDensity):
    """A mixture of equal Gaussians around given centres.

    Args:
        centres: float64 (M, 2).
        noise: standard deviation of each Gaussian, above 0.
    """

    def __init__(self, centres: Tensor, noise: float) -> None:
        super().__init__(noise)
        self.centres = centres

    def places(self, u: Tensor) -> Tensor:
        return self.centres[(u[:, 0] * len(self.centres)).long()]

    def log_density(self, x: Tensor) -> Tensor:
        squares = (torch.cdist(rows, self.centres).square() for rows in x.double().split(ROWS))
        exponents = torch.cat([torch.logsumexp(-0.5 * square / self.noise**2, 1) for square in squares])
        return exponents - math.log(len(self.centres)) - math.log(2 * math.pi * self.noise**2)


class Checkerboard(PlaneDensity):
    """Uniform on the dark fields of a 4 x 4 board with fields of side 2; without noise its edges are sharp."""

    def places(self, u: Tensor) -> Tensor:
        field = (u[:, 0] * 8).long()
        row, column = field // 2, 2 * (field % 2) + field // 2 % 2
        return torch.stack([2 * (column + u[:, 1]), 2 * (row + u[:, 2])], 1) - 4

    def log_density(self, x: Tensor) -> Tensor:
        # Per coordinate and field: density at x of a blurred uniform on the field's side.
        edges = torch.arange(-4, 5, 2, dtype=torch.float64)
        below = self._below(x.double()[:, :, None] - edges)
        within = (below[..., :-1] - below[..., 1:]) / 2
        dark = (torch.arange(4)[:, None] + torch.arange(4)) % 2 == 0
        return torch.einsum("nc,nr,rc->n", within[:, 0], within[:, 1], dark.double() / 8).log()

    def _below(self, distance: Tensor) -> Tensor:
        """Probability that the noise is below ``distance``."""
        if self.noise == 0:
            return (distance >= 0).double()
        return torch.special.ndtr(distance / self.noise)


class Energy(PlaneDensity):
    """The distribution ``p(x) = exp(-U(x)) / Z`` of an energy U.

    Z is the sum over ``CELLS`` x ``CELLS`` cells of the square [-8, 8] x [-8, 8]: for the energies here, finer cells or
    a larger square change it by less than 1e-8 of it. Points are drawn from the same cells, evenly within each, whose
    sides are a twentieth of the narrowest width.

    Args:
        energy: U, float64 (N,) of points (N, 2).
    """

    SIDE, CELLS = 16.0, 1024

    def __init__(self, energy: Callable[[Tensor], Tensor]) -> None:
        super().__init__(noise=0.0)
        self.energy = energy

    def log_density(self, x: Tensor) -> Tensor:
        return -self.energy(x.double()) - self.log_normaliser

    def places(self, u: Tensor) -> Tensor:
        below = self._cells.softmax(0).cumsum(0)
        cell = torch.searchsorted(below, u[:, 0].contiguous()).clamp(max=len(below) - 1)
        corner = torch.stack([cell % self.CELLS, cell // self.CELLS], 1)
        return ((corner + u[:, 1:]) / self.CELLS - 0.5) * self.SIDE

    @cached_property
    def log_normaliser(self) -> float:  # type: ignore[override]
        """The logarithm of Z."""
        return torch.logsumexp(self._cells, 0).item() + 2 * math.log(self.SIDE / self.CELLS)

    @property
    def _cells(self) -> Tensor:
        """-U in the middle of each cell, float64 (CELLS^2,), row by row."""
        middle = (_midpoints(self.CELLS) - 0.5) * self.SIDE
        y, x = torch.meshgrid(middle, middle, indexing="ij")
        return -self.energy(torch.stack([x.flatten(), y.flatten()], 1))


def _bump(distance: Tensor, width: float) -> Tensor:
    return -0.5 * (distance / width).square()


def _wall(x: Tensor) -> Tensor:
    """Rises beyond 4 on each side: U2, U3 and U4 are waves without end, which have no integral."""
    return -_bump(F.relu(x.abs() - 4), 0.4)


def _waves(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns w1, w2 and w3 of the first coordinate."""
    return torch.sin(0.5 * math.pi * x), 3 * _bump(x - 1, 0.6).exp(), 3 * torch.sigmoid((x - 1) / 0.3)


def u1(x: Tensor) -> Tensor:
    """Two arcs of a ring of radius 2."""
    ring = -_bump(torch.linalg.vector_norm(x, dim=1) - 2, 0.4)
    return ring - torch.logaddexp(_bump(x[:, 0] - 2, 0.6), _bump(x[:, 0] + 2, 0.6))


def u2(x: Tensor) -> Tensor:
    """A wave."""
    w1, _, _ = _waves(x[:, 0])
    return _wall(x[:, 0]) - _bump(x[:, 1] - w1, 0.4)


def u3(x: Tensor) -> Tensor:
    """A wave that divides and comes together again."""
    w1, w2, _ = _waves(x[:, 0])
    return _wall(x[:, 0]) - torch.logaddexp(_bump(x[:, 1] - w1, 0.35), _bump(x[:, 1] - w1 + w2, 0.35))


def u4(x: Tensor) -> Tensor:
    """A wave that becomes two."""
    w1, _, w3 = _waves(x[:, 0])
    return _wall(x[:, 0]) - torch.logaddexp(_bump(x[:, 1] - w1, 0.4), _bump(x[:, 1] - w1 + w3, 0.35))


def _midpoints(n: int) -> Tensor:
    """Evenly spaced numbers in (0, 1), ``n`` of them."""
    return (torch.arange(n, dtype=torch.float64) + 0.5) / n


def _circle(angle: Tensor) -> Tensor:
    return torch.stack([angle.cos(), angle.sin()], 1)


def two_moons() -> Tensor:
    """Two half circles of radius 2, each ending inside the other."""
    upper = 2 * _circle(math.pi * _midpoints(N_CENTRES // 2)) - torch.tensor([1.0, 0.5])
    return torch.cat([upper, -upper])


def rings() -> Tensor:
    """Three circles around the origin, of radius 1, 2 and 3, with points in proportion to their length."""
    return torch.cat([radius * _circle(2 * math.pi * _midpoints(radius * N_CENTRES // 6)) for radius in (1, 2, 3)])


def spiral() -> Tensor:
    """Two arms that leave the origin in opposite directions and turn around it one and a half times."""
    angle = 3 * math.pi * _midpoints(N_CENTRES // 2).sqrt()  # about evenly spaced along the arm
    arm = 3.6 * angle[:, None] / (3 * math.pi) * _circle(angle)
    return torch.cat([arm, -arm])


def eight_gaussians() -> Tensor:
    """Eight points on a circle of radius 3."""
    return 3 * _circle(2 * math.pi * torch.arange(8, dtype=torch.float64) / 8)


CENTRES: dict[str, Callable[[], Tensor]] = {
    "two_moons": two_moons,
    "rings": rings,
    "spiral": spiral,
    "eight_gaussians": eight_gaussians,
}


ENERGIES: dict[str, Callable[[Tensor], Tensor]] = {"u1": u1, "u2": u2, "u3": u3, "u4": u4}
"""The energies of Rezende & Mohamed 2015, table 1."""


def plane_density(name: str, noise: float) -> PlaneDensity:
    """Returns the distribution ``checkerboard``, or one of :data:`CENTRES`, or of :data:`ENERGIES`, without noise.

    Raises:
        ValueError: ``noise`` is 0 for one of :data:`CENTRES`.
    """
    if name in ENERGIES:
        return Energy(ENERGIES[name])
    if name == "checkerboard":
        return Checkerboard(noise)
    if noise == 0:
        raise ValueError(f"without noise {name} is a curve or a few points, which have no density")
    return Mixture(CENTRES[name](), noise)
