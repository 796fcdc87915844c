"""Faces and eyes in photos."""

import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from glow_app.data import landmarks
from glow_app.data.alignment import celeba_eyes, of_eyes, take
from glow_app.data.image import open_image
from glow_app.data.landmarks import find_faces, one_face
from glow_app.errors import UserError
from tests.data.layouts import real_data


class Box:
    """A face of 40 x 50 pixels, as dlib tells it, wherever its left edge is."""

    def __init__(self, x: int) -> None:
        self.x = x

    def left(self) -> int:
        return self.x

    def top(self) -> int:
        return 10

    def right(self) -> int:
        return self.x + 39

    def bottom(self) -> int:
        return 59


def of_boxes(*xs: int, only_enlarged: bool = False) -> tuple[Any, Any]:
    """A detector and landmarks; the corners of the right eye are told first."""

    def detect(pixels: np.ndarray, enlarged: int) -> list[Box]:
        return [Box(x) for x in xs] if enlarged or not only_enlarged else []

    def landmarks(pixels: np.ndarray, box: Box) -> SimpleNamespace:
        points = [(box.x + dx, 20 + dy) for dx, dy in ((32, 0), (28, 2), (8, 4), (12, 6), (20, 30))]
        return SimpleNamespace(num_parts=5, part=lambda i: SimpleNamespace(x=points[i][0], y=points[i][1]))

    return detect, landmarks


def use(monkeypatch: pytest.MonkeyPatch, *xs: int, only_enlarged: bool = False) -> None:
    monkeypatch.setattr(landmarks, "_tools", lambda: of_boxes(*xs, only_enlarged=only_enlarged))


@pytest.fixture
def fresh() -> Iterator[None]:
    landmarks._tools.cache_clear()
    yield
    landmarks._tools.cache_clear()


@pytest.mark.parametrize("scale", [1, 0.5, 3])
def test_eyes_are_told_in_the_pixels_of_the_photo(monkeypatch: pytest.MonkeyPatch, scale: float) -> None:
    use(monkeypatch, 100, only_enlarged=True)
    size = {1: (600, 500), 0.5: (200, 160), 3: (3000, 1500)}[scale]  # looked at as it is, enlarged, and reduced
    (face,) = find_faces(Image.new("L", size))
    assert face.eyes == pytest.approx(scale * np.array([[110.5, 25.5], [130.5, 21.5]]))
    assert face.box == pytest.approx(scale * np.array([100, 10, 140, 60]))


def test_several_faces_are_told_and_one_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    photo = Image.new("RGB", (600, 500))
    use(monkeypatch, 200, 100)
    with pytest.raises(UserError) as error:
        one_face(photo, "me.jpg", None)
    assert str(error.value) == (
        "image me.jpg: 2 faces found, choose one of face=1: 40 pixels wide at (120, 35); face=2: 40 pixels wide at "
        "(220, 35)"
    )
    assert one_face(photo, "me.jpg", 2).box[0] == 200
    with pytest.raises(UserError, match="2 faces found, and face=3 is given; choose one of face=1: "):
        one_face(photo, "me.jpg", 3)


def test_none_or_one(monkeypatch: pytest.MonkeyPatch) -> None:
    photo = Image.new("RGB", (600, 500))
    use(monkeypatch)
    with pytest.raises(UserError, match=r"image me\.jpg: no face is found"):
        one_face(photo, "me.jpg", None)
    use(monkeypatch, 70)
    assert one_face(photo, "me.jpg", None).box[0] == one_face(photo, "me.jpg", 1).box[0] == 70


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize("missing", ["dlib", "face_recognition_models"])
def test_the_extra_is_named_if_it_is_missing(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    monkeypatch.setitem(sys.modules, "dlib", None if missing == "dlib" else SimpleNamespace())  # type: ignore[arg-type]
    monkeypatch.setattr(landmarks, "find_spec", lambda name: None)
    with pytest.raises(
        UserError, match=rf"align=true needs {missing}: install it with pip install 'glow_app\[align\]'"
    ):
        find_faces(Image.new("RGB", (50, 50)))


@pytest.mark.usefixtures("fresh")
def test_portraits_are_aligned(tmp_path: Path) -> None:
    pytest.importorskip("dlib")
    eyes = celeba_eyes((178, 218), 64, 64, 148)
    assert eyes is not None
    with tarfile.open(real_data("portraits_us_congress.tar")) as archive:
        archive.extractall(tmp_path, filter="data")
    for path in sorted(tmp_path.rglob("*.jpg"))[::5]:
        photo = open_image(path)
        for tilt in (0, 20):
            turned = photo.rotate(tilt, Image.Resampling.BICUBIC, fillcolor="gray")
            pixels = take(turned, of_eyes(one_face(turned, path.name, None).eyes, eyes, 64, 64), 64, 64)
            picture = Image.fromarray(pixels.permute(1, 2, 0).numpy()).resize((256, 256), Image.Resampling.BICUBIC)
            found = one_face(picture, path.name, None).eyes / 4
            assert np.linalg.norm(found - 64 * np.array(eyes).reshape(2, 2), axis=1).max() < 2
