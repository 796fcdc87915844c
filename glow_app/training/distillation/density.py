"""A density that is known by formula as a teacher, and the distance of a flow from it: on samples, and on a grid.

Rezende & Mohamed 2015, sec. 6.1: a flow is fitted to an unnormalised density p~ without data, by its free energy
``E_q[log q(x) - log p~(x)] = KL(q || p) - log Z``. In the plane Z and both divergences are sums over a grid besides.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from glow_app.data.sets.densities import PlaneDensity
from glow_app.evaluation.density import Portrait, Square, as_images, log_density
from glow_app.evaluation.likelihood import standard_error
from glow_app.flows import Flow
from glow_app.training.distillation.measure import FIRST, log_ratios
from glow_app.units import with_error

START = 2.0
"""Standard deviation of the points that initialise a student: as wide as the plane's densities."""

GRID = Square(side=16.0, cells=500)

SAMPLES, TOGETHER = 50_000, 10_000
"""Samples of the student that are measured, and how many at a time."""


class DensityTeacher(nn.Module):
    """The density of a data set of points, ``log p`` by its formula: a teacher without latents and parameters.

    Args:
        density: the density.
        name: name of the data set.
    """

    n_classes = 0

    def __init__(self, density: PlaneDensity, name: str) -> None:
        super().__init__()
        self.density = density
        self.kind = name

    def log_prob(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        """Returns log p(x) in nats, (B,), of points (B, 2, 1, 1), in their dtype and on their device."""
        return self.density.log_density(x.flatten(1).cpu()).to(x)

    def portrait(self, samples: Tensor, square: Square) -> Portrait:
        """Returns what is drawn of it: points (N, 2) of the data set, and its log-density.

        The angle of a point, its colour, is that around the origin.
        """
        nats = self.density.log_density(square.centres()).float().view(square.cells, -1)
        return Portrait(square, samples, samples, samples, nats, torch.empty(0))


def starting_points(n: int, seed: int) -> Tensor:
    """Returns points that initialise a student without data, normal with deviation ``START``: (n, 2, 1, 1)."""
    return as_images(START * torch.randn(n, 2, generator=torch.Generator().manual_seed(seed)))


@dataclass(frozen=True)
class Fitted:
    """The distances of a flow q from a known density p, in nats.

    Attributes:
        nats: ``log q - log p`` of samples of q, float64 (N,).
        log_normaliser: log Z.
        divergence: KL(q || p) on the grid.
        divergence_error: its change with half as many cells on a side.
        reversed: KL(p || q) on the grid.
        mass: integral of q over the grid.
    """

    nats: Tensor
    log_normaliser: float
    divergence: float
    divergence_error: float
    reversed: float
    mass: float

    @property
    def sampled(self) -> float:
        """KL(q || p) by samples of q."""
        return self.nats.mean().item()

    @property
    def error(self) -> float:
        """The standard error of :attr:`sampled`."""
        return standard_error(self.nats)

    @property
    def free_energy(self) -> float:
        """E_q[log q - log p~], by samples of q."""
        return self.sampled - self.log_normaliser

    def metrics(self) -> dict[str, float]:
        """The figures, for the card of a model."""
        return {
            "distillation/kl_nats": self.sampled,
            "distillation/standard_error": self.error,
            "distillation/free_energy": self.free_energy,
            "distillation/log_normaliser": self.log_normaliser,
            "distillation/kl_grid": self.divergence,
            "distillation/kl_grid_error": self.divergence_error,
            "distillation/reversed_kl_grid": self.reversed,
            "distillation/mass_grid": self.mass,
        }

    def text(self) -> str:
        """Formats the figures in two lines."""
        return (
            f"free energy: {with_error(self.free_energy, self.error)} nats of {len(self.nats):,} samples; log Z is "
            f"{self.log_normaliser:.4f}, so KL(q || p) is {with_error(self.sampled, self.error)}\n"
            f"on a grid of {GRID.cells} x {GRID.cells} cells: KL(q || p) "
            f"{with_error(self.divergence, self.divergence_error)}, KL(p || q) {self.reversed:.4f}; "
            f"q adds up to {self.mass:.4f}"
        )


@torch.no_grad()
def measure_fitted(flow: Flow, teacher: DensityTeacher, seed: int, n: int = SAMPLES, grid: Square = GRID) -> Fitted:
    """Measures a flow, in evaluation mode, beside a known density.

    Args:
        flow: q.
        teacher: p.
        seed: seed of the samples' latents.
        n: number of samples.
        grid: square and cells of the integrals.
    """
    parts = [
        log_ratios(flow, teacher, min(TOGETHER, n - done), seed, FIRST + done).double().cpu()
        for done in range(0, n, TOGETHER)
    ]
    divergence, reversed_, mass = _on_grid(flow, teacher, grid)
    coarser, _, _ = _on_grid(flow, teacher, Square(grid.side, grid.cells // 2))
    return Fitted(
        torch.cat(parts), teacher.density.log_normaliser, divergence, abs(divergence - coarser), reversed_, mass
    )


def _on_grid(flow: Flow, teacher: DensityTeacher, grid: Square) -> tuple[float, float, float]:
    """Returns KL(q || p), KL(p || q) and the integral of q, by the midpoint rule."""
    centres = grid.centres()
    q, p = log_density(flow, centres).double(), teacher.density.log_density(centres)
    area = (grid.side / grid.cells) ** 2

    def divergence(a: Tensor, b: Tensor) -> float:
        return (a.exp() * (a - b)).nan_to_num(0.0, torch.inf, -torch.inf).sum().item() * area

    return divergence(q, p), divergence(p, q), grid.integral(q)
