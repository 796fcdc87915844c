"""Crops, resizes and augmentations: laws, an independent statement where there is one, and pinned pixels."""

import hashlib
import math

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from glow_app.data import transforms
from glow_app.data.image import to_tensor


def picture(height: int, width: int) -> Image.Image:
    """Fine and coarse structure from integer arithmetic alone, so that it is the same everywhere."""
    y, x = np.mgrid[:height, :width].astype(np.int64)
    channels = [(x * x + 3 * y) // 7, (x * y) // 5 + 40 * ((x // 9 + y // 7) % 2), 5 * x + 2 * y * y // 3]
    return Image.fromarray(np.stack([c % 256 for c in channels], axis=-1).astype(np.uint8))


def pinned(pixels: Tensor) -> str:
    head = f"{tuple(pixels.shape)} {pixels.dtype} ".encode()
    return hashlib.sha256(head + pixels.contiguous().numpy().tobytes()).hexdigest()[:16]


def shifted(pixels: Tensor) -> Tensor:
    return transforms.shift(pixels[None, :, :32, :32], torch.tensor([0.0731]), torch.tensor([-0.0444]))


PINNED = {
    "celeba 148 to 64": lambda: to_tensor(transforms.celeba_aligned(picture(218, 178), 64, 64, 148)),
    "celeba 148 to 32": lambda: to_tensor(transforms.celeba_aligned(picture(218, 178), 32, 32, 148)),
    "celeba 148 to 128": lambda: to_tensor(transforms.celeba_aligned(picture(218, 178), 128, 128, 148)),
    "celeba whole square": lambda: to_tensor(transforms.celeba_aligned(picture(128, 128), 32, 32, None)),
    "lsun short side": lambda: transforms.short_side(to_tensor(picture(256, 341)), 96),
    "lsun crop": lambda: transforms.crop_at(transforms.short_side(to_tensor(picture(400, 256)), 96), 64, 0.3, 0.9),
    "lsun 128": lambda: transforms.centre_square_boxed(picture(256, 341), 128),
    "lsun 96": lambda: transforms.centre_square_boxed(picture(256, 341), 96),
    "lsun 256": lambda: transforms.centre_square_boxed(picture(300, 287), 256),
    "celeba_hq box": lambda: transforms.box_mean(to_tensor(picture(256, 256)), 4),
    "cifar shift": lambda: shifted(to_tensor(picture(32, 32))),
}
HASHES = {
    "celeba 148 to 64": "f980c45649d52f7c",
    "celeba 148 to 32": "dbe5833bfa26fd9f",
    "celeba 148 to 128": "69dc9e978b8b2afc",
    "celeba whole square": "be6995b20d0e5187",
    "lsun short side": "04c827440b53e7e2",
    "lsun crop": "0e7a44d66dfd4330",
    "lsun 128": "d75801b9d24e768d",
    "lsun 96": "57f61227bff17219",
    "lsun 256": "a8c8420b353064c4",
    "celeba_hq box": "27f8eefc0b7526bd",
    "cifar shift": "5f735478af65ee92",
}


@pytest.mark.parametrize("case", PINNED)
def test_pixels_are_pinned(case: str) -> None:
    assert pinned(PINNED[case]()) == HASHES[case], "pixels changed: raise PIXELS_VERSION if that is meant"


def test_centre_crop_takes_the_convention_of_celeba() -> None:
    image = picture(218, 178)
    assert torch.equal(to_tensor(transforms.centre_crop(image, 148, 148)), to_tensor(image)[:, 35:183, 15:163])


@pytest.mark.parametrize("size", [(7, 12), (12, 7), (9, 9)])
def test_centre_square(size: tuple[int, int]) -> None:
    height, width = size
    side = min(size)
    top, left = (height - side) // 2, (width - side) // 2
    square = to_tensor(transforms.centre_crop_aspect(picture(*size), 32, 32))
    assert torch.equal(square, to_tensor(picture(*size))[:, top : top + side, left : left + side])


def test_centre_crop_keeps_proportions_and_refuses_small_images() -> None:
    assert transforms.centre_crop_aspect(picture(100, 100), 32, 64).size == (100, 50)
    assert transforms.centre_crop_aspect(picture(100, 400), 64, 32).size == (50, 100)
    with pytest.raises(ValueError, match="128 x 128"):
        transforms.centre_crop(picture(128, 128), 148, 148)


def test_resizing_is_antialiased() -> None:
    stripes = np.zeros((64, 64, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    small = to_tensor(transforms.resize_bilinear(Image.fromarray(stripes), 16, 16))
    assert small[..., 1:-1].unique().tolist() == [128]


def test_box_mean_is_the_repeated_two_by_two_mean_with_one_floor() -> None:
    pixels = to_tensor(picture(64, 32))
    repeated = pixels.numpy().astype(np.float32)
    for _ in range(3):
        repeated = (
            repeated[:, ::2, ::2] + repeated[:, ::2, 1::2] + repeated[:, 1::2, ::2] + repeated[:, 1::2, 1::2]
        ) * np.float32(0.25)
    assert np.array_equal(transforms.box_mean(pixels, 8).numpy(), np.floor(repeated).astype(np.uint8))
    with pytest.raises(ValueError, match="divide"):
        transforms.box_mean(pixels, 3)


def pyramid_reduce(plane: np.ndarray, downscale: float) -> np.ndarray:
    """Plain loops: mirrored Gaussian of sigma downscale / 3 cut at 4 sigma, then bilinear at pixel centres."""
    sigma = 2 * downscale / 6
    radius = int(4 * sigma + 0.5)
    kernel = np.array([math.exp(-0.5 * (k / sigma) ** 2) for k in range(-radius, radius + 1)])
    kernel /= kernel.sum()
    for axis in (0, 1):
        padded = np.pad(plane, [(radius, radius) if a == axis else (0, 0) for a in (0, 1)], mode="symmetric")
        plane = sum(
            kernel[k] * np.take(padded, np.arange(k, k + plane.shape[axis]), axis=axis) for k in range(len(kernel))
        )  # type: ignore[assignment]
    rows, columns = plane.shape
    out = np.empty((math.ceil(round(rows / downscale, 9)), math.ceil(round(columns / downscale, 9))))
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            y = (i + 0.5) * rows / out.shape[0] - 0.5
            x = (j + 0.5) * columns / out.shape[1] - 0.5
            a, b = int(y), int(x)
            c, d = min(a + 1, rows - 1), min(b + 1, columns - 1)
            top = plane[a, b] * (1 - x + b) + plane[a, d] * (x - b)
            bottom = plane[c, b] * (1 - x + b) + plane[c, d] * (x - b)
            out[i, j] = top * (1 - y + a) + bottom * (y - a)
    return out


@pytest.mark.parametrize("size", [(60, 77), (81, 50)])
def test_short_side_is_pyramid_reduce(size: tuple[int, int]) -> None:
    pixels = to_tensor(picture(*size))
    ours = transforms.short_side(pixels, 24)
    expected = np.stack([pyramid_reduce(plane.astype(np.float64), min(size) / 24) for plane in pixels.numpy()])
    assert ours.shape == expected.shape
    assert min(ours.shape[1:]) == 24
    assert np.array_equal(ours.numpy(), np.floor(expected + 1e-6))


def test_short_side_keeps_flat_areas_and_what_already_fits() -> None:
    white = torch.full((3, 256, 343), 255, dtype=torch.uint8)
    assert transforms.short_side(white).unique().tolist() == [255]
    fits = to_tensor(picture(96, 130))
    assert transforms.short_side(fits) is fits
    assert transforms.short_side(to_tensor(picture(60, 60))).shape == (3, 96, 96)


def test_crop_at_reaches_both_ends_and_never_over() -> None:
    pixels = to_tensor(picture(96, 130))
    assert torch.equal(transforms.crop_at(pixels, 64, 0.0, 0.0), pixels[:, :64, :64])
    assert torch.equal(transforms.crop_at(pixels, 64, 0.9999999, 1.0), pixels[:, 32:, 66:])
    offsets = {int(f * 33) for f in np.linspace(0, 1, 3301)[:-1]}
    assert offsets == set(range(33))
    with pytest.raises(ValueError, match="no part"):
        transforms.crop_at(pixels, 100, 0, 0)


def test_zero_pad() -> None:
    padded = transforms.zero_pad(torch.full((5, 1, 28, 28), 7, dtype=torch.uint8), 32)
    assert padded.shape == (5, 1, 32, 32)
    assert padded[..., 2:30, 2:30].unique().tolist() == [7]
    assert int(padded.sum()) == 5 * 28 * 28 * 7
    with pytest.raises(ValueError, match="evenly"):
        transforms.zero_pad(padded, 33)


def shift_by_loops(image: np.ndarray, dy: float, dx: float) -> np.ndarray:
    """Bilinear interpolation at (y + dy, x + dx), coordinates held inside the image, rounded down."""
    _, height, width = image.shape
    out = np.empty_like(image)
    for i in range(height):
        for j in range(width):
            y, x = min(max(i + dy, 0), height - 1), min(max(j + dx, 0), width - 1)
            a, b = int(y), int(x)
            c, d = min(a + 1, height - 1), min(b + 1, width - 1)
            top = image[:, a, b] * (1 - x + b) + image[:, a, d] * (x - b)
            out[:, i, j] = np.floor(
                top * (1 - y + a) + (image[:, c, b] * (1 - x + b) + image[:, c, d] * (x - b)) * (y - a)
            )
    return out


def test_shift_is_bilinear_with_nearest_fill() -> None:
    images = torch.stack(
        [to_tensor(picture(32, 32)), to_tensor(picture(32, 32).rotate(90)), to_tensor(picture(32, 32))]
    )
    steps = torch.tensor([[-6553, 6553, 2048], [1, -4096, 5000]])  # in units of 1/2048 pixel: exact in binary
    fractions = steps / (2048 * 32)
    ours = transforms.shift(images, fractions[0], fractions[1])
    for k in range(3):
        dy, dx = (steps[:, k] / 2048).tolist()
        assert np.array_equal(ours[k].numpy(), shift_by_loops(images[k].numpy().astype(np.float64), dy, dx)), k


def test_no_shift_and_flat_images_are_left_alone() -> None:
    images = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
    assert torch.equal(transforms.shift(images, torch.zeros(4), torch.zeros(4)), images)
    flat = torch.arange(250, 256, dtype=torch.uint8).view(6, 1, 1, 1).expand(6, 1, 8, 8)
    assert torch.equal(transforms.shift(flat, torch.linspace(-0.1, 0.1, 6), torch.linspace(0.1, -0.07, 6)), flat)


def test_flip_turns_only_what_is_masked() -> None:
    images = torch.randint(0, 256, (3, 3, 4, 6), dtype=torch.uint8)
    flipped = transforms.flip(images, torch.tensor([True, False, True]))
    assert torch.equal(flipped[1], images[1])
    assert torch.equal(flipped[0], torch.from_numpy(images[0].numpy()[..., ::-1].copy()))
    assert torch.equal(transforms.flip(flipped, torch.tensor([True, False, True])), images)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no second device")
def test_augmentations_agree_between_devices() -> None:
    images = torch.randint(0, 256, (64, 3, 32, 32), dtype=torch.uint8)
    y, x, mask = torch.rand(64) * 0.2 - 0.1, torch.rand(64) * 0.2 - 0.1, torch.rand(64) < 0.5
    there = transforms.flip(transforms.shift(images.cuda(), y.cuda(), x.cuda()), mask.cuda())
    assert torch.equal(there.cpu(), transforms.flip(transforms.shift(images, y, x), mask))


def test_fits() -> None:
    image = picture(32, 64)
    assert np.array_equal(transforms.fit(image, 16, 16, "stretch"), transforms.resize_bilinear(image, 16, 16))
    square = transforms.centre_crop_aspect(image, 16, 16)
    assert np.array_equal(transforms.fit(image, 16, 16, "crop"), transforms.resize_bilinear(square, 16, 16))
    padded = np.asarray(transforms.fit(image, 16, 16, "pad"))
    assert np.array_equal(padded[4:12], transforms.resize_bilinear(image, 8, 16))
    assert not padded[:4].any()
    assert not padded[12:].any()
    upright = np.asarray(transforms.fit(image.transpose(Image.Transpose.ROTATE_90), 16, 16, "pad"))
    assert np.array_equal(upright.any(axis=(0, 2)), [4 <= column < 12 for column in range(16)])


@pytest.mark.parametrize("size", [(1, 1000), (1000, 1), (1, 1), (31, 77)])
@pytest.mark.parametrize("how", ["crop", "pad", "stretch"])
def test_a_picture_of_any_size_fits(size: tuple[int, int], how: str) -> None:
    white = Image.new("L", size, 255)
    fitted = transforms.fit(white, 16, 24, how)
    assert fitted.size == (24, 16)
    assert np.asarray(fitted).max() == 255
