"""Pictures that somebody brings."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from glow_app.data import transforms
from glow_app.data.image import to_tensor
from glow_app.data.picture import open_picture, picture_files
from glow_app.errors import UserError

FOLDER = {"name": "folder"}


def noise(width: int, height: int, mode: str = "RGB") -> Image.Image:
    rng = np.random.default_rng(0)
    shape = (height, width) if mode == "L" else (height, width, len(mode))
    return Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8), mode)


def saved(image: Image.Image, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format="PNG", **options)  # type: ignore[arg-type]
    return file.getvalue()


def test_an_image_of_the_right_size_is_left_alone() -> None:
    image = noise(32, 32)
    assert torch.equal(open_picture(saved(image), (3, 32, 32), FOLDER), to_tensor(image))


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
@pytest.mark.parametrize("size", [(100, 40), (31, 77), (1, 1), (640, 480)])
def test_any_picture_becomes_one_of_the_model(mode: str, size: tuple[int, int]) -> None:
    for shape in ((3, 32, 32), (1, 32, 32), (3, 16, 32)):
        pixels = open_picture(saved(noise(*size, mode)), shape, FOLDER)
        assert pixels.shape == shape
        assert pixels.dtype == torch.uint8


def test_a_phone_photo_is_turned_upright() -> None:
    image = noise(64, 32)
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned by a quarter
    turned = open_picture(saved(image, exif=exif), (3, 64, 32), FOLDER)
    assert torch.equal(turned, to_tensor(image.transpose(Image.Transpose.ROTATE_270)))


def test_originals_of_a_data_set_are_treated_as_its_reader_does() -> None:
    celeba = noise(178, 218)
    pixels = open_picture(saved(celeba), (3, 64, 64), {"name": "celeba", "crop": 148})
    assert torch.equal(pixels, to_tensor(transforms.celeba_aligned(celeba, 64, 64, 148)))
    square = noise(64, 64)
    pixels = open_picture(saved(square), (3, 32, 32), {"name": "celeba_hq"})
    assert torch.equal(pixels, transforms.box_mean(to_tensor(square), 2))
    digit = noise(28, 28, "L")
    pixels = open_picture(saved(digit), (1, 32, 32), {"name": "mnist"})
    assert torch.equal(pixels, transforms.zero_pad(to_tensor(digit), 32))


def test_other_pictures_are_not() -> None:
    photo = noise(400, 300)
    expected = to_tensor(transforms.resize_bilinear(transforms.centre_crop_aspect(photo, 1, 1), 64, 64))
    assert torch.equal(open_picture(saved(photo), (3, 64, 64), {"name": "celeba", "crop": 148}), expected)


@pytest.mark.parametrize("content", [b"", b"hello", b"<html>no</html>", b"\x89PNG\r\n\x1a\n cut"])
def test_what_is_not_an_image_is_one_clear_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "me.jpg"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"me\.jpg") as error:
        open_picture(path, (3, 32, 32), FOLDER)
    assert "\n" not in str(error.value)


def test_files_and_folders(tmp_path: Path) -> None:
    for name in ("b.png", "a.JPG", "notes.txt", ".hidden.png"):
        (tmp_path / name).write_bytes(b"")
    assert [file.name for file in picture_files(tmp_path)] == ["a.JPG", "b.png"]
    assert picture_files(tmp_path / "b.png") == [tmp_path / "b.png"]
    with pytest.raises(UserError, match=r"me\.jpg does not exist: check its name"):
        picture_files(tmp_path / "me.jpg")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"no images in .*empty"):
        picture_files(tmp_path / "empty")
