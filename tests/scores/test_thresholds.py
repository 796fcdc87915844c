"""Thresholds keep the false-positive rate that they state, and are kept with the model."""

import json
from pathlib import Path

import pytest
import torch

from glow_app.errors import UserError
from glow_app.scores import thresholds
from glow_app.scores.thresholds import Calibration, threshold

SAVED = Calibration("abc", 3.5, "1,000 training images", 0.1, {"bits_per_dim": 4.0}, 99, "val", {"draws": 1})


def test_by_hand() -> None:
    assert threshold(torch.arange(1.0, 10.0), 0.1) == 9  # the 9th of 9
    assert threshold(torch.arange(1.0, 20.0), 0.1) == 18  # the 18th of 19
    with pytest.raises(UserError, match=r"fpr=0\.1 takes at least 9 calibration images, and there are 8"):
        threshold(torch.arange(8.0), 0.1)


def test_new_images_exceed_it_as_rarely_as_stated() -> None:
    generator = torch.Generator().manual_seed(0)
    drawn = torch.rand(4000, 20, generator=generator)
    above = [new > threshold(seen, 0.25) for *some, new in drawn.tolist() for seen in [torch.tensor(some)]]
    assert sum(above) / 4000 == pytest.approx(5 / 20, abs=0.03)  # exactly 1 - k / (n + 1), k = 15 of 19


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert thresholds.load(tmp_path, "abc") is None
    thresholds.save(SAVED, tmp_path)
    assert thresholds.load(tmp_path, "abc") == SAVED


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"digest": "other"}, "is of other weights of this model: calibrate again"),
        ({"format": 2}, "is damaged .its format is not 1"),
        ({"mean": "x"}, "is damaged .thresholds are not numbers"),
        ({"extra": 1}, "is damaged"),
    ],
)
def test_what_is_not_of_this_model_is_refused(tmp_path: Path, change: dict[str, object], message: str) -> None:
    path = thresholds.save(SAVED, tmp_path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UserError, match=message):
        thresholds.load(tmp_path, "abc")
