"""Restoring: answers have the distribution that is known in closed form where the model is linear."""

from typing import Any

import pytest
import torch
from torch import Tensor

from glow_app.errors import UserError
from glow_app.flows import Bijection, Flow, single_level
from glow_app.flows.bijection import zero_logdet
from glow_app.latents.restoring import restorations, restored, what_was_seen
from tests.flows.models import small_glow

SIDE = 4
N = 200


class Dense(Bijection):
    """x = mean + factor z: normal numbers with covariance ``factor factor^T``; smooth images."""

    def __init__(self) -> None:
        super().__init__()
        at = torch.cartesian_prod(torch.arange(SIDE), torch.arange(SIDE)).double()
        near = torch.exp(-(torch.cdist(at, at) ** 2) / 4)
        self.covariance = 0.04 * near + 0.001 * torch.eye(SIDE**2, dtype=torch.float64)
        self.mean = 0.1 * torch.sin(torch.arange(SIDE**2).double())
        self.factor = torch.nn.Parameter(torch.linalg.cholesky(self.covariance).float())

    def forward(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        centred = (x.flatten(1) - self.mean.to(x)).T
        z = torch.linalg.solve_triangular(self.factor, centred, upper=False).T
        return z.reshape(x.shape), zero_logdet(x) - self.factor.diagonal().log().sum()

    def inverse(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        return (self.mean.to(z) + z.flatten(1) @ self.factor.T).view(z.shape)


@pytest.fixture(scope="module")
def flow() -> Flow:
    made = single_level(Dense(), (1, SIDE, SIDE))
    made.initialized.fill_(1)
    return made


@pytest.fixture(scope="module")
def image(flow: Flow) -> Tensor:
    return ((flow.sample(1, seed=5) + 0.5) * 256).clamp(0, 255).to(torch.uint8)


@pytest.mark.parametrize(
    "given", [{"mask": "right"}, {"mask": "random:0.5"}, {"noise": 0.1}, {"scale": 2}, {"mask": "right", "T": 0.5}]
)
def test_answers_have_the_conditional_mean_and_covariance(flow: Flow, image: Tensor, given: dict[str, Any]) -> None:
    seen = what_was_seen(image, 8, given.get("mask"), given.get("noise"), given.get("scale"))
    temperature = given.get("T", 1.0)
    each = seen.repeated(torch.zeros(N, dtype=torch.int64))
    *_, x = restorations(flow, each, torch.arange(N), 400, temperature=temperature)
    layer = flow.levels[0]
    assert isinstance(layer, Dense)
    prior = temperature**2 * layer.covariance
    observed = seen.of(torch.eye(SIDE**2).view(-1, 1, SIDE, SIDE)).flatten(1).double().T  # A
    noise = seen.deviation**2 * torch.eye(len(observed), dtype=torch.float64)
    gain = prior @ observed.T @ torch.linalg.inv(observed @ prior @ observed.T + noise)
    mean = layer.mean + gain @ (seen.values.flatten().double() - observed @ layer.mean)
    covariance = prior - gain @ observed @ prior
    answers = x.flatten(1).double()
    error = (answers.mean(0) - mean) / (covariance.diagonal() / N).sqrt()
    assert error.abs().max() < 4.5
    ratio = answers.var(0) / covariance.diagonal()
    assert 0.85 < ratio.mean() < 1.15
    assert torch.linalg.norm(answers.T.cov() - covariance) < 0.35 * torch.linalg.norm(covariance)


def test_the_density_rises_and_seen_pixels_stay(flow: Flow, image: Tensor) -> None:
    seen = what_was_seen(image, 8, "left", None, None).repeated(torch.zeros(50, dtype=torch.int64))
    frames = [seen.answers(x) for x in restorations(flow, seen, torch.arange(50), 100)]
    assert len(frames) == 101
    first, last = (flow.log_prob(frame / 256 - 0.5).mean() for frame in (frames[0], frames[-1]))
    assert last > first + 5
    for frame in frames:
        assert torch.equal(frame[..., SIDE // 2 :], image[..., SIDE // 2 :].expand(50, -1, -1, -1))


@pytest.mark.parametrize("n_bits", [8, 3])
def test_images_in_a_batch_are_answered_each_by_itself(n_bits: int) -> None:
    flow = small_glow(dtype=torch.float32)
    images = torch.randint(0, 256, (2, *flow.image_shape), dtype=torch.uint8)
    answers = restored(flow, what_was_seen(images, n_bits, "bottom", None, None), 3, 20, seed=1)
    assert answers.shape == (2, 3, *flow.image_shape)
    half = flow.image_shape[1] // 2
    assert torch.equal(answers[:, :, :, :half], images[:, None, :, :half].expand(-1, 3, -1, -1, -1))
    assert not torch.equal(answers[:, 0], answers[:, 1])
    alone = restored(flow, what_was_seen(images[1:], n_bits, "bottom", None, None), 3, 20, seed=1)
    assert (answers[1].int() - alone[0].int()).abs().float().mean() < 1
    again = restored(flow, what_was_seen(images, n_bits, "bottom", None, None), 3, 20, seed=1)
    assert torch.equal(answers, again)


def test_what_was_seen_is_shown() -> None:
    image = torch.tensor([[0, 64], [128, 192]], dtype=torch.uint8).repeat_interleave(2, 0).repeat_interleave(2, 1)
    image = image[None, None]
    assert what_was_seen(image, 8, "right", None, None).picture()[0, 0, 0].tolist() == [0, 0, 128, 128]
    assert torch.equal(what_was_seen(image, 8, None, 0.1, None).picture(), image)
    assert torch.equal(what_was_seen(image, 8, None, None, 2).picture(), image)
    assert what_was_seen(image, 8, None, None, 4).picture().unique().tolist() == [96]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((None, None, None), "nothing to do: give mask=right, noise=0.1 or scale=2"),
        (("left", 0.1, None), "mask=left and noise=0.1: give one of mask, noise and scale"),
        ((None, 0.01, None), "noise=0.01: give the noise's standard deviation, from 0.02 to 1"),
        ((None, 1.5, None), "noise=1.5"),
        ((None, None, 1), "scale=1: give a divisor of the images' 4 x 4 pixels, at least 2"),
        ((None, None, 3), "scale=3"),
    ],
)
def test_mistakes(image: Tensor, given: tuple[Any, Any, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        what_was_seen(image, 8, *given)


def test_points_are_not_restored(image: Tensor) -> None:
    with pytest.raises(UserError, match="points in the plane"):
        what_was_seen(image, None, "left", None, None)
