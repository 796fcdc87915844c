"""Safe decoding of one image file to 8-bit pixels."""

import io
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from glow_app.errors import UserError

Channels = Literal[1, 3]

# No TIFF: no data set here uses it, and its decoder has the longest record of memory-safety bugs.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "PPM", "GIF")
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".ppm", ".pgm", ".gif")

# Above every image of the data sets here, and below the size at which Pillow itself warns.
MAX_PIXELS = 8192 * 8192

_EXIF_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class CorruptImage(UserError):
    """An image that cannot be decoded; the rest of its data set may be intact.

    Raised by ``source[i]``. The source's ``on_corrupt`` sets how the caller reacts: ``"error"`` lets it propagate,
    ``"skip"`` catches it, records ``source.item_name(i)`` and continues with the next image. Any other exception of
    ``source[i]`` concerns the whole data set and must not be skipped.
    """

    def __init__(self, name: str, found: str) -> None:
        super().__init__(f"image {name}: {found}; replace the file, or leave it out with data.on_corrupt=skip")
        self.name = name
        self.found = found

    def __reduce__(self) -> tuple[type["CorruptImage"], tuple[str, str]]:
        # An exception is unpickled from its message alone by default; this one has two arguments and crosses processes.
        return CorruptImage, (self.name, self.found)


def open_image(source: str | Path | bytes, channels: Channels = 3, name: str | None = None) -> Image.Image:
    """Opens one image upright in mode ``RGB`` (``channels=3``) or ``L`` (``channels=1``), 8 bits per channel.

    Formats: PNG, JPEG, WebP, BMP, PPM/PGM, GIF; of an animation the first frame. The size is checked from the
    header before any pixel is decoded. Conversions:

    * EXIF orientation is applied; a damaged EXIF block is ignored;
    * transparency (alpha channel, transparent palette entry or 8-bit colour) is composited on white;
    * 16 bits per channel keep their high byte; CMYK, YCbCr and palettes become RGB; ICC profiles are ignored;
    * colour becomes grey by ITU-R 601-2 luma, grey becomes colour by repetition.

    Args:
        source: a path, or the encoded bytes.
        channels: 3 or 1.
        name: name of the image in error messages; the path by default.

    Raises:
        CorruptImage: zero bytes, not an image, truncated, damaged, or more than ``MAX_PIXELS`` pixels.
        UserError: the file is missing or cannot be read.
    """
    if isinstance(source, bytes):
        encoded, label = source, name or "(bytes)"
    else:
        encoded, label = read_file(Path(source)), name or str(source)
    if not encoded:
        raise CorruptImage(label, "the file is empty (0 bytes)")
    try:
        image = Image.open(io.BytesIO(encoded), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise CorruptImage(label, f"its header announces more than {MAX_PIXELS:,} pixels") from None
    except Exception:
        # On damaged bytes Pillow's format plugins raise many unrelated exceptions.
        raise CorruptImage(label, _describe_non_image(encoded)) from None
    with image:
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise CorruptImage(label, f"{width} x {height} is more than {MAX_PIXELS:,} pixels")
        try:
            image.load()
            return normalized(image, channels)
        except MemoryError:
            raise
        except Exception as error:
            raise CorruptImage(label, f"truncated or damaged ({str(error) or type(error).__name__})") from None


def normalized(image: Image.Image, channels: Channels) -> Image.Image:
    """Converts an open image of any mode as :func:`open_image` does: upright, in mode ``RGB`` or ``L``."""
    upright = _turn_upright(image)
    return _to_grey(upright) if channels == 1 else _to_rgb(upright)


def decode_image(source: str | Path | bytes, channels: Channels = 3, name: str | None = None) -> Tensor:
    """Opens one image with :func:`open_image` and returns it as uint8 (C, H, W)."""
    return to_tensor(open_image(source, channels, name))


def to_tensor(image: Image.Image) -> Tensor:
    """Returns the pixels of an image in mode ``RGB`` or ``L`` unchanged: uint8 (C, H, W), contiguous."""
    pixels = np.array(image, dtype=np.uint8)
    if pixels.ndim == 2:
        return torch.from_numpy(pixels[None])
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))


def looks_like_html(head: bytes) -> bool:
    """Returns whether a file that begins with ``head`` is a web page, the usual result of a refused download."""
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:200].lower()
    return start.startswith((b"<!doctype", b"<html", b"<head", b"<?xml"))


def read_file(path: Path) -> bytes:
    """Reads all bytes of an image file.

    Raises:
        UserError: it is missing or cannot be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"image {path}: no such file; was it moved after the data set was listed?") from None
    except OSError as error:
        raise UserError(
            f"image {path}: cannot be read ({error.strerror}); check the file and its permissions"
        ) from None


def _describe_non_image(encoded: bytes) -> str:
    if looks_like_html(encoded):
        return "a web page, not an image (a download that was refused?)"
    return f"not a sound image of a known format ({', '.join(FORMATS)})"


def _turn_upright(image: Image.Image) -> Image.Image:
    try:
        orientation = image.getexif().get(_EXIF_ORIENTATION)
    except Exception:  # damaged EXIF raises many kinds of errors, but the pixels are intact
        return image
    if orientation not in _UPRIGHT:
        return image
    turned = image.transpose(_UPRIGHT[orientation])
    turned.info = dict(image.info)
    return turned


def _to_rgb(image: Image.Image) -> Image.Image:
    image = _to_eight_bits(image)
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image.convert("RGB")


def _to_grey(image: Image.Image) -> Image.Image:
    image = _to_eight_bits(image)
    if image.mode == "L" and not image.has_transparency_data:
        return image.convert("L")
    return _to_rgb(image).convert("L")


def _to_eight_bits(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ValueError("floating-point pixels have no defined range")
    if image.mode == "I" or image.mode.startswith("I;16"):
        # Pillow clips at 255 here, but keeps the high byte of 16-bit colour: do the latter.
        return Image.fromarray((np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8))
    return image
