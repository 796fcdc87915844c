"""Optimizers against their formulas, the schedule against its corners."""

import math

import pytest
import torch
from torch import nn

from glow_app.config.train import OptimConfig
from glow_app.training.clock import Clock
from glow_app.training.optim import PublishedAdamax, learning_rate_factor


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
