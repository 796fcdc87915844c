"""Distributions of points in the plane: easy to draw from, and with a density that is known.

All live in the square [-4, 4] x [-4, 4], up to their noise. Each is a shape, blurred: a point is a place on the shape
plus normal noise. Where the shape is a set of centres, the distribution is a mixture of equal Gaussians, so that its
density is a sum that one can write down.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

N_CENTRES = 1000
"""Of a curve: so dense that the sum of their Gaussians cannot be told from a blurred curve."""

ROWS = 4096
"""Points whose distances to all centres are held at once."""


class PlaneDensity(ABC):
    """A distribution in the plane.

    Args:
        noise: standard deviation of the blur, in both directions.
    """

    def __init__(self, noise: float) -> None:
        self.noise = noise

    @abstractmethod
    def places(self, u: Tensor) -> Tensor:
        """Places on the shape, float64 (N, 2), from uniform numbers in (0, 1): float64 (N, 3)."""

    @abstractmethod
    def log_density(self, x: Tensor) -> Tensor:
        """log p(x) in nats, float64 (N,), of points (N, 2); -inf where there are none."""

    def points(self, u: Tensor, normal: Tensor) -> Tensor:
        """Points, float64 (N, 2), from uniform numbers (N, 3) and normal ones (N, 2)."""
        return self.places(u) + self.noise * normal


class Mixture(PlaneDensity):
    """Equally many points around each of some centres.

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
    """Uniform on the dark fields of a board of 4 x 4 fields, whose sides are 2; without noise its edges are sharp."""

    def places(self, u: Tensor) -> Tensor:
        field = (u[:, 0] * 8).long()
        row, column = field // 2, 2 * (field % 2) + field // 2 % 2
        return torch.stack([2 * (column + u[:, 1]), 2 * (row + u[:, 2])], 1) - 4

    def log_density(self, x: Tensor) -> Tensor:
        # Per coordinate and field: how much of a blurred unit of its side lies at x.
        edges = torch.arange(-4, 5, 2, dtype=torch.float64)
        below = self._below(x.double()[:, :, None] - edges)
        within = (below[..., :-1] - below[..., 1:]) / 2
        dark = (torch.arange(4)[:, None] + torch.arange(4)) % 2 == 0
        return torch.einsum("nc,nr,rc->n", within[:, 0], within[:, 1], dark.double() / 8).log()

    def _below(self, distance: Tensor) -> Tensor:
        """The part of the noise that is smaller than ``distance``."""
        if self.noise == 0:
            return (distance >= 0).double()
        return torch.special.ndtr(distance / self.noise)


def _along(n: int) -> Tensor:
    """``n`` numbers in (0, 1), evenly spaced."""
    return (torch.arange(n, dtype=torch.float64) + 0.5) / n


def _circle(angle: Tensor) -> Tensor:
    return torch.stack([angle.cos(), angle.sin()], 1)


def two_moons() -> Tensor:
    """Two half circles of radius 2, each of which ends inside of the other."""
    upper = 2 * _circle(math.pi * _along(N_CENTRES // 2)) - torch.tensor([1.0, 0.5])
    return torch.cat([upper, -upper])


def rings() -> Tensor:
    """Three circles around the origin, of radius 1, 2 and 3; the longer, the more points."""
    return torch.cat([radius * _circle(2 * math.pi * _along(radius * N_CENTRES // 6)) for radius in (1, 2, 3)])


def spiral() -> Tensor:
    """Two arms that leave the origin in opposite directions and turn around it one and a half times."""
    angle = 3 * math.pi * _along(N_CENTRES // 2).sqrt()  # about evenly spaced along the arm
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


def plane_density(name: str, noise: float) -> PlaneDensity:
    """The distribution ``checkerboard``, or one of :data:`CENTRES`.

    Raises:
        ValueError: there is no noise where there has to be some.
    """
    if name == "checkerboard":
        return Checkerboard(noise)
    if noise == 0:
        raise ValueError(f"without noise {name} is a curve or a few points, which have no density")
    return Mixture(CENTRES[name](), noise)
