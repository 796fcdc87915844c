"""Gains, with a reader whose reading is known."""

import pytest
import torch
from torch import Tensor, nn

from glow_app.data.sets.drawn_faces import DrawnFaces
from glow_app.evaluation import calibration
from glow_app.evaluation.calibration import GAINS, REACHED, _gain, _Side, calibrated
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
    ones = torch.ones(n, dtype=torch.float64)
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


class Known:
    """A side whose images are led a known fraction of the way by a gain of 1."""

    def __init__(self, reading: float, covers: float) -> None:
        self.reading, self.covers = reading, covers

    def covered(self, one: object, name: str, amount: float, other: float) -> float:
        return min(self.covers * abs(amount), 1.0)


def gain(absent: Known, present: Known) -> tuple[float, tuple[float | None, float | None]]:
    return _gain(None, "Smiling", absent, present)  # type: ignore[arg-type]


def test_an_edit_covers_what_the_reader_sees(model: Model) -> None:
    one = directions(model, "balanced")
    side = _Side(model, Distances(model, one), FACES, list(range(8)), 0)  # type: ignore[arg-type]
    assert side.covered(one, "Smiling", 0.1, side.reading + 0.064) == pytest.approx(1, abs=0.2)
    assert side.covered(one, "Smiling", -0.1, side.reading + 0.064) == pytest.approx(-1, abs=0.2)


def test_the_gain_is_the_smallest_that_reaches_the_other_side_on_average() -> None:
    found, reached = gain(Known(0.1, 1.5), Known(0.9, 0.5))
    assert found == next(g for g in GAINS if (min(1, 1.5 * g) + min(1, 0.5 * g)) / 2 >= REACHED)
    assert reached == (1, 0.5 * found)


def test_what_cannot_be_reached_gets_what_comes_nearest() -> None:
    assert gain(Known(0.1, 0.3), Known(0.9, 0.1)) == (GAINS[-1], (0.3 * GAINS[-1], 0.1 * GAINS[-1]))
    # Every step leads away: the smallest does least harm.
    assert gain(Known(0.1, -0.3), Known(0.9, -0.1))[0] == GAINS[0]


def test_nothing_is_said_of_sides_that_are_empty_or_equal_nor_of_images_that_are_not_finite(model: Model) -> None:
    nothing, empty = (1.0, (None, None)), _Side(model, None, FACES, [], 0)  # type: ignore[arg-type]
    assert gain(Known(empty.reading, 1), Known(0.9, 1)) == nothing
    assert gain(Known(0.1, 1), Known(empty.reading, 1)) == nothing
    assert gain(Known(0.5, 1), Known(0.5, 1)) == nothing
    assert gain(Known(0.1, float("nan")), Known(0.9, 1)) == nothing


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
    assert made[0].gains.shape == (len(FACES.attribute_names),)
    assert (min(learned), max(learned)) == (10, 89)
    assert set(asked) <= set(range(90, 110))
    assert progress[-1] == (256, 256)


def test_too_few_images(model: Model) -> None:
    assert calibrated([directions(model, "balanced")], model, FACES, range(70), 128, 0) is None
