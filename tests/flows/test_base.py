"""Base distributions: densities, draws and what a temperature is."""

import math

import pytest
import torch

from glow_app.flows.base import BASES, Base, base_distribution


@pytest.fixture(params=BASES)
def base(request: pytest.FixtureRequest) -> Base:
    return BASES[request.param]


def test_density_integrates_to_one_and_has_its_mode_at_zero(base: Base) -> None:
    z = torch.linspace(-40, 40, 80_001, dtype=torch.float64)
    density = base.log_prob([z[:, None]]).exp()
    assert abs(density.sum() * 1e-3 - 1) < 1e-9
    assert abs(z[density.argmax()]) < 1e-9


def test_draws_have_the_density(base: Base) -> None:
    """The share of draws below a point is the integral up to it."""
    draws = base.draw(0, torch.arange(200), 500).flatten()
    z = torch.linspace(-30, 30, 60_001, dtype=torch.float64)
    below = base.log_prob([z[:, None]]).exp().cumsum(0) * 1e-3
    for point in (-2.0, -0.5, 0.0, 1.0):
        at = int((z - point).abs().argmin())
        assert abs((draws <= point).double().mean() - below[at]) < 4 * math.sqrt(0.25 / len(draws))


def test_draws_are_functions_of_seed_and_position(base: Base) -> None:
    some = base.draw(3, torch.tensor([7, 2]), 5)
    assert torch.equal(some[1], base.draw(3, torch.tensor([2]), 5)[0])
    assert not torch.equal(some[1], base.draw(4, torch.tensor([2]), 5)[0])


def test_log_prob_adds_up_over_latents(base: Base) -> None:
    torch.manual_seed(0)
    latents = [torch.randn(3, 2, 4, 4), torch.randn(3, 4, 2, 2)]
    assert torch.allclose(base.log_prob(latents), base.log_prob_of(latents[0]) + base.log_prob_of(latents[1]))


def test_known_values() -> None:
    z = torch.tensor([[0.7]], dtype=torch.float64)
    normal = torch.distributions.Normal(0.0, 1.0).log_prob(z)[0, 0]
    assert abs(base_distribution("normal").log_prob([z])[0] - normal) < 1e-7
    assert abs(base_distribution("logistic").log_prob([z])[0] + math.log(math.exp(0.7) + 2 + math.exp(-0.7))) < 1e-12


def test_far_out_is_finite(base: Base) -> None:
    assert torch.isfinite(base.log_prob([torch.full((1, 4), 1e4)])).all()


def test_unknown_base() -> None:
    with pytest.raises(ValueError, match="choose one of normal, logistic"):
        base_distribution("cauchy")
