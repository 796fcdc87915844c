"""Detection of one set of images among others by a score: AUROC, AUPR and FPR at 95% TPR, with intervals.

The images to be detected, those unlike the training images, are the positive class, as in Hendrycks et al. 2019 ("Deep
anomaly detection with outlier exposure"), and larger scores are called positive. No value may be NaN.
"""

from statistics import NormalDist
from typing import NamedTuple

import torch
from torch import Tensor

TPR = 0.95
"""Share of the images to be detected that :func:`fpr_at_tpr` detects."""

RESAMPLES = 200
"""Bootstrap resamples of an interval."""

LEVEL = 0.95
"""Coverage of all intervals."""


class Estimate(NamedTuple):
    """A figure and its interval of coverage ``LEVEL``."""

    value: float
    low: float
    high: float


class Detection(NamedTuple):
    """Figures of a score that is to detect one set among another.

    Attributes:
        auroc: probability that an image to be detected has the larger score; interval by DeLong.
        aupr: area under precision against recall; interval by bootstrap.
        fpr: share of the others that are called positive where ``TPR`` of those to be detected are; by bootstrap.
    """

    auroc: Estimate
    aupr: Estimate
    fpr: Estimate


def detection(others: Tensor, detected: Tensor, seed: int = 0) -> Detection:
    """Measures how well a score detects one set among another.

    Args:
        others: (N,), scores of images like the training images.
        detected: (M,), scores of the images to be detected.
        seed: seed of the bootstrap, which resamples both sets.
    """
    generator = torch.Generator().manual_seed(seed)
    areas, rates = torch.empty(RESAMPLES, dtype=torch.float64), torch.empty(RESAMPLES, dtype=torch.float64)
    for number in range(RESAMPLES):
        n, m = (x[torch.randint(len(x), (len(x),), generator=generator)] for x in (others, detected))
        areas[number], rates[number] = aupr(n, m), fpr_at_tpr(n, m)
    return Detection(
        auroc_interval(others, detected),
        _between(aupr(others, detected), areas),
        _between(fpr_at_tpr(others, detected), rates),
    )


def _between(value: float, resampled: Tensor) -> Estimate:
    low, high = resampled.quantile(torch.tensor([(1 - LEVEL) / 2, (1 + LEVEL) / 2], dtype=torch.float64)).tolist()
    return Estimate(value, min(low, value), max(high, value))


def auroc(others: Tensor, detected: Tensor) -> float:
    """``P(s < t) + P(s = t) / 2`` of scores s of the others and t of the detected: Mann and Whitney's statistic."""
    n, m = len(others), len(detected)
    ranks = midranks(torch.cat([others, detected]))
    return ((ranks[n:].sum() - m * (m + 1) / 2) / (n * m)).item()


def auroc_interval(others: Tensor, detected: Tensor) -> Estimate:
    """The AUROC with the interval of DeLong et al. 1988, in the logit of the AUROC, so that it stays within [0, 1].

    The variance is ``var(V_10) / m + var(V_01) / n`` of the placements, V_10 of each detected image (the share of the
    others below it) and V_01 of each other one, computed from ranks (Sun & Xu 2014). An AUROC of 0 or 1 has no
    variance; its interval then reaches ``1 - (1 - LEVEL)^(1/k)`` far, k being the size of the smaller set: a rarer
    exception than that among k images has more than 1 chance in 20 to stay unseen.
    """
    n, m = len(others), len(detected)
    both = midranks(torch.cat([others, detected]))
    of_detected = (both[n:] - midranks(detected)) / n
    of_others = 1 - (both[:n] - midranks(others)) / m
    value = of_detected.mean().item()
    if not 0 < value < 1 or n < 2 or m < 2:
        edge = 1 - (1 - LEVEL) ** (1 / min(n, m))
        return Estimate(value, 0.0 if value < 1 else 1 - edge, 1.0 if value > 0 else edge)
    variance = (of_detected.var() / m + of_others.var() / n).item()
    logit = torch.logit(torch.tensor(value, dtype=torch.float64))
    half = NormalDist().inv_cdf((1 + LEVEL) / 2) * variance**0.5 / (value * (1 - value))
    return Estimate(value, torch.sigmoid(logit - half).item(), torch.sigmoid(logit + half).item())


def midranks(values: Tensor) -> Tensor:
    """Ranks from 1, ties sharing their mean: float64 (N,)."""
    _, which, counts = values.unique(return_inverse=True, return_counts=True)
    return (counts.cumsum(0) - (counts - 1) / 2).double()[which]


def aupr(others: Tensor, detected: Tensor) -> float:
    """``sum_k (R_k - R_(k-1)) P_k`` over thresholds k, of recall R and precision P: the average precision."""
    hits, alarms = _counts(others, detected)
    precision = hits / (hits + alarms)
    recall = hits / len(detected)
    return (recall.diff(prepend=recall.new_zeros(1)) * precision).sum().item()


def fpr_at_tpr(others: Tensor, detected: Tensor, tpr: float = TPR) -> float:
    """Least share of the others at or above a threshold that at least ``tpr`` of the detected reach."""
    threshold = detected.sort(descending=True).values[_ceil(tpr * len(detected)) - 1]
    return (others >= threshold).double().mean().item()


def _ceil(x: float) -> int:
    return max(1, -int(-(x - 1e-9) // 1))


def _counts(others: Tensor, detected: Tensor) -> tuple[Tensor, Tensor]:
    """Detected images and others at or above each distinct score, from the largest on."""
    values, order = torch.cat([others, detected]).sort(descending=True)
    positive = (order >= len(others)).double()
    last = torch.cat([values[1:] != values[:-1], torch.ones(1, dtype=torch.bool)])
    hits = positive.cumsum(0)
    return hits[last], (torch.arange(1, len(values) + 1) - hits)[last]
