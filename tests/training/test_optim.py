"""Optimizers against their formulas, the schedule against its corners."""

import math

import pytest
import torch
from torch import nn

from glow_app.config.train import OptimConfig
from glow_app.flows import Glow, Nice
from glow_app.training.clock import Clock
from glow_app.training.muon import MOMENTUM, Muon, kernels_of
from glow_app.training.optim import PublishedAdamax, clip_gradients, gradient_norm, learning_rate_factor, make_optimizer


def config(**options: object) -> OptimConfig:
    values = {
        "name": "adamax", "lr": 1e-3, "beta1": 0.9, "beta2": 0.99, "warmup_images": 0, "decay": "constant",
        "clip_norm": None, "ema_decay": 0.0,
    }  # fmt: skip
    return OptimConfig(**(values | options))  # type: ignore[arg-type]


def test_adamax_follows_its_formula() -> None:
    gradients = [0.5, -2.0, 0.1, 0.0]
    parameter = nn.Parameter(torch.tensor([1.0], dtype=torch.float64))
    optimizer = PublishedAdamax([parameter], lr=0.01, betas=(0.9, 0.99))
    w, m, u = 1.0, 0.0, 0.0
    for t, g in enumerate(gradients, start=1):
        parameter.grad = torch.tensor([g], dtype=torch.float64)
        optimizer.step()
        m, u = 0.9 * m + 0.1 * g, max(0.99 * u, abs(g))
        w -= 0.01 * math.sqrt(1 - 0.99**t) / (1 - 0.9**t) * m / (u + 1e-8)
        assert parameter.item() == pytest.approx(w, abs=1e-15)


def test_adamax_continues_from_its_state() -> None:
    def run(steps: range, parameter: nn.Parameter, optimizer: PublishedAdamax) -> None:
        for step in steps:
            parameter.grad = torch.sin(torch.arange(3.0) + step)
            optimizer.step()

    whole = nn.Parameter(torch.zeros(3))
    run(range(6), whole, PublishedAdamax([whole], 0.1, (0.9, 0.99)))
    half = nn.Parameter(torch.zeros(3))
    first = PublishedAdamax([half], 0.1, (0.9, 0.99))
    run(range(3), half, first)
    second = PublishedAdamax([half], 0.1, (0.9, 0.99))
    second.load_state_dict(first.state_dict())
    run(range(3, 6), half, second)
    assert torch.equal(half, whole)


@pytest.mark.parametrize("shape", [(12, 5, 3, 3), (6, 6, 1, 1), (40, 3, 1, 1), (7, 30)], ids=str)
def test_muon_is_that_of_torch(shape: tuple[int, ...]) -> None:
    """Two kernels of one shape at once, against torch's, which takes one matrix after the other."""
    torch.manual_seed(0)
    kernels = [nn.Parameter(torch.randn(shape)) for _ in range(2)]
    matrices = [nn.Parameter(kernel.detach().flatten(1).clone()) for kernel in kernels]
    ours = Muon(kernels, kernels, lr=0.01, betas=(0.9, 0.999))
    theirs = torch.optim.Muon(matrices, lr=0.01, weight_decay=0.0, momentum=MOMENTUM, adjust_lr_fn="match_rms_adamw")
    for _ in range(4):
        for kernel, matrix in zip(kernels, matrices, strict=True):
            kernel.grad = torch.randn(shape)
            matrix.grad = kernel.grad.flatten(1)
        ours.step()
        theirs.step()
    for kernel, matrix in zip(kernels, matrices, strict=True):
        # Both iterate in bfloat16, whose rounding differs between batched products and others.
        moved = (matrix - kernel.flatten(1)).norm() / (0.01 * 4)
        assert moved < 0.02 * matrix.numel() ** 0.5 * 0.2


def test_muon_leaves_all_but_kernels_to_adam() -> None:
    flows = [Glow((3, 8, 8), n_levels=2, n_steps=2, width=8) for _ in range(2)]
    flows[1].load_state_dict(flows[0].state_dict())
    optimizers = [
        make_optimizer(flow, config(name=name, beta2=0.999), False)
        for flow, name in zip(flows, ("muon", "adam"), strict=True)
    ]
    for _ in range(3):
        for ours, theirs in zip(flows[0].parameters(), flows[1].parameters(), strict=True):
            ours.grad = theirs.grad = torch.randn_like(ours)
        for optimizer in optimizers:
            optimizer.step()
    theirs = dict(flows[1].named_parameters())
    other = {name for name, ours in flows[0].named_parameters() if not torch.equal(ours, theirs[name])}
    kernels = {f"conv{number}.weight" for number in (1, 2, 3)}
    assert other == {name for name in theirs if name.endswith(tuple(kernels))} | {"levels.0.prior.conv.weight"}


def test_muon_has_no_kernels_in_linear_layers() -> None:
    assert not kernels_of(Nice((1, 8, 8), n_couplings=2, n_hidden=1, width=16))


@pytest.mark.parametrize("name", ["adam", "muon", "adamax"])
def test_the_norm_is_that_of_all_gradients(name: str) -> None:
    flow = Glow((3, 8, 8), n_levels=1, n_steps=1, width=4)
    for parameter in flow.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer = make_optimizer(flow, config(name=name), False)
    n = sum(parameter.numel() for parameter in flow.parameters())
    norm = gradient_norm(optimizer)
    assert norm.item() == pytest.approx(n**0.5)
    clip_gradients(optimizer, 1.0, norm)
    assert gradient_norm(optimizer).item() == pytest.approx(1, rel=1e-4)


def test_warm_up_is_linear_in_images() -> None:
    factor = learning_rate_factor(config(warmup_images=1000), images_per_step=10, clock=Clock(500, None))
    assert factor(0) == pytest.approx(0.01)
    assert factor(49) == pytest.approx(0.5)
    assert factor(99) == factor(400) == 1.0


def test_cosine_falls_to_zero_at_the_last_step() -> None:
    factor = learning_rate_factor(
        config(warmup_images=1000, decay="cosine"), images_per_step=10, clock=Clock(500, None)
    )
    assert factor(100) == pytest.approx(1.0)
    assert factor(300) == pytest.approx(0.5)
    assert factor(500) == pytest.approx(0.0)
    assert learning_rate_factor(config(decay="cosine"), 10, Clock(500, None))(0) == 1.0
