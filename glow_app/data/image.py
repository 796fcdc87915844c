"""Safe decoding of one image file to 8-bit pixels."""

import io
import os
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import jpeg_factory
from PIL.TiffImagePlugin import TiffImageFile
from torch import Tensor

from glow_app.errors import UserError

Channels = Literal[1, 3]

# A list, because Pillow reads many more, some by decoders that few people use and that see little testing.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "PPM", "GIF", "TIFF", "AVIF")
SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".ppm", ".pgm", ".pbm", ".pnm", ".gif", ".tif", ".tiff",
    ".avif",
)  # fmt: skip

NOT_READ = (
    ".heic", ".heif", ".hif", ".jxl", ".jp2", ".j2k", ".jpx", ".jxr", ".psd", ".psb", ".xcf", ".svg", ".svgz", ".eps",
    ".ico", ".tga", ".dds", ".exr", ".hdr", ".pcx", ".apng", ".dng", ".raw", ".cr2", ".cr3", ".crw", ".nef", ".nrw",
    ".arw", ".srf", ".sr2", ".orf", ".rw2", ".raf", ".pef", ".srw", ".x3f", ".3fr", ".iiq", ".rwl",
)  # fmt: skip
"""Suffixes of pictures in formats that are not read: a folder of them is told about, not ignored."""

# Above every image of the data sets here, and below the size at which Pillow itself warns.
MAX_PIXELS = 8192 * 8192

# Photographs of telephones have up to 200 million; above MAX_PIXELS they are decoded at half of their sides.
MAX_JPEG_PIXELS = 4 * MAX_PIXELS

_DRAFTED = ("JPEG", "MPO")
_HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_TILE_SIZE = (0x0142, 0x0143)  # tags of TIFF: TileWidth, TileLength

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

    Formats: PNG, JPEG, WebP, BMP, PPM/PGM/PBM, GIF, TIFF, AVIF; of several frames or pages the first. The size is
    checked from the header before any pixel is decoded. A JPEG of more than ``MAX_PIXELS`` pixels is decoded at half
    of its sides. Conversions:

    * EXIF orientation is applied; a damaged EXIF block is ignored;
    * transparency (alpha channel, transparent palette entry or colour) is composited on white;
    * 16 bits per channel keep their high byte; CMYK, YCbCr and palettes become RGB; ICC profiles are ignored;
    * colour becomes grey by ITU-R 601-2 luma, grey becomes colour by repetition.

    Args:
        source: a path, or the encoded bytes.
        channels: 3 or 1.
        name: name of the image in error messages; the path by default.

    Raises:
        CorruptImage: zero bytes, not an image, truncated, damaged, a link that leads nowhere, or more than
            ``MAX_PIXELS`` pixels (a JPEG: ``MAX_JPEG_PIXELS``).
        UserError: the file is missing or cannot be read.
    """
    if isinstance(source, bytes):
        encoded, label = source, name or "(bytes)"
    else:
        encoded, label = read_file(Path(source)), name or str(source)
    if not encoded:
        raise CorruptImage(label, "the file is empty (0 bytes)")
    try:
        image = _open(encoded)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise CorruptImage(label, f"its header announces more than {MAX_PIXELS:,} pixels") from None
    except Exception:
        # On damaged bytes Pillow's format plugins raise many unrelated exceptions.
        raise CorruptImage(label, _describe_non_image(encoded)) from None
    with image:
        width, height = image.size
        most = MAX_JPEG_PIXELS if image.format in _DRAFTED else MAX_PIXELS
        if width * height > most:
            raise CorruptImage(label, f"{width} x {height} is more than {most:,} pixels")
        if width * height > MAX_PIXELS:
            image.draft(None, (width // 2, height // 2))
        try:
            image.load()
            return normalized(image, channels)
        except MemoryError:
            raise
        except Exception as error:
            raise CorruptImage(label, f"truncated or damaged ({str(error) or type(error).__name__})") from None


def _open(encoded: bytes) -> ImageFile:
    """Reads the header. Raises any exception, because Pillow's format plugins do."""
    if encoded.startswith(b"\xff\xd8\xff"):
        # Image.open would refuse or warn by its own limit, which is for pictures that are decoded whole.
        return jpeg_factory(io.BytesIO(encoded))
    image = Image.open(io.BytesIO(encoded), formats=FORMATS)
    if isinstance(image, TiffImageFile):
        width, height = (int(image.tag_v2.get(tag, 1)) for tag in _TILE_SIZE)
        if width * height > MAX_PIXELS:  # a tile is decoded whole, whatever the size of the picture
            raise Image.DecompressionBombError
    return image


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
        CorruptImage: it is a symbolic link that leads nowhere.
        UserError: it is missing or cannot be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        if path.is_symlink():
            raise CorruptImage(str(path), f"a symbolic link to {os.readlink(path)}, which does not exist") from None
        raise UserError(f"image {path}: no such file; was it moved after the data set was listed?") from None
    except OSError as error:
        raise UserError(
            f"image {path}: cannot be read ({error.strerror}); check the file and its permissions"
        ) from None


def _describe_non_image(encoded: bytes) -> str:
    if looks_like_html(encoded):
        return "a web page, not an image (a download that was refused?)"
    if encoded[4:8] == b"ftyp" and encoded[8:12] in _HEIC:
        return "HEIC, which is not read: convert it to JPEG or PNG first, for instance with pillow-heif"
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
        raise ValueError("floating-point pixels have no defined range: save them as 8 or 16 bits")
    if image.mode == "I" and image.format == "TIFF":
        raise ValueError("pixels of 32 bits have no defined range: save them as 8 or 16 bits")
    clear = image.info.get("transparency")
    if image.mode == "I" or image.mode.startswith("I;16"):
        # Pillow clips at 255 here, but keeps the high byte of 16-bit colour: do the latter.
        values = np.asarray(image).astype(np.int64)
        grey = Image.fromarray((values >> 8).clip(0, 255).astype(np.uint8))
        if clear is not None:
            grey.putalpha(Image.fromarray(np.where(values == clear, 0, 255).astype(np.uint8)))
        return grey
    if image.mode == "RGB" and clear is not None and max(clear) > 255:
        # Pillow would compare the low byte of a 16-bit colour with the high byte of the pixels.
        image = image.copy()
        image.info["transparency"] = tuple(part >> 8 for part in clear)
    return image
