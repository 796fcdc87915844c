"""Observation models against sums over all images, and integrals."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from glow_app.flows.variational.observation import (
    Bernoulli,
    LogisticMixture,
    log_mean_exp,
    make_observation,
)

SCALES = (-30.0, -6.0, -3.0, 0.0, 2.0)
"""Log-scales from a point to far wider than the grey levels."""


def parameters(mixture: LogisticMixture, log_scale: float, spread: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    drawn = spread * torch.randn(1, mixture.n_parameters, 1, 1, generator=generator, dtype=torch.float64)
    m, c = mixture.n_components, mixture.n_channels
    drawn[:, m * (1 + c) : m * (1 + 2 * c)] = log_scale
    return drawn


@pytest.mark.parametrize("log_scale", SCALES)
@pytest.mark.parametrize("spread", [0.5, 3.0], ids=["inside", "means outside of the grey levels"])
def test_256_grey_levels_add_up_to_one(log_scale: float, spread: float) -> None:
    mixture = LogisticMixture(1, n_components=5)
    bins = torch.arange(256).view(256, 1, 1, 1)
    nats = mixture.log_prob(parameters(mixture, log_scale, spread), bins, 256)
    assert torch.isfinite(nats).all()
    assert abs(torch.logsumexp(nats, 0).item()) < 1e-12


def test_all_colours_add_up_to_one() -> None:
    mixture = LogisticMixture(3, n_components=2)
    bins = torch.tensor(list(itertools.product(range(8), repeat=3))).view(-1, 3, 1, 1)
    nats = mixture.log_prob(parameters(mixture, -1.0), bins, 8)
    assert abs(torch.logsumexp(nats, 0).item()) < 1e-12


def test_a_mass_is_the_integral_of_the_density() -> None:
    mixture = LogisticMixture(1, n_components=3)
    given = parameters(mixture, -2.0)
    logits, means, log_scales = given.view(3, 3).double()
    x = -1 + 2 * (100 + (torch.arange(10_000, dtype=torch.float64) + 0.5) / 10_000) / 256
    standard = (x[:, None] - means) / log_scales.exp()
    density = torch.softmax(logits, 0) * torch.exp(-standard) / (1 + torch.exp(-standard)) ** 2 / log_scales.exp()
    expected = density.sum(1).mean() * 2 / 256
    reached = mixture.log_prob(given, torch.full((1, 1, 1, 1), 100), 256).exp()
    assert abs(reached.item() - expected.item()) < 1e-9


def test_a_colour_moves_the_means_of_later_channels_only() -> None:
    mixture = LogisticMixture(3, n_components=1)
    given = parameters(mixture, -1.0)
    grid = torch.arange(16)

    def conditional(channel: int, before: list[int]) -> Tensor:
        """log p(channel | channels before), by sums over the channels after it."""
        after = list(itertools.product(range(16), repeat=2 - channel))
        rows = [[*before, int(value), *rest] for value in grid for rest in after]
        nats = mixture.log_prob(given, torch.tensor(rows).view(-1, 3, 1, 1), 16)
        joint = torch.logsumexp(nats.view(16, -1), 1)
        return joint - torch.logsumexp(joint, 0)

    coefficient = torch.tanh(given[0, 7, 0, 0])  # after one logit, three means and three scales
    low, high = (conditional(1, [red]).exp() @ (2 * (grid + 0.5) / 16 - 1).double() for red in (2, 13))
    assert torch.sign(high - low) == torch.sign(coefficient)
    assert torch.allclose(conditional(0, []), conditional(0, []))


def test_the_mean_of_narrow_components_is_that_of_the_grey_levels() -> None:
    mixture = LogisticMixture(1, n_components=3)
    given = parameters(mixture, -4.0, spread=0.3)
    bins = torch.arange(256)
    masses = mixture.log_prob(given, bins.view(-1, 1, 1, 1), 256).exp()
    expected = masses @ ((bins + 0.5) / 256 - 0.5).double()
    assert abs(mixture.mean(given).item() - expected.item()) < 1e-3


def test_gradients_are_finite_far_in_the_tails() -> None:
    mixture = LogisticMixture(3, n_components=4)
    given = (100 * torch.randn(2, mixture.n_parameters, 4, 4, generator=torch.manual_seed(0))).requires_grad_()
    bins = torch.randint(256, (2, 3, 4, 4))
    nats = mixture.log_prob(given, bins, 256)
    nats.sum().backward()
    assert torch.isfinite(nats).all()
    assert torch.isfinite(given.grad).all()  # type: ignore[arg-type]


def test_bernoulli_is_torchs_and_takes_two_grey_levels() -> None:
    logits, bins = torch.randn(7, 2, 1, 3, 3), torch.randint(2, (2, 1, 3, 3))
    expected = torch.distributions.Bernoulli(logits=logits).log_prob(bins.float()).sum((2, 3, 4))
    assert torch.allclose(Bernoulli(1).log_prob(logits, bins, 2), expected, atol=1e-5)
    with pytest.raises(ValueError, match="2 grey levels, and the images have 256"):
        Bernoulli(1).log_prob(logits, bins, 256)
    with pytest.raises(ValueError, match="choose bernoulli or logistic_mixture"):
        make_observation("normal", 1, 1)


def test_the_mean_of_exponentials() -> None:
    values = torch.tensor([[-1000.0, 0.0], [-1000.0, math.log(3)]])
    assert torch.allclose(log_mean_exp(values), torch.tensor([-1000.0, math.log(2)]))
