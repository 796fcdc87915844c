"""Figures of detection: small cases by hand, large ones against libraries, intervals by simulation."""

import pytest
import torch
from scipy.stats import rankdata
from torchmetrics.functional.classification import binary_auroc, binary_average_precision

from glow_app.scores.detection import aupr, auroc, auroc_interval, detection, fpr_at_tpr, midranks


def normal(n: int, mean: float, seed: int) -> torch.Tensor:
    return torch.randn(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + mean


def test_by_hand() -> None:
    others, detected = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([2.0, 4.0])
    assert auroc(others, detected) == pytest.approx((1.5 + 3) / 6)
    assert aupr(others, detected) == pytest.approx(0.5 * 1 + 0.5 * 2 / 4)  # at 4, at 3, at 2
    assert fpr_at_tpr(others, detected) == pytest.approx(2 / 3)
    assert fpr_at_tpr(others, detected, 0.5) == 0


def test_ties_are_worth_a_half() -> None:
    same = torch.ones(5)
    assert auroc(same, same) == 0.5
    assert fpr_at_tpr(same, same) == 1
    assert midranks(torch.tensor([3.0, 1.0, 3.0])).tolist() == [2.5, 1, 2.5]


def test_against_libraries() -> None:
    others, detected = (normal(400, 0, 0) * 4).round(), (normal(300, 1, 1) * 4).round()
    both, positive = torch.cat([others, detected]), torch.cat([torch.zeros(400), torch.ones(300)]).long()
    assert midranks(both).numpy() == pytest.approx(rankdata(both.numpy()))
    scaled = both.sigmoid()
    assert auroc(others, detected) == pytest.approx(binary_auroc(scaled, positive).item(), abs=1e-5)
    assert aupr(others, detected) == pytest.approx(binary_average_precision(scaled, positive).item(), abs=1e-5)


def test_delong_covers_as_often_as_it_says() -> None:
    truth = torch.distributions.Normal(0, 1).cdf(torch.tensor(1 / 2**0.5)).item()  # P(s < t) of N(0, 1), N(1, 1)
    intervals = [auroc_interval(normal(60, 0, 2 * k), normal(40, 1, 2 * k + 1)) for k in range(300)]
    assert 0.91 <= sum(one.low <= truth <= one.high for one in intervals) / 300 <= 0.985


def test_delong_by_its_definition() -> None:
    others, detected = normal(30, 0, 3), normal(20, 1, 4)
    pairs = (others[:, None] < detected).double()
    variance = pairs.mean(0).var() / 20 + pairs.mean(1).var() / 30
    found = auroc_interval(others, detected)
    half = 1.96 * variance.sqrt().item()
    logit = torch.logit(pairs.mean()).item()
    slope = 1 / (found.value * (1 - found.value))
    assert torch.logit(torch.tensor([found.low, found.high], dtype=torch.float64)).tolist() == pytest.approx(
        [logit - half * slope, logit + half * slope], abs=1e-3
    )


def test_without_errors_nothing_is_certain() -> None:
    found = detection(normal(50, 0, 0), normal(40, 100, 1))
    assert found.auroc.value == found.aupr.value == found.auroc.high == 1
    assert found.fpr.value == 0
    assert found.auroc.low == pytest.approx(0.05 ** (1 / 40))
    worst = auroc_interval(normal(50, 100, 0), normal(40, 0, 1))
    assert (worst.value, worst.low) == (0, 0)
    assert worst.high == pytest.approx(1 - 0.05 ** (1 / 40))


def test_the_bootstrap_is_repeatable_and_holds_the_figure() -> None:
    others, detected = normal(200, 0, 5), normal(200, 1, 6)
    first, again = detection(others, detected), detection(others, detected)
    assert first == again
    for figure in (first.auroc, first.aupr, first.fpr):
        assert figure.low < figure.value < figure.high
