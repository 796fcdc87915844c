"""Distances of sets: against values known by hand and formulas written anew."""

import pytest
import torch
from torch import Tensor

from glow_app.evaluation.quality import density_and_coverage, figures, frechet_distance, kernel_distance


def normal(n: int, d: int, seed: int, shift: float = 0.0) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + shift


def cross(a: float, b: float) -> Tensor:
    """Four points with mean 0 and covariance diag(2 a^2 / 3, 2 b^2 / 3)."""
    return torch.tensor([[a, 0], [-a, 0], [0, b], [0, -b]], dtype=torch.float64)


def test_frechet_distance_of_gaussians_on_the_axes() -> None:
    """``|m - n|^2 + sum (s - t)^2`` of the standard deviations s, t."""
    real, others = cross(3.0, 6.0), cross(6.0, 6.0) + torch.tensor([1.0, -2.0])
    assert frechet_distance(real, others) == pytest.approx(1 + 4 + 2 / 3 * (6 - 3) ** 2, rel=1e-9)
    assert frechet_distance(real, real) == pytest.approx(0, abs=1e-9)


def test_frechet_distance_of_correlated_features() -> None:
    real = normal(60, 4, seed=0) @ normal(4, 4, seed=1)
    others = normal(50, 4, seed=2) @ normal(4, 4, seed=3) + 0.5
    s, t = torch.cov(real.T), torch.cov(others.T)
    values, vectors = torch.linalg.eigh(s)
    root = vectors @ values.sqrt().diag() @ vectors.T
    cross_term = torch.linalg.eigvalsh(root @ t @ root).sqrt().sum()
    means = (real.mean(0) - others.mean(0)).square().sum()
    assert frechet_distance(real, others) == pytest.approx((means + s.trace() + t.trace() - 2 * cross_term).item())


def kernel(x: Tensor, y: Tensor) -> float:
    return ((x * y).sum().item() / len(x) + 1) ** 3


def test_kernel_distance_is_the_mean_over_pairs() -> None:
    """Subsets of two points of four: all pairs of points are in them equally often, but for chance."""
    real, others = normal(4, 3, seed=0), normal(4, 3, seed=1, shift=1.0)
    pairs = [(i, j) for i in range(4) for j in range(4)]
    within = sum(kernel(x[i], x[j]) for x in (real, others) for i, j in pairs if i != j) / 12
    between = sum(kernel(real[i], others[j]) for i, j in pairs) / 16
    means, spreads = zip(*(kernel_distance(real, others, seed) for seed in range(40)), strict=True)
    error = spreads[0] / (50 * 40) ** 0.5
    assert sum(means) / 40 == pytest.approx(within - 2 * between, abs=4 * error)


def test_kernel_distance_of_one_distribution_is_0_on_average() -> None:
    found = torch.tensor(
        [kernel_distance(normal(16, 4, 2 * i), normal(16, 4, 2 * i + 1), seed=i)[0] for i in range(60)]
    )
    error = (found.std() / 60**0.5).item()
    assert abs(found.mean().item()) < 3 * error
    assert (found < 0).any()
    assert kernel_distance(normal(16, 4, 0), normal(16, 4, 1, shift=1.0), seed=0)[0] > 20 * error


def test_the_seed_alone_chooses_the_subsets() -> None:
    real, others = normal(20, 3, seed=0), normal(20, 3, seed=1)
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first = figures(real, others, seed=3)
    assert torch.equal(before, torch.random.get_rng_state())
    torch.manual_seed(6)
    assert figures(real, others, seed=3) == first
    assert figures(real, others, seed=4).kid != first.kid


def test_density_and_coverage_by_hand() -> None:
    """The balls around 0, 1, 2, 3 have radius 1, and do not contain their borders."""
    real = torch.arange(4.0, dtype=torch.float64)[:, None]
    others = torch.tensor([[0.5], [10.0], [2.0]], dtype=torch.float64)
    # 0.5 is in two balls, 10 in none, 2 in its own.
    assert density_and_coverage(real, others, k=1) == pytest.approx((3 / 3, 3 / 4))
    # The balls of radius 2, 1, 1, 2: 0.5 is in two of them, 2 in that around 2, and in that around 3.
    assert density_and_coverage(real, others, k=2)[0] == pytest.approx(inside(real, others, 2))


def inside(real: Tensor, others: Tensor, k: int) -> float:
    radii = [sorted(abs(x - y) for y in real[:, 0].tolist())[k] for x in real[:, 0].tolist()]
    count = sum(abs(x - y) < r for x, r in zip(real[:, 0].tolist(), radii, strict=True) for y in others[:, 0].tolist())
    return count / k / len(others)


def test_a_set_and_itself_and_one_far_off() -> None:
    real = normal(50, 6, seed=0)
    assert density_and_coverage(real, real) == pytest.approx((1.0, 1.0))
    assert density_and_coverage(real, real + 100) == (0.0, 0.0)
