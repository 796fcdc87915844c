"""Flows of vectors: couplings with MLPs, and a density of points in the plane."""

import math

import pytest
import torch
from torch import Tensor

from glow_app.flows import ActNorm, Bijection, Chain, Flow, InvConv1x1, initialize, vector_coupling
from tests.contracts.bijections import perturb


def points_flow(base: str = "normal", n_couplings: int = 4) -> Flow:
    torch.manual_seed(0)
    steps: list[Bijection] = []
    for i in range(n_couplings):
        steps += [ActNorm(2), InvConv1x1(2), vector_coupling("affine", "halves", i, 2, width=16, n_hidden=2)]
    flow = Flow((2, 1, 1), [Chain(steps)], [(2, 1, 1)], base=base).double()
    initialize(flow, ring(256))
    return flow


def ring(n: int) -> Tensor:
    angle = 2 * math.pi * torch.rand(n, dtype=torch.float64)
    radius = 1 + 0.1 * torch.randn(n, dtype=torch.float64)
    return torch.stack([radius * angle.cos(), radius * angle.sin()], 1)[:, :, None, None]


@pytest.mark.parametrize("partition", ["even_odd", "halves"])
@pytest.mark.parametrize("number", [0, 1])
def test_one_part_decides_over_the_other(partition: str, number: int) -> None:
    torch.manual_seed(0)
    coupling = vector_coupling("additive", partition, number, n_dims=6, width=8, n_hidden=1)
    perturb(coupling)
    x = torch.randn(4, 6, 1, 1)
    z = coupling(x)[0]
    parts = [[0, 2, 4], [1, 3, 5]] if partition == "even_odd" else [[0, 1, 2], [3, 4, 5]]
    kept, changed = parts if number == 0 else parts[::-1]
    assert torch.equal(z[:, kept], x[:, kept])
    assert (z[:, changed] != x[:, changed]).all()


@pytest.mark.parametrize("base", ["normal", "logistic"])
def test_density_of_points_integrates_to_one(base: str) -> None:
    flow = points_flow(base)
    perturb(flow, 0.05)
    side = torch.linspace(-30, 30, 301, dtype=torch.float64)
    grid = torch.cartesian_prod(side, side)[:, :, None, None]
    with torch.no_grad():
        assert abs(flow.log_prob(grid).exp().sum() * 0.2**2 - 1) < 1e-2


def test_learns_a_ring() -> None:
    flow = points_flow()
    held_out = ring(500)
    optimizer = torch.optim.Adam(flow.parameters(), lr=1e-2)
    before = flow.log_prob(held_out).mean().item()
    for _ in range(60):
        optimizer.zero_grad()
        (-flow.log_prob(ring(128)).mean()).backward()
        optimizer.step()
    assert flow.log_prob(held_out).mean().item() > before + 0.3


def test_temperature_scales_the_latents_of_any_base() -> None:
    for base in ("normal", "logistic"):
        flow = points_flow(base)
        [whole], [half] = flow.sample_latents(5, 1.0, seed=1), flow.sample_latents(5, 0.5, seed=1)
        assert torch.equal(half, 0.5 * whole)
        assert (flow.sample_latents(5, 0.0, seed=1)[0] == 0).all()


def test_mistakes_are_told() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        vector_coupling("affine", "halves", 0, n_dims=1, width=4, n_hidden=1)
    with pytest.raises(ValueError, match="partition is 'thirds'"):
        vector_coupling("affine", "thirds", 0, n_dims=4, width=4, n_hidden=1)
    with pytest.raises(ValueError, match="coupling is 'other'"):
        vector_coupling("other", "halves", 0, n_dims=4, width=4, n_hidden=1)
