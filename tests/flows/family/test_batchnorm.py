"""Batch normalisation of a flow: what a batch is normalised by, what is counted, and what is kept of it."""

import pytest
import torch
from torch import Tensor

from glow_app.flows import ActNorm, BatchNorm
from glow_app.flows.family.batchnorm import EPSILON, normalisation


def a_batch(n: int = 8) -> Tensor:
    torch.manual_seed(0)
    return 3 * torch.randn(n, 2, 4, 4, dtype=torch.float64) + 1


def make(momentum: float) -> BatchNorm:
    return BatchNorm(2, momentum).double()


def test_without_momentum_a_batch_has_mean_zero_and_standard_deviation_one() -> None:
    x = a_batch()
    z, logdet = make(momentum=0.0)(x)
    std, mean = torch.std_mean(z, (0, 2, 3), correction=0)
    assert mean.abs().max() < 1e-12
    assert (std - 1).abs().max() < 1e-4
    variance = x.var((0, 2, 3), correction=0)
    assert (logdet + 16 * 0.5 * torch.log(variance + EPSILON).sum()).abs().max() < 1e-10
    assert logdet.shape == (8,)


def test_a_batch_is_mixed_with_the_average_which_has_no_gradient() -> None:
    x, norm = a_batch().requires_grad_(), make(momentum=0.75)
    norm.mean.fill_(5.0)
    z, logdet = norm(x)
    mean = 0.75 * 5.0 + 0.25 * x.mean((0, 2, 3))
    variance = 0.75 * 1.0 + 0.25 * x.var((0, 2, 3), correction=0)
    expected = (x - mean[:, None, None]) / torch.sqrt(variance + EPSILON)[:, None, None]
    assert (z - expected).abs().max() < 1e-12
    weights = torch.randn_like(z)
    found = torch.autograd.grad((z * weights).sum() + logdet.sum(), x)[0]
    wanted = torch.autograd.grad((expected * weights).sum() - 8 * 16 * 0.5 * torch.log(variance + EPSILON).sum(), x)[0]
    assert (found - wanted).abs().max() < 1e-10


def test_averages_change_by_update_alone() -> None:
    x, norm = a_batch(), make(momentum=0.5)
    first, again = norm(x)[0], norm(x)[0]
    assert torch.equal(first, again)
    assert torch.equal(norm.mean, torch.zeros(2, dtype=torch.float64))
    norm.update()
    assert torch.allclose(norm.mean, 0.1 * x.mean((0, 2, 3)))
    kept = norm.mean.clone()
    norm.update()  # nothing new was found
    norm.eval()(x)
    norm.update()
    assert torch.equal(norm.mean, kept)


def test_what_is_not_finite_is_not_kept() -> None:
    norm = make(momentum=0.5)
    norm(torch.full((2, 2, 4, 4), float("nan"), dtype=torch.float64))
    norm.update()
    assert torch.equal(norm.mean, torch.zeros(2, dtype=torch.float64))
    assert torch.equal(norm.variance, torch.ones(2, dtype=torch.float64))


def test_evaluation_after_initialisation_normalises_the_batch() -> None:
    x, norm = a_batch(), make(momentum=0.9)
    with torch.no_grad():
        norm.initialize(x)
    std, mean = torch.std_mean(norm.eval()(x)[0], (0, 2, 3), correction=0)
    assert mean.abs().max() < 1e-12
    assert (std - 1).abs().max() < 1e-4


def test_choices() -> None:
    assert isinstance(normalisation("actnorm", 3, 0.9), ActNorm)
    with pytest.raises(ValueError, match="normalisation is 'layer'"):
        normalisation("layer", 3, 0.9)
