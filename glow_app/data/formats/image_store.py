"""Encoded images by name: in a folder, or in a zip read without unpacking."""

import hashlib
import os
import re
import struct
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

from glow_app.data.formats.files import digest_files, is_image_name, refuse_html
from glow_app.data.image import CorruptImage, read_file
from glow_app.errors import UserError


class ImageStore(ABC):
    """A sequence of encoded images. It holds no open file, so it may be pickled, forked and shared by threads.

    Attributes:
        where: the folder or the zip.
        names: file names of the images.
    """

    where: Path
    names: list[str]

    @abstractmethod
    def select(self, names: Sequence[str]) -> "ImageStore":
        """Returns a store of only these images, in this order; every name must be in ``self.names``."""

    @abstractmethod
    def read(self, index: int) -> bytes:
        """Reads the encoded bytes of one image, unchanged.

        Raises:
            CorruptImage: they are damaged.
            UserError: they cannot be read.
        """

    @abstractmethod
    def label(self, index: int) -> str:
        """Name and location of an image, for error messages."""

    @abstractmethod
    def digest(self) -> str:
        """Digest that changes with the names or the stored bytes."""


class FolderStore(ImageStore):
    """Image files directly in one folder: ``names``, or else all, sorted by name."""

    def __init__(self, folder: Path, names: Sequence[str] | None = None) -> None:
        self.where = folder
        if names is None:
            with os.scandir(folder) as entries:
                names = sorted(entry.name for entry in entries if is_image_name(entry.name))
        self.names = list(names)

    def select(self, names: Sequence[str]) -> "FolderStore":
        return FolderStore(self.where, names)

    def read(self, index: int) -> bytes:
        return read_file(self.where / self.names[index])

    def label(self, index: int) -> str:
        return str(self.where / self.names[index])

    def digest(self) -> str:
        return digest_files(self.where, self.names)


class ZipStore(ImageStore):
    """Image files of a zip: ``members`` by name, or else all, in any of its folders, by their bare names.

    Members are read at their offsets, which are found once: no other process parses the zip's directory again.

    Raises:
        UserError: the file is a web page, not a zip, cut short, encrypted, or packed by a rare method.
    """

    def __init__(self, path: Path, members: dict[str, zipfile.ZipInfo] | None = None) -> None:
        if members is None:
            files = zip_files(path)
            members = {name: files[path] for path in files if is_image_name(name := path.rpartition("/")[2])}
        self.where = path
        self.names = list(members)
        strange = [m for m in members.values() if m.flag_bits & _ENCRYPTED or m.compress_type not in _METHODS]
        if strange:
            raise UserError(f"{path}: {strange[0].filename} is encrypted or packed by a rare method; unpack the zip")
        self._entries = [
            (m.header_offset, m.compress_size, m.file_size, m.compress_type, m.CRC) for m in members.values()
        ]

    def select(self, names: Sequence[str]) -> "ZipStore":
        row = {name: k for k, name in enumerate(self.names)}
        chosen = ZipStore(self.where, {})
        chosen.names = list(names)
        chosen._entries = [self._entries[row[name]] for name in names]
        return chosen

    def read(self, index: int) -> bytes:
        offset, size, full_size, method, checksum = self._entries[index]
        if full_size > MAX_BYTES or size > MAX_BYTES:
            raise CorruptImage(self.label(index), f"more than {MAX_BYTES:,} bytes")
        try:
            with open(self.where, "rb") as file:
                file.seek(offset)
                header = file.read(_LOCAL_HEADER)
                # Lengths of the name and of the extra field: they may differ from those in the zip's directory.
                name, extra = int.from_bytes(header[26:28], "little"), int.from_bytes(header[28:30], "little")
                file.seek(name + extra, os.SEEK_CUR)
                stored = file.read(size)
        except OSError as error:
            raise UserError(f"{self.where}: cannot be read ({error.strerror}); was it moved or deleted?") from None
        try:
            # No more than the zip's directory announces: a small member can inflate to gigabytes.
            inflate = zlib.decompressobj(-zlib.MAX_WBITS)
            content = stored if method == zipfile.ZIP_STORED else inflate.decompress(stored, full_size + 1)
        except zlib.error:
            content = b""
        if zlib.crc32(content) != checksum:
            raise CorruptImage(self.label(index), "damaged inside the zip (its checksum differs)")
        return content

    def label(self, index: int) -> str:
        return f"{self.names[index]} in {self.where}"

    def digest(self) -> str:
        status = self.where.stat()
        facts = "\n".join([f"{status.st_size} {status.st_mtime_ns}", *self.names])
        return hashlib.sha256(facts.encode(errors="surrogateescape")).hexdigest()


MAX_BYTES = 256 * 2**20
"""Largest image file in a zip, packed or not: far above any picture."""

_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 1
_HIDDEN = re.compile(r"^__MACOSX/|(^|/)\.")
_LOCAL_HEADER = 30


def zip_files(path: Path) -> dict[str, zipfile.ZipInfo]:
    """Finds all files of a zip by their paths in it, sorted; hidden files and folders are ignored.

    Raises:
        UserError: the file is a web page, not a zip, or cut short.
    """
    try:
        with open(path, "rb") as file:
            refuse_html(path, file.read(512))
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error):
        size = path.stat().st_size
        raise UserError(
            f"{path} ({size:,} bytes) is not a complete zip: cut short? delete it and download it again"
        ) from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the file and its permissions") from None
    visible = {m.filename: m for m in members if not m.is_dir() and not _HIDDEN.search(m.filename)}
    return dict(sorted(visible.items()))
