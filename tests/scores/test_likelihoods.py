"""Scores of one pass through a flow, against cases computed by hand."""

import math
from statistics import NormalDist

import pytest
import torch
from torch import Tensor

from glow_app.data.sets.drawn_faces import DrawnFaces
from glow_app.evaluation.likelihood import measure_likelihood
from glow_app.flows import Flow
from glow_app.flows.bijection import Bijection
from glow_app.likelihood import DRAW_STRIDE, bits_per_dim, dequantization_noise, dequantize, log_prob
from glow_app.scores.likelihoods import likelihood_ratio, likelihoods, mean_and_error, norms
from tests.flows.models import small_glow


class Times(Bijection):
    """y = factor x: the log-determinant is that of its logarithm, once for each number."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.factor * x, x.new_full((len(x),), x[0].numel() * math.log(self.factor))

    def inverse(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        return z / self.factor

    def decompose(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        y, logdet = self(x, cond)
        return y, {"Times": logdet}


def two_numbers() -> Flow:
    """The first of two numbers is multiplied by 6, and is all of the last level; the second by 3."""
    flow = Flow((2, 1, 1), [Times(3.0), Times(2.0)], [(1, 1, 1), (1, 1, 1)])
    flow.initialized.fill_(1)
    return flow


def test_two_numbers_by_hand() -> None:
    image, at = torch.tensor([[[[10]], [[200]]]], dtype=torch.uint8), torch.tensor([4])
    found = likelihoods(two_numbers(), image, at, 8, seed=1, draws=1)
    first, second = (dequantize(image, dequantization_noise(image, 1, at), 8).flatten()).tolist()
    p = NormalDist().pdf(6 * first) * 6 * NormalDist().pdf(3 * second) * 3 / 256**2
    assert found.bits_per_dim.item() == pytest.approx(-math.log2(p) / 2, rel=1e-5)
    assert found.final_scale.item() == pytest.approx(-math.log2(NormalDist().pdf(6 * first) * 2), rel=1e-5)
    assert found.norms.tolist() == [pytest.approx([3 * abs(second), 6 * abs(first)], rel=1e-5)]
    assert found.error.isnan().all()


def test_draws_are_averaged_and_their_spread_is_the_error() -> None:
    flow, faces = small_glow((3, 16, 16)).float(), DrawnFaces("test", 16, n_images=3)
    images, at = faces.fetch(range(3)), torch.arange(3)
    found = likelihoods(flow, images, at, 8, seed=5, draws=3)
    drawn = [log_prob(flow, images, dequantization_noise(images, 5, at + k * DRAW_STRIDE), 8) for k in range(3)]
    bits = torch.stack([bits_per_dim(one, flow.n_dims) for one in drawn]).double()
    assert torch.allclose(found.bits_per_dim, bits.mean(0), atol=1e-5)
    spread = ((bits - bits.mean(0)).square().sum(0) / 2 / 3).sqrt()
    assert torch.allclose(found.error, spread, atol=1e-5)


def test_the_first_draw_is_that_of_glow_evaluate() -> None:
    flow, faces = small_glow((3, 16, 16)).float(), DrawnFaces("test", 16, n_images=5)
    found = likelihoods(flow, faces.fetch(range(5)), torch.arange(5), 8, seed=2, draws=1)
    evaluated = measure_likelihood(flow, faces, range(5), 8, seed=2, batch_size=5)
    assert torch.allclose(found.bits_per_dim, evaluated.per_image, atol=1e-12)
    last = [part for name, part in evaluated.parts.items() if name.startswith("level 2")]
    of_last = flow.latent_shapes[-1]
    assert torch.allclose(found.final_scale, torch.stack(last).sum(0) * flow.n_dims / math.prod(of_last), atol=1e-9)


def test_latents_of_the_model_itself_have_norm_one() -> None:
    flow = small_glow((3, 16, 16))
    found = norms(flow.sample_latents(200, 1.0, seed=0))
    for column, shape in zip(found.unbind(1), flow.latent_shapes, strict=True):
        d = math.prod(shape)
        assert column.square().mean().item() == pytest.approx(1, abs=4 * (2 / d / 200) ** 0.5)
        assert column.square().var().item() == pytest.approx(2 / d, rel=0.5)


def test_mean_and_error() -> None:
    mean, error = mean_and_error(torch.tensor([[1.0, 5.0], [3.0, 5.0]]))
    assert mean.tolist() == [2, 5]
    assert error.tolist() == [1, 0]  # sqrt(2) / sqrt(2)


def test_ratio() -> None:
    assert likelihood_ratio(torch.tensor([4.0]), torch.tensor([4.5])).tolist() == [-0.5]
