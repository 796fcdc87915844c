"""Gains, with a reader whose reading is known."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from glow_app.data.sets.drawn_faces import DrawnFaces
from glow_app.evaluation import calibration
from glow_app.evaluation.calibration import GAINS, REACHED, _Side, calibrated
from glow_app.evaluation.judge import Verdict
from glow_app.latents.directions import Directions
from glow_app.model import Model
from tests.test_model import make

FACES = DrawnFaces("train", image_size=16, n_images=120)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return make(tmp_path_factory.mktemp("model"))


def directions(model: Model, method: str) -> Directions:
    """A direction at random for every attribute, ten long."""
    torch.manual_seed(0)
    n = len(FACES.attribute_names)
    unit = nn.functional.normalize(torch.randn(n, model.flow.n_dims))
    shapes = tuple(model.flow.latent_shapes)
    ones = torch.ones(n, 2, dtype=torch.float64)
    return Directions(FACES.attribute_names, unit, -5 * unit, 5 * unit, ones, shapes, method, model.digest, {})


class Distances(nn.Module):
    """Reads how far images were moved along the direction of Smiling: sees what is in their latents."""

    def __init__(self, model: Model, one: Directions) -> None:
        super().__init__()
        self.model, self.one = model, one

    def forward(self, images: Tensor) -> Verdict:
        measured = self.one.measure(self.model.encode(images)).float()
        # A probability of 0.02 at 0 and of 0.98 at 1.5, where it stays.
        p = (0.02 + 0.64 * measured).clamp(0.02, 0.98)
        return Verdict(p.logit(), torch.empty(len(images), 0))


def test_the_gain_is_where_the_reader_has_been_convinced(model: Model) -> None:
    one = directions(model, "balanced")
    reader = Distances(model, one)
    side = _Side(model, reader, FACES, list(range(8)), 0, seed=0)  # type: ignore[arg-type]
    start = float(one.measure(side.latents)[:, 0].mean())
    expected = next(gain for gain in GAINS if 0.64 * gain >= REACHED * 0.64 * 1.2)
    found, _ = side.gain(one, "Smiling", 1.0, side.reading + 0.64 * 1.2)
    assert found == pytest.approx(expected, abs=0.11)
    assert -1 < start < 1.0


def test_what_cannot_be_reached_gets_what_comes_nearest(model: Model) -> None:
    one = directions(model, "balanced")
    side = _Side(model, Distances(model, one), FACES, list(range(8)), 0, seed=0)  # type: ignore[arg-type]
    away = replace(one, units=-one.units, without=one.with_it, with_it=one.without)
    assert side.gain(away, "Smiling", 1.0, 0.98)[0] == GAINS[0]  # every step leads away: the smallest does least harm


def test_nothing_is_said_of_sides_that_are_empty_or_equal(model: Model) -> None:
    one = directions(model, "balanced")
    reader = Distances(model, one)
    empty = _Side(model, reader, FACES, [], 0, seed=0)  # type: ignore[arg-type]
    full = _Side(model, reader, FACES, [0, 1], 0, seed=0)  # type: ignore[arg-type]
    assert empty.gain(one, "Smiling", 1.0, full.reading)[0] == 1.0
    assert full.gain(one, "Smiling", 1.0, empty.reading)[0] == 1.0
    assert full.gain(one, "Smiling", 1.0, full.reading)[0] == 1.0


def test_the_reader_learns_from_other_images_than_it_is_asked_about(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    learned: list[int] = []
    train, side = calibration.train, calibration._Side

    def noted(lessons: calibration.Lessons, *others: object) -> calibration.Judge:
        learned.extend(range(lessons.first, lessons.first + lessons.n))
        return train(lessons, *others)  # type: ignore[arg-type]

    def remembered(model: Model, reader: object, source: object, indices: list[int], *others: object) -> _Side:
        asked.extend(indices)
        return side(model, reader, source, indices, *others)  # type: ignore[arg-type]

    monkeypatch.setattr(calibration, "train", noted)
    monkeypatch.setattr(calibration, "_Side", remembered)
    monkeypatch.setattr(calibration, "GAINS", [1.0])
    methods = [directions(model, name) for name in ("mean_difference", "balanced")]
    progress: list[tuple[int, int]] = []
    made = calibrated(methods, model, FACES, range(10, 110), 128, 0, lambda *at: progress.append(at))
    assert made is not None
    assert [one.method for one in made] == ["mean_difference", "balanced"]
    assert set(made[0].metadata["reached"]) == {"mean_difference", "balanced"}
    assert made[0].gains.shape == (len(FACES.attribute_names), 2)
    assert (min(learned), max(learned)) == (10, 89)
    assert set(asked) <= set(range(90, 110))
    assert progress[-1] == (256, 256)


def test_too_few_images(model: Model) -> None:
    assert calibrated([directions(model, "balanced")], model, FACES, range(70), 128, 0) is None


def test_a_gain_is_applied_to_its_side(model: Model) -> None:
    one = directions(model, "balanced")
    gains = one.gains.clone()
    gains[0] = torch.tensor([2.0, 0.5])
    uneven = replace(one, gains=gains)
    latents = model.encode(FACES.fetch(range(2)))
    for amount, same in ((0.5, 1.0), (-0.5, -0.25), (0.0, 0.0)):
        for a, b in zip(uneven.edit(latents, {"Smiling": amount}), one.edit(latents, {"Smiling": same}), strict=True):
            assert torch.allclose(a, b)
    together = uneven.edit(latents, {"Smiling": torch.tensor([0.5, -0.5])})
    added, removed = (uneven.edit(latents, {"Smiling": amount}) for amount in (0.5, -0.5))
    for both, up, down in zip(together, added, removed, strict=True):
        assert torch.equal(both, torch.stack([up[0], down[1]]))
