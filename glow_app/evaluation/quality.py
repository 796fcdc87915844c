"""Distances between two sets of images, by the features that a network computes of them.

A distance by one network compares with no distance by another: the published ones are of InceptionV3's features.
"""

import warnings
from typing import NamedTuple

import torch
from torch import Tensor, nn

NEAREST = 5
"""Neighbours in :func:`density_and_coverage`, as its authors choose."""

SUBSETS, LARGEST_SUBSET = 50, 1000
"""Subsets whose mean is the kernel distance, and the most images in each."""

FEWEST = 2 * NEAREST
"""Fewest images in a set."""


class Figures(NamedTuple):
    """Distances of one set of images from a set of real ones.

    Attributes:
        kid: kernel distance; see :func:`kernel_distance`.
        kid_spread: its standard deviation over subsets.
        fid: Fréchet distance; see :func:`frechet_distance`.
        density: how densely real images lie around those of the set; 1 if both are alike, 0 far off.
        coverage: share of the real images that some of the set come near to.
    """

    kid: float
    kid_spread: float
    fid: float
    density: float
    coverage: float


def figures(real: Tensor, others: Tensor, seed: int) -> Figures:
    """Computes all distances of ``others`` (M, d) from ``real`` (N, d), at least ``FEWEST`` feature vectors each."""
    real, others = real.double(), others.double()
    fid = frechet_distance(real, others)
    return Figures(*kernel_distance(real, others, seed), fid, *density_and_coverage(real, others))


def frechet_distance(real: Tensor, others: Tensor) -> float:
    """Computes ``|m - n|^2 + tr(S + T - 2 (S T)^(1/2))`` of two sets' means m, n and covariances S, T.

    The squared distance of two Gaussians (Heusel et al. 2017). That of finite sets of one distribution is above 0, and
    falls with their sizes: only distances of sets of equal sizes compare.

    Args:
        real: float64 (N, d).
        others: float64 (M, d).
    """
    from torchmetrics.image.fid import FrechetInceptionDistance  # takes seconds to import

    metric = FrechetInceptionDistance(_Unchanged(real.shape[1]))
    metric.update(real, real=True)
    metric.update(others, real=False)
    return metric.compute().item()


def kernel_distance(real: Tensor, others: Tensor, seed: int) -> tuple[float, float]:
    """Computes the squared maximum mean discrepancy with the kernel ``(x y / d + 1)^3`` (Binkowski et al. 2018).

    The estimate is unbiased, so that it may be negative: that of sets of one distribution is 0 on average, whatever
    their sizes. It is the mean over ``SUBSETS`` random pairs of subsets of half as many images as the smaller set.

    Args:
        real: float64 (N, d).
        others: float64 (M, d).
        seed: seed of the subsets.

    Returns:
        the mean and the standard deviation over the subsets.
    """
    from torchmetrics.image.kid import KernelInceptionDistance  # takes seconds to import

    size = min(LARGEST_SUBSET, len(real) // 2, len(others) // 2)
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore", UserWarning)  # that the features are kept in memory
        torch.manual_seed(seed)
        metric = KernelInceptionDistance(_Unchanged(real.shape[1]), subsets=SUBSETS, subset_size=size)
        metric.update(real, real=True)
        metric.update(others, real=False)
        mean, spread = metric.compute()
    return mean.item(), spread.item()


def density_and_coverage(real: Tensor, others: Tensor, k: int = NEAREST) -> tuple[float, float]:
    """Computes density and coverage (Naeem et al. 2020).

    The ball of a real image reaches, without its border, to the k-th nearest other real image. Density is the mean
    over ``others`` of the number of balls that contain it, divided by k. Coverage is the share of balls that contain
    one of ``others``. Both are 1 for a set and itself.

    Args:
        real: float64 (N, d), N > k.
        others: float64 (M, d).
        k: neighbours.
    """
    # Not by a matrix product: its rounding errors would move points across the borders.
    exactly = "donot_use_mm_for_euclid_dist"
    radii = torch.cdist(real, real, compute_mode=exactly).kthvalue(k + 1, dim=1).values  # the nearest is itself
    inside = torch.cdist(real, others, compute_mode=exactly) < radii[:, None]
    return inside.sum(0).double().mean().item() / k, inside.any(1).double().mean().item()


class _Unchanged(nn.Module):
    """Hands torchmetrics features in place of images."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, features: Tensor) -> Tensor:
        return features
