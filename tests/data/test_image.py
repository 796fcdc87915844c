"""Decoding: what is admitted, how it is converted, and what damaged files say."""

import io
import pickle
import resource
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from glow_app.data import image as decoding
from glow_app.data.image import MAX_PIXELS, CorruptImage, decode_image, open_image
from glow_app.errors import UserError


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def colours(height: int = 8, width: int = 12) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.stack([y * 20 % 256, x * 20 % 256, (x + y) * 11 % 256], axis=-1).astype(np.uint8)


def png_header(width: int, height: int) -> bytes:
    """A PNG that announces its size and holds almost nothing."""

    return png((width, height, 8, 2), bytes(1000))


def png(header: tuple[int, int, int, int], rows: bytes, key: bytes = b"") -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", *header, 0, 0, 0))
    start += chunk(b"tRNS", key) if key else b""
    return start + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def sixteen_bits(values: np.ndarray, key: int) -> bytes:
    """A PNG of uint16 (H, W, 1 or 3) in which the colour whose channels are all ``key`` is transparent."""
    height, width, channels = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return png((width, height, 16, 0 if channels == 1 else 2), rows, struct.pack(">H", key) * channels)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("PNG", {}),
        ("WEBP", {"lossless": True}),
        ("BMP", {}),
        ("PPM", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "tiff_adobe_deflate"}),
    ],
)
def test_lossless_formats_give_the_pixels_back(kind: str, options: dict[str, object]) -> None:
    pixels = decode_image(encode(Image.fromarray(colours()), kind, **options))
    assert pixels.dtype == torch.uint8
    assert pixels.is_contiguous()
    assert np.array_equal(pixels.permute(1, 2, 0).numpy(), colours())


def test_jpeg_is_close_and_a_path_equals_its_bytes(tmp_path: Path) -> None:
    flat = Image.new("RGB", (16, 16), (200, 100, 50))
    path = tmp_path / "a.jpg"
    path.write_bytes(encode(flat, "JPEG", quality=95))
    assert (decode_image(path).float().mean(dim=(1, 2)) - torch.tensor([200.0, 100, 50])).abs().max() < 2
    assert torch.equal(decode_image(path), decode_image(path.read_bytes()))


def test_avif_is_close() -> None:
    flat = decode_image(encode(Image.new("RGB", (16, 16), (200, 100, 50)), "AVIF", quality=100))
    assert (flat.float().mean(dim=(1, 2)) - torch.tensor([200.0, 100, 50])).abs().max() < 3


@pytest.mark.parametrize("kind", ["ICO", "TGA", "JPEG2000", "PCX"])
def test_formats_that_are_not_listed_are_not_read(kind: str) -> None:
    with pytest.raises(CorruptImage, match="known format"):
        decode_image(encode(Image.new("RGB", (16, 16)), kind))


@pytest.mark.parametrize("mode", ["F", "I"])
def test_tiffs_whose_numbers_have_no_range_are_refused(mode: str) -> None:
    with pytest.raises(CorruptImage, match="no defined range"):
        decode_image(encode(Image.new("L", (4, 4)).convert(mode), "TIFF"))


@pytest.mark.parametrize("brand", [b"heic", b"mif1"])
def test_heic_says_to_convert_it(brand: bytes) -> None:
    with pytest.raises(CorruptImage, match="HEIC, which is not read: convert it to JPEG"):
        decode_image(b"\0\0\0\x18ftyp" + brand + b"\0\0\0\0mif1heic" + bytes(200))


def test_first_frame_of_a_moving_picture() -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    moving = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert decode_image(moving)[:, 0, 0].tolist() == [255, 0, 0]


def test_grey_and_colour_are_converted_to_what_is_asked() -> None:
    grey = encode(Image.fromarray(np.arange(48, dtype=np.uint8).reshape(6, 8)), "PNG")
    assert decode_image(grey).shape == (3, 6, 8)
    assert torch.equal(decode_image(grey)[0], decode_image(grey, channels=1)[0])
    red = encode(Image.new("RGB", (2, 2), (255, 0, 0)), "PNG")
    assert decode_image(red, channels=1).unique().tolist() == [76]  # luma of pure red, 0.299 * 255
    bits = encode(Image.fromarray(np.array([[0, 255], [255, 0]], dtype=np.uint8)).convert("1"), "PNG")
    assert decode_image(bits, channels=1).flatten().tolist() == [0, 255, 255, 0]


def test_transparency_is_composited_on_white() -> None:
    half = encode(Image.new("RGBA", (2, 2), (0, 0, 0, 128)), "PNG")
    assert decode_image(half).unique().tolist() == [127]
    assert decode_image(half, channels=1).unique().tolist() == [127]
    clear_grey = encode(Image.new("LA", (2, 2), (10, 0)), "PNG")
    assert decode_image(clear_grey, channels=1).unique().tolist() == [255]
    palette = Image.new("P", (2, 1))
    palette.putpalette([255, 0, 0, 0, 0, 255])
    palette.putpixel((1, 0), 1)
    assert decode_image(encode(palette, "PNG"))[:, 0].T.tolist() == [[255, 0, 0], [0, 0, 255]]
    assert decode_image(encode(palette, "PNG", transparency=0))[:, 0].T.tolist() == [[255, 255, 255], [0, 0, 255]]
    keyed = Image.new("RGB", (2, 1), (9, 9, 9))
    keyed.putpixel((1, 0), (1, 2, 3))
    assert decode_image(encode(keyed, "PNG", transparency=(9, 9, 9)))[:, 0].T.tolist() == [[255, 255, 255], [1, 2, 3]]


def test_sixteen_bits_keep_the_high_byte() -> None:
    values = np.array([[0, 255, 256, 32768, 65535]], dtype=np.uint16)
    for kind in ("PNG", "PPM"):
        encoded = encode(Image.fromarray(values), kind)
        assert decode_image(encoded, channels=1)[0, 0].tolist() == [0, 0, 1, 128, 255]
        assert decode_image(encoded)[2, 0].tolist() == [0, 0, 1, 128, 255]


def test_a_colour_key_of_sixteen_bits_is_composited_on_white() -> None:
    values = np.array([[5000, 5001, 0x8888]], dtype=np.uint16)
    grey = sixteen_bits(values[..., None], 5000)
    assert decode_image(grey)[1].tolist() == [[255, 5001 >> 8, 0x88]]
    assert decode_image(grey, channels=1)[0].tolist() == [[255, 5001 >> 8, 0x88]]
    colour = sixteen_bits(np.array([[[5000] * 3, [0x8888] * 3]], dtype=np.uint16), 5000)
    assert decode_image(colour)[1].tolist() == [[255, 0x88]]


def test_cmyk_becomes_rgb() -> None:
    cyan = encode(Image.new("CMYK", (16, 16), (255, 0, 0, 0)), "JPEG", quality=95)
    red, green, blue = decode_image(cyan).float().mean(dim=(1, 2)).tolist()
    assert red < 5
    assert min(green, blue) > 250


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int) -> None:
    upright = colours()
    # What a camera stores so that the orientation's rotation gives the upright picture.
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: np.rot90(upright, 2).transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    encoded = encode(Image.fromarray(np.ascontiguousarray(stored)), "PNG", exif=exif)
    assert np.array_equal(decode_image(encoded).permute(1, 2, 0).numpy(), upright)


def turned_by_a_quarter() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


@pytest.mark.parametrize("kind", ["JPEG", "TIFF", "AVIF"])
def test_pictures_of_every_format_are_turned_once(kind: str) -> None:
    assert decode_image(encode(Image.new("RGB", (16, 8)), kind, exif=turned_by_a_quarter())).shape == (3, 16, 8)


def test_damaged_exif_is_no_reason_to_refuse_the_pixels() -> None:
    assert decode_image(encode(Image.fromarray(colours()), "PNG", exif=b"Exif\0\0MM\0*\0\0\0\xff\xff\xff")).shape == (
        3,
        8,
        12,
    )


def test_a_bomb_is_refused_from_its_header_without_memory() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CorruptImage, match="pixels"):
        decode_image(png_header(50_000, 50_000), name="bomb.png")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # KiB
    side = int(MAX_PIXELS**0.5)
    with pytest.raises(CorruptImage, match=f"{side + 1} x {side} is more than"):
        decode_image(png_header(side + 1, side))
    with pytest.raises(CorruptImage, match="truncated"):
        decode_image(png_header(64, 64))


def test_a_tile_larger_than_its_picture_is_no_way_around_the_limit() -> None:
    for side, says in ((16, "truncated"), (2**16 - 16, f"more than {MAX_PIXELS:,} pixels")):
        # Grey, 4 x 4, deflated, in one tile of that side.
        tags = {256: 4, 257: 4, 258: 8, 259: 8, 262: 1, 277: 1, 322: side, 323: side, 324: 8, 325: 4}
        rows = b"".join(struct.pack("<HHIHH", tag, 3, 1, value, 0) for tag, value in tags.items())
        with pytest.raises(CorruptImage, match=says):
            decode_image(b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + rows + bytes(4))


def test_a_large_photograph_is_decoded_at_half_of_its_sides(monkeypatch: pytest.MonkeyPatch) -> None:
    photo = Image.fromarray(colours(60, 80)).resize((240, 180))
    encoded = encode(photo, "JPEG", quality=95, exif=turned_by_a_quarter())
    whole = decode_image(encoded)
    assert whole.shape == (3, 240, 180)
    monkeypatch.setattr(decoding, "MAX_PIXELS", 240 * 180 - 1)
    half = decode_image(encoded)
    assert half.shape == (3, 120, 90)
    means = torch.nn.functional.avg_pool2d(whole[None].float(), 2)[0]
    assert (half.float() - means).abs().mean() < 3
    with pytest.raises(CorruptImage, match="240 x 180 is more than"):
        decode_image(encode(photo, "PNG"))
    monkeypatch.setattr(decoding, "MAX_JPEG_PIXELS", 240 * 180 - 1)
    with pytest.raises(CorruptImage, match="240 x 180 is more than"):
        decode_image(encoded)


@pytest.mark.filterwarnings("error")
def test_photographs_of_108_megapixels_are_opened_without_a_warning() -> None:
    encoded = encode(Image.new("L", (12_000, 9_000), 99), "JPEG")
    assert open_image(encoded, channels=1).size == (6_000, 4_500)


DAMAGED = {
    "empty": (b"", "0 bytes"),
    "page": (b"<!DOCTYPE html><html><body>Quota exceeded</body></html>", "web page"),
    "noise": (bytes(range(256)) * 4, "known format"),
    "cut.jpg": (encode(Image.effect_noise((64, 64), 80), "JPEG")[:900], "truncated"),
    "cut.png": (encode(Image.effect_noise((64, 64), 80), "PNG")[:900], "truncated"),
    "cut.webp": (encode(Image.effect_noise((64, 64), 80).convert("RGB"), "WEBP")[:900], "image"),
    "cut in the header": (encode(Image.new("RGB", (4, 4)), "PNG")[:20], "image"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_damaged_files_end_in_one_line_with_their_name(case: str, tmp_path: Path) -> None:
    content, says = DAMAGED[case]
    path = tmp_path / "holiday.jpg"
    path.write_bytes(content)
    with pytest.raises(CorruptImage, match=says) as caught:
        decode_image(path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    assert "data.on_corrupt=skip" in message


def test_a_missing_file_is_not_called_corrupt(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file") as caught:
        open_image(tmp_path / "gone.png")
    assert not isinstance(caught.value, CorruptImage)


def test_the_error_travels_between_processes() -> None:
    error = pickle.loads(pickle.dumps(CorruptImage("a.jpg", "cut")))
    assert (str(error), error.name) == (str(CorruptImage("a.jpg", "cut")), "a.jpg")
