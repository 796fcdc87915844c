"""A flow as the prior of latents that another network gives."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from glow_app.flows import ActNorm, Chain, Flow, FlowStep, InvConv1x1, initialize, vector_coupling
from glow_app.flows.fast import accelerate
from tests.contracts.bijections import perturb


def gradients(memory: str, prepare: Callable[[Flow], Flow]) -> tuple[Tensor, Callable[[Tensor], Tensor], nn.Linear]:
    """The gradient that a prior's log-density gives to an encoder's weight, that density, and the encoder."""
    torch.manual_seed(0)
    encoder = nn.Linear(6, 4).double()
    steps = [FlowStep(ActNorm(4), InvConv1x1(4), vector_coupling("affine", "halves", i, 4, 8, 1)) for i in range(3)]
    prior = Flow((4, 1, 1), [Chain(steps, memory)], [(4, 1, 1)]).double()
    images = torch.randn(16, 6, dtype=torch.float64)
    initialize(prior, encoder(images)[:, :, None, None])
    perturb(prior)
    prior = prepare(prior)

    def density(weight: Tensor) -> Tensor:
        z = nn.functional.linear(images, weight, encoder.bias)
        return prior.log_prob(z[:, :, None, None]).mean()

    density(encoder.weight).backward()
    assert encoder.weight.grad is not None
    assert all(parameter.grad is not None for parameter in prior.parameters())
    return encoder.weight.grad, density, encoder


@pytest.mark.parametrize("prepare", [lambda flow: flow, accelerate], ids=["plain", "accelerated"])
@pytest.mark.parametrize("memory", ["plain", "checkpoint", "reversible"])
def test_the_gradient_of_a_prior_reaches_its_encoder(memory: str, prepare: Callable[[Flow], Flow]) -> None:
    found, density, encoder = gradients(memory, prepare)
    change = 1e-6 * torch.randn_like(encoder.weight)
    with torch.no_grad():
        difference = density(encoder.weight + change) - density(encoder.weight - change)
    assert difference.abs() > 1e-8
    assert torch.allclose((2 * change * found).sum(), difference, rtol=1e-5)
