"""The divergence of two flows is the one that is known in closed form, and its gradient is that of its definition."""

import math

import pytest
import torch
from torch import Tensor

from glow_app.flows import ActNorm, Flow, single_level
from glow_app.training.distillation.measure import Distilled, log_ratios, measure_distilled
from tests.contracts.bijections import perturb
from tests.flows.models import small_glow


def normal(mean: list[float], std: list[float]) -> Flow:
    """The normal distribution of points with these moments, as a flow."""
    norm = ActNorm(2).double()
    with torch.no_grad():
        norm.bias.copy_(-torch.tensor(mean))
        norm.logs.copy_(-torch.tensor(std).log() / 3)
    flow = single_level(norm.float(), (2, 1, 1)).double()
    flow.initialized.fill_(1)
    return flow.eval()


def closed_form(q: tuple[list[float], list[float]], p: tuple[list[float], list[float]]) -> float:
    """KL(q || p) of two normal distributions with independent numbers."""
    return sum(
        math.log(ps / qs) + (qs**2 + (qm - pm) ** 2) / (2 * ps**2) - 0.5 for qm, qs, pm, ps in zip(*q, *p, strict=True)
    )


def test_it_is_that_of_two_normal_distributions() -> None:
    q, p = ([0.5, -1.0], [0.8, 1.5]), ([0.0, -0.5], [1.0, 1.2])
    reached = measure_distilled(normal(*q), normal(*p), n=20_000, seed=0, batch_size=3_000)
    assert len(reached.nats) == 20_000
    assert abs(reached.divergence - closed_form(q, p)) < 4 * reached.error < 0.05
    assert reached.divergence != pytest.approx(closed_form(p, q), abs=5 * reached.error)  # it has a direction


def test_a_flow_is_at_no_distance_from_itself() -> None:
    glow = small_glow(n_classes=3)
    assert log_ratios(glow, glow, 6, seed=0).abs().max() < 1e-8


def test_samples_are_functions_of_their_number() -> None:
    q, p = small_glow(trained=False), small_glow()
    whole = log_ratios(q, p, 6, seed=1, first=10)
    assert torch.allclose(torch.cat([log_ratios(q, p, 3, seed=1, first=first) for first in (10, 13)]), whole)


def test_the_gradient_goes_through_the_samples() -> None:
    """Of Glow in training: against finite differences of the estimate itself, in a random direction."""
    student, teacher = small_glow((3, 4, 4), n_levels=1), small_glow((3, 4, 4), n_levels=1, trained=False)
    teacher.eval().requires_grad_(False)
    log_ratios(student.train(), teacher, 4, seed=0).mean().backward()
    torch.manual_seed(2)
    directions = [torch.randn_like(parameter) for parameter in student.parameters()]
    slope = sum((p.grad * d).sum() for p, d in zip(student.parameters(), directions, strict=True) if p.grad is not None)

    @torch.no_grad()
    def at(step: float) -> Tensor:
        for parameter, direction in zip(student.parameters(), directions, strict=True):
            parameter.add_(step * direction)
        return log_ratios(student, teacher, 4, seed=0).mean()

    ahead, behind = at(1e-6), at(-2e-6)
    assert slope == pytest.approx(((ahead - behind) / 2e-6).item(), rel=1e-4)


def test_figures_are_told_with_their_units() -> None:
    of_images = Distilled(torch.tensor([3.0, 5.0, 4.0]).double(), 8, student=120.0, teacher=2.0, together=16)
    assert of_images.text(8).splitlines() == [
        "KL(student || teacher): 4.0000 ± 0.5774 nats/image, 0.7213 ± 0.1041 bits/dim, of 3 samples",
        "images/s, 16 at a time: student 120, teacher 2, 60 times as fast",
    ]
    assert "2.0000 ± 0.2887 nats/dim" in Distilled(of_images.nats, 2, 1.0, 1.0, 16).text(None)


def test_a_perturbed_student_is_further_away() -> None:
    teacher = small_glow(trained=False).eval()
    near, far = small_glow(trained=False), small_glow(trained=False)
    perturb(near, 0.01)
    perturb(far, 0.05)
    distances = [measure_distilled(flow.eval(), teacher, 64, 0, 32).divergence for flow in (near, far)]
    assert 0 < distances[0] < distances[1]
