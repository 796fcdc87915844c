"""``benchmarks.portraits``: counts of photos that are aligned and edited."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import glow_app
from benchmarks import portraits
from glow_app.data.landmarks import Face

EYES = np.array([[40.0, 50.0], [60.0, 50.0]])
"""In a photo of 100x120."""


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    Image.new("RGB", (100, 120), "gray").save(tmp_path / "a.png")
    return tmp_path / "a.png"


def finding(monkeypatch: pytest.MonkeyPatch, *answers: list[Face]) -> None:
    """Lets faces be found: first in the photo, then in its picture."""
    given: Iterator[list[Face]] = iter(answers)
    monkeypatch.setattr(portraits, "find_faces", lambda photo: next(given))


def face(eyes: np.ndarray) -> Face:
    return Face((0, 0, 10, 10), eyes)


def test_eyes_are_measured_in_the_picture(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = (0.4, 0.5, 0.6, 0.5)
    there = 256 * np.array(place).reshape(2, 2)
    finding(monkeypatch, [face(EYES)], [face(there + 4)])
    faces, far, picture = portraits.aligned(photo, place, 64)
    assert faces == 1
    assert far == pytest.approx(4 * 2**0.5 / 256)
    assert picture is not None and picture.shape == (3, 64, 64)
    finding(monkeypatch, [face(EYES)], [])
    assert portraits.aligned(photo, place, 64)[1] == float("inf")


@pytest.mark.parametrize("n", [0, 2])
def test_only_one_face_is_aligned(photo: Path, n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    finding(monkeypatch, [face(EYES)] * n)
    assert portraits.aligned(photo, (0.4, 0.5, 0.6, 0.5), 64) == (n, None, None)


def test_counts() -> None:
    model = glow_app.load("faces64")
    rows = [
        {"eyes": 0.01, "seconds": 1.0, "bits_per_dim": 3.0, "natural": {"Smiling": True, "Young": False}},
        {"eyes": 0.04, "seconds": 2.0, "bits_per_dim": 9.0, "natural": {"Smiling": True, "Young": True}},
        {"eyes": None, "seconds": 6.0},
    ]
    found = portraits.summary(rows, model, ["Smiling", "Young"])
    assert (found["photos"], found["aligned"], found["known"], found["median_seconds"]) == (3, 1, 1, 2.0)
    assert found["natural"] == {"Smiling": 2, "Young": 1}
