"""How far an edit can go: by bits/dim that are known, and with a model whose inverse fails."""

import dataclasses
from collections.abc import Mapping, Sequence

import pytest
import torch

from glow_app.errors import UserError
from glow_app.evaluation.limits import ALLOWANCE, DEVIATION, DEVIATIONS, Limits, usual
from glow_app.latents.directions import Directions
from glow_app.likelihood import bits_per_dim, dequantization_noise, log_prob
from glow_app.model import Model
from tests.demo.studios import ATTRIBUTES, small_model, some_directions


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return small_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def far(model: Model) -> Directions:
    """Directions so long that the inverse fails within their amounts."""
    one = some_directions(model)
    return dataclasses.replace(one, with_it=one.with_it * 1e4)


def with_metrics(model: Model, **metrics: float) -> Model:
    """The same model, with another card."""
    same = Model.__new__(Model)
    same.__dict__.update(model.__dict__)
    same.card = dataclasses.replace(model.card, metrics={f"val/{key}": value for key, value in metrics.items()})
    return same


class Known(Limits):
    """3 bits/dim, ``slope`` more for each amount above ``up`` or below ``down``; all that was asked is noted."""

    def __init__(self, model: Model, up: float, down: float, slope: float = 1.0) -> None:
        super().__init__(model, some_directions(model), [])
        self.up, self.down, self.slope = up, down, slope
        self.asked: list[float] = []

    def bits(self, edits: Sequence[Mapping[str, float]]) -> list[float]:
        sums = [sum(edit.values()) for edit in edits]
        self.asked += sums
        return [3 + self.slope * max(0, amount - self.up, self.down - amount) for amount in sums]


@pytest.mark.parametrize(
    ("up", "down", "expected"),
    [
        (0.48, -1.2, (-1.45, 0.7)),  # 0.25 further, at multiples of 0.05
        (5, -5, (-2, 2)),
        (0.78, -0.02, (-0.25, 1)),
        (-0.2, -5, (-2, 0.25)),
    ],
)
def test_the_interval(model: Model, up: float, down: float, expected: tuple[float, float]) -> None:
    found = Known(model, up, down)
    own = found.bits([{}])[0]
    assert found.most == own + ALLOWANCE
    assert found.interval("Weak") == pytest.approx(expected)
    assert len(found.asked) <= 32


def test_an_interval_between_other_ends_and_with_other_edits(model: Model) -> None:
    found = Known(model, 1.0, -1.0)
    assert found.interval("Weak", low=-0.7, high=3) == pytest.approx((-0.7, 1.25))
    assert found.interval("Weak", low=0, high=0.3) == (0, 0.3)
    assert Known(model, 9, -9).interval("Weak", low=-1e30, high=1e30) == (-2, 2)
    assert found.interval("Weak", {"Strong": 0.5, "weak": 9}) == pytest.approx((-1.75, 0.75))
    assert found.interval("Weak", {"Strong": 2}) == (0, 0)  # already too far
    with pytest.raises(UserError, match="attribute Week is unknown: did you mean Weak"):
        found.interval("Week")


def test_several_attributes_are_scaled_together(model: Model) -> None:
    found = Known(model, 1.0, -1.0)
    edits = [{"Weak": 2.0, "Strong": 1.0}, {"Weak": 1.0}, {}, {"Weak": -5.0}, {"Weak": 3.0, "Strong": -3.0}]
    factors = found.factors(edits)
    assert factors == pytest.approx([0.4, 1, 1, 0.25, 2 / 3])  # 0.8 + 0.4 = 1.2 is the last below 1.25; 2 is the most
    steep = Known(model, 0.0, -1.0, slope=10)
    assert steep.factors([{"Weak": -0.5}, {"Weak": 2.0}]) == [1, 0]
    assert steep.interval("Weak") == (-1, 0)


def test_what_is_usual_is_on_the_card(model: Model) -> None:
    assert usual(model.card) is None
    known = usual(with_metrics(model, bits_per_dim=3.0, standard_error=0.01, images=100).card)
    assert known is not None
    assert (known.images, known.mean) == ("validation", 3.0)
    assert known.most == pytest.approx(3.0 + DEVIATIONS * 0.1)
    known = usual(dataclasses.replace(model.card, metrics={"test/bits_per_dim": 3.0}))
    assert known is not None
    assert (known.images, known.most) == ("test", 3.0 + DEVIATIONS * DEVIATION)


def test_pictures_may_be_as_unlike_as_the_training_images_are(model: Model) -> None:
    latents = model.encode(model.sample(1, seed=1))
    directions = some_directions(model)
    own = Limits(model, directions, latents).bits([{}])[0]
    assert Limits(model, directions, latents).most == own + ALLOWANCE
    assert Limits(with_metrics(model, bits_per_dim=own + 1), directions, latents).most == own + 1 + 3 * DEVIATION
    assert Limits(with_metrics(model, bits_per_dim=own - 9), directions, latents).most == own + ALLOWANCE


def test_bits_are_those_of_the_decoded_picture(model: Model) -> None:
    directions = some_directions(model)
    latents = model.encode(model.sample(1, seed=1))
    picture = model.decode(directions.edit(latents, {"Strong": 1.5}))
    u = dequantization_noise(picture, 7, torch.zeros(1, dtype=torch.int64))
    with torch.no_grad():
        expected = bits_per_dim(log_prob(model.flow, picture, u, model.n_bits), picture[0].numel()).item()
    found = Limits(model, directions, latents, seed=7).bits([{}, {"Strong": 1.5}] * 10)  # more than a batch
    assert found[1::2] == pytest.approx([expected] * 10)
    assert found[0] != pytest.approx(expected)


def test_an_edit_that_the_inverse_cannot_follow_is_made_as_far_as_it_can(model: Model, far: Directions) -> None:
    latents = model.encode(model.sample(1, seed=1))
    with pytest.raises(UserError, match="image 0 of 1 is not finite"):
        model.decode(far.edit(latents, {"Rare": 2e35}))
    limits = Limits(model, far, latents)
    assert limits.bits([{"Rare": 2e35}]) == [torch.inf]
    low, high = limits.interval("Rare")
    assert -2 <= low <= 0 <= high < 2
    assert limits.natural([{"Rare": low}, {"Rare": high}, {"Rare": 2.0}, {"Rare": 2e35}]) == [True, True, False, False]
    model.decode(far.edit(latents, {"Rare": high}))
    assert limits.interval("Rare") == (low, high)
    factor = limits.factors([{"Rare": 2.0, "Weak": -1.0}])[0]
    assert 0 <= factor < 1
    assert limits.natural([{"Rare": 2.0 * factor, "Weak": -factor}]) == [True]


def test_pictures_of_a_class(tmp_path_factory: pytest.TempPathFactory) -> None:
    model = small_model(tmp_path_factory.mktemp("classes"), n_classes=3)
    latents = model.encode(model.sample(1, seed=1, label=2), 2)
    low, high = Limits(model, some_directions(model), latents, 2).interval(ATTRIBUTES[2])
    assert low <= 0 <= high
    with pytest.raises(UserError, match="this model is class-conditional: give a label"):
        Limits(model, some_directions(model), latents).interval(ATTRIBUTES[2])
