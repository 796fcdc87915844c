"""Bits per dimension of a data set: every image once, and the parts add up."""

import math

import pytest
import torch

from glow_app.data.sets.drawn_faces import DrawnFaces
from glow_app.evaluation.likelihood import Likelihood, importance_bound, measure_likelihood
from glow_app.flows import Glow
from glow_app.likelihood import DRAW_STRIDE, bits_per_dim, dequantization_noise, log_prob
from tests.flows.models import small_glow

FACES = DrawnFaces("test", image_size=16, n_images=21)


@pytest.fixture(scope="module")
def flow() -> Glow:
    return small_glow((3, 16, 16), dtype=torch.float64)


def nats(flow: Glow, n_bits: int, draw: int = 0) -> torch.Tensor:
    images, at = FACES.fetch(range(21)), torch.arange(21)
    u = dequantization_noise(images, 5, at + draw * DRAW_STRIDE)
    with torch.no_grad():
        return log_prob(flow, images, u.double(), n_bits).double()


@pytest.mark.parametrize("n_bits", [8, 5])
def test_parts_add_up_to_the_published_figure(flow: Glow, n_bits: int) -> None:
    reached = measure_likelihood(flow.float(), FACES, range(21), n_bits, seed=5, batch_size=8)
    expected = bits_per_dim(nats(flow.double(), n_bits), flow.n_dims)
    assert (reached.per_image - expected).abs().max() < 1e-6
    assert (sum(reached.parts.values()) - reached.per_image).abs().max() < 1e-12
    assert (reached.parts["quantization"] == n_bits).all()
    kinds = ("latents", "ActNorm", "InvConv1x1", "AffineCoupling")
    for name in [f"level {level} {kind}" for level in (1, 2) for kind in kinds]:
        assert reached.parts[name].abs().max() > 0
    assert {"level 1 Split", "level 2 TopPrior"} < set(reached.parts)


@pytest.mark.parametrize(("batch_size", "workers"), [(1, 0), (4, 0), (21, 0), (4, 2)])
def test_neither_batches_nor_workers_matter(flow: Glow, batch_size: int, workers: int) -> None:
    expected = measure_likelihood(flow.float(), FACES, range(21), 8, seed=5, batch_size=7).per_image
    reached = measure_likelihood(flow, FACES, range(21), 8, seed=5, batch_size=batch_size, workers=workers).per_image
    assert (reached - expected).abs().max() < 1e-6
    some = measure_likelihood(flow, FACES, [3, 20, 0], 8, seed=5, batch_size=batch_size).per_image
    assert (some - expected[[3, 20, 0]]).abs().max() < 1e-6


def test_the_importance_bound_by_hand(flow: Glow) -> None:
    flow.float()
    one = importance_bound(flow, FACES, range(21), 8, seed=5, batch_size=8, n_samples=1)
    assert (
        one.per_image - measure_likelihood(flow, FACES, range(21), 8, seed=5, batch_size=8).per_image
    ).abs().max() < 1e-6
    three = importance_bound(flow, FACES, range(21), 8, seed=5, batch_size=8, n_samples=3)
    draws = torch.stack([nats(flow.double(), 8, draw) for draw in range(3)])
    expected = bits_per_dim(torch.logsumexp(draws, 0) - math.log(3), flow.n_dims)
    assert (three.per_image - expected).abs().max() < 1e-6
    mean_of_draws = bits_per_dim(draws, flow.n_dims).mean(0)
    assert (three.per_image <= mean_of_draws + 1e-9).all()


def test_progress_reaches_its_end(flow: Glow) -> None:
    seen: list[tuple[int, int]] = []
    importance_bound(
        flow.float(), FACES, range(5), 8, 0, batch_size=2, n_samples=2, progress=lambda *at: seen.append(at)
    )
    assert seen == [(2, 10), (4, 10), (5, 10), (7, 10), (9, 10), (10, 10)]


def test_standard_error_and_interval() -> None:
    four = Likelihood(torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64))
    assert four.standard_error == pytest.approx(math.sqrt(5 / 3) / 2)
    assert four.interval == pytest.approx((2.5 - 1.96 * four.standard_error, 2.5 + 1.96 * four.standard_error))
    assert math.isnan(Likelihood(torch.ones(1)).standard_error)
