"""Where a picture lies in a photo: turned and scaled by the eyes, and pasted back."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from glow_app.data import transforms
from glow_app.data.alignment import Eyes, celeba_eyes, of_box, of_eyes, paste, take
from glow_app.data.image import to_tensor
from glow_app.data.picture import fitted, placement_of
from tests.data.layouts import picture

EYES: Eyes = (0.35, 0.45, 0.65, 0.5)


def dots(width: int, height: int, eyes: np.ndarray, radius: float) -> Image.Image:
    """Two soft bright dots on grey."""
    ys, xs = np.mgrid[0:height, 0:width] + 0.5
    light = sum(np.exp(-((xs - x) ** 2 + (ys - y) ** 2) / (2 * radius**2)) for x, y in eyes)
    return Image.fromarray((50 + 200 * light).clip(0, 255).round().astype(np.uint8)).convert("RGB")


def brightest(pixels: torch.Tensor) -> list[tuple[float, float]]:
    """Centres of gravity of the light in both halves of a picture."""
    found = []
    light = (pixels[0].double() - 60).clamp(0)
    middle = pixels.shape[2] // 2
    for start, half in ((0, light[:, :middle]), (middle, light[:, middle:])):
        ys, xs = (torch.arange(n, dtype=torch.float64) + 0.5 for n in half.shape)
        found.append(
            (start + ((half.sum(0) * xs).sum() / half.sum()).item(), ((half.sum(1) * ys).sum() / half.sum()).item())
        )
    return found


@pytest.mark.parametrize("tilt", [0.0, 0.4, -0.6])
@pytest.mark.parametrize("apart", [9.0, 30.0, 300.0])
def test_eyes_come_where_they_belong(tilt: float, apart: float) -> None:
    side = round(4 * apart)
    half = apart / 2 * np.array([math.cos(tilt), math.sin(tilt)])
    middle = np.array([0.55 * side, 0.4 * side])
    eyes = np.stack([middle - half, middle + half])
    pixels = take(dots(side, side + 3, eyes, apart / 8), of_eyes(eyes, EYES, 48, 64), 48, 64)
    assert pixels.shape == (3, 48, 64)
    for (x, y), (fx, fy) in zip(brightest(pixels), (EYES[:2], EYES[2:]), strict=True):
        assert math.hypot(x - 64 * fx, y - 48 * fy) < 0.3


def test_a_placement_and_its_inverse() -> None:
    eyes = np.array([[30.0, 70.0], [90.0, 50.0]])
    placement = of_eyes(eyes, EYES, 48, 64)
    there = np.array([[64 * 0.35, 48 * 0.45], [64 * 0.65, 48 * 0.5]])
    assert np.allclose(placement.of(there), eyes)
    assert np.allclose(placement.inverse().of(eyes), there)
    assert placement.inverse().scale == pytest.approx(1 / placement.scale)


def test_what_is_finer_than_a_pixel_is_averaged() -> None:
    board = Image.fromarray((255 * (np.indices((640, 640)).sum(0) % 2)).astype(np.uint8))
    eyes = np.array([[200.0, 300.0], [400.0, 330.0]])
    pixels = take(board, of_eyes(eyes, EYES, 64, 64), 64, 64)
    assert pixels.shape == (1, 64, 64)
    assert (pixels.int() - 127).abs().max() <= 4


def test_beyond_its_edges_the_photo_is_mirrored() -> None:
    plain = Image.new("RGB", (100, 60), (10, 200, 90))
    placement = of_eyes(np.array([[2.0, 3.0], [40.0, 9.0]]), EYES, 32, 32)
    assert placement.of(np.zeros(2)).min() < -10
    assert torch.equal(take(plain, placement, 32, 32), to_tensor(plain)[:, :32, :32])
    shaded = Image.fromarray(np.arange(64, dtype=np.uint8)[None].repeat(64, 0) * 4)
    outside = take(shaded, of_box(-32, 0, 32, 64, 64, 64), 64, 64)[0]
    assert torch.equal(outside[:, :32], outside[:, 32:].flip(1))


def test_a_box_is_taken_as_it_is_resized() -> None:
    photo = picture(3, 200, 200)
    taken = take(photo, of_box(0, 0, 200, 200, 32, 32), 32, 32)
    resized = to_tensor(transforms.resize_bilinear(photo, 32, 32))
    assert (taken.int() - resized.int()).abs().max() <= 3


@pytest.mark.parametrize("size", [(300, 200), (90, 200), (64, 64), (178, 218), (28, 28)])
@pytest.mark.parametrize(
    "data",
    [
        {"name": "folder", "fit": "crop"},
        {"name": "folder", "fit": "pad"},
        {"name": "folder", "fit": "stretch"},
        {"name": "celeba", "crop": 148},
        {"name": "celeba", "crop": None},
        {"name": "celeba_hq"},
        {"name": "mnist"},
        {"name": "drawn_faces"},
    ],
    ids=str,
)
@pytest.mark.parametrize("shape", [(3, 32, 32), (3, 48, 32)], ids=str)
def test_where_a_picture_lies_is_where_it_was_taken_from(
    size: tuple[int, int], data: dict[str, Any], shape: tuple[int, int, int]
) -> None:
    if data["name"] in ("mnist", "celeba_hq") and shape[1] != shape[2]:
        return  # their images are squares
    width, height = size
    ys, xs = np.mgrid[0:height, 0:width] + 0.5
    ramps = np.stack([xs / width, ys / height, np.ones_like(xs)], -1)  # the third is 1 within the photo
    pixels = fitted(Image.fromarray((255 * ramps).round().astype(np.uint8)), shape, data).numpy() / 255
    ys, xs = np.mgrid[0 : shape[1], 0 : shape[2]] + 0.5
    points = placement_of(size, shape, data).of(np.stack([xs, ys], -1)) / size
    step = 1.5 * placement_of(size, shape, data).scale / np.array(size)  # at the very edge no ramp goes on
    inside = ((points > step) & (points < 1 - step)).all(-1)
    assert inside.any()
    assert (pixels[2][inside] == 1).all()
    for axis in (0, 1):
        assert np.abs(pixels[axis] - points[..., axis])[inside].max() < 0.02


def test_a_change_is_pasted_where_the_picture_was() -> None:
    photo = picture(1, 240, 320)
    eyes = np.array([[120.0, 110.0], [180.0, 90.0]])
    placement = of_eyes(eyes, EYES, 32, 32)
    assert paste(photo, torch.zeros(3, 32, 32), placement).tobytes() == photo.tobytes()
    same = paste(Image.new("RGB", (320, 240), "gray"), torch.full((3, 32, 32), 40.0), placement)
    change = np.array(same).astype(int)[..., 0] - 128
    ys, xs = np.mgrid[0:240, 0:320] + 0.5
    points = placement.inverse().of(np.stack([xs, ys], -1))
    outside = ((points < 0) | (points > 32)).any(-1)
    inside = ((points > 4) & (points < 28)).all(-1)
    assert outside.any() and inside.any()
    assert (change[outside] == 0).all()
    assert (change[inside] == 40).all()
    assert np.abs(np.diff(change, axis=1)).max() <= 6  # no seam


def test_a_pasted_change_is_taken_again() -> None:
    photo = picture(2, 240, 320)
    placement = of_eyes(np.array([[120.0, 110.0], [180.0, 90.0]]), EYES, 32, 32)
    change = torch.zeros(3, 32, 32)
    change[1, 12:20, 12:20] = -30.0
    before, after = (take(one, placement, 32, 32).int() for one in (photo, paste(photo, change, placement)))
    difference = after - before
    assert (difference[1, 14:18, 14:18] + 30).abs().max() <= 4
    assert difference[:, :9].abs().max() <= 4
    assert difference[0].abs().max() <= 1


def test_large_photos_are_pasted_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    photo, placement = picture(4, 90, 70), of_box(5, 8, 61, 72, 16, 14)
    change = 20 * torch.randn(1, 16, 14, generator=torch.Generator().manual_seed(0))  # grey: to all channels
    whole = paste(photo, change, placement)
    monkeypatch.setattr("glow_app.data.alignment._PIXELS_AT_ONCE", 200)
    assert paste(photo, change, placement).tobytes() == whole.tobytes() != photo.tobytes()


def test_the_eyes_of_celeba() -> None:
    published = celeba_eyes((178, 218), 64, 64, 148)
    assert published == pytest.approx((54.9 / 148, 78.2 / 148, 93.1 / 148, 78.3 / 148))
    assert celeba_eyes((89, 109), 64, 64, 74) == pytest.approx(published, abs=0.01)
    assert celeba_eyes((178, 218), 96, 64, 148) == pytest.approx((29.9 / 98, 78.2 / 148, 68.1 / 98, 78.3 / 148))
    assert celeba_eyes((178, 178), 64, 64, 148) is None
