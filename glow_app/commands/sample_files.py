"""Files of samples: a folder of PNG files or one npz, in constant memory, and resumable however the process ended.

:mod:`glow_app.commands.sample_metadata` has the metadata that identifies the samples.
"""

import io
import os
import time
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from shutil import copyfileobj
from typing import Any, BinaryIO, Protocol

import numpy as np
from PIL import Image
from torch import Tensor

from glow_app.commands.sample_metadata import Metadata, State, writing
from glow_app.errors import UserError
from glow_app.latents.sampling import Samples
from glow_app.runtime.atomic import write_atomically

FLUSH_SECONDS = 2.0
"""Seconds of work that may be lost if the process is killed."""

PNG_END = b"IEND\xaeB`\x82"
"""The last bytes of every complete PNG file."""


class SampleFiles(Protocol):
    """A writer of samples.

    Attributes:
        metadata: identity and progress of the samples.
        path: final file or folder.
    """

    metadata: Metadata
    path: Path

    def todo(self) -> Sequence[int]:
        """Returns the numbers of the images still to be drawn, ascending."""
        ...

    def add(self, batch: Samples) -> None:
        """Adds the next images of :meth:`todo`; those that are not finite are noted, not written."""
        ...

    def flush(self) -> None:
        """Saves everything added so far."""
        ...

    def finish(self) -> None:
        """Completes the files after the last image."""
        ...


class PngFolder:
    """A folder of ``000000.png`` ..., named by the images' numbers, and ``samples.json``.

    More images of the same samples may be added later. If the process is killed, each file is complete or absent;
    after a power failure, truncated files are found and drawn again.

    Args:
        folder: path of the folder, which may hold some of these images already.
        facts: see :class:`Metadata`; ``n`` and ``first`` select the images.
    """

    def __init__(self, folder: Path, facts: dict[str, Any]) -> None:
        self.path = folder
        self.metadata = Metadata(folder / "samples.json", facts, folder, free=("n", "model_folder"))
        held = self.metadata.held
        if held is not None and held["n"] > facts["n"]:
            raise UserError(f"{folder} holds samples with n={held['n']}, more than {facts['n']}: choose output=...")
        self._flushed = time.monotonic()

    def todo(self) -> list[int]:
        first, n = self.metadata.facts["first"], self.metadata.facts["n"]
        skipped = set(self.metadata.state.not_finite)
        missing = [i for i in range(first, first + n) if i not in skipped and not _is_complete(self._file(i))]
        self.metadata.state = State(n - len(missing), self.metadata.state.not_finite)
        self.metadata.write()
        return missing

    def add(self, batch: Samples) -> None:
        for number, image, finite in zip(batch.numbers, batch.images, batch.finite.tolist(), strict=True):
            if finite:
                _write_png(image, self._file(number))
        drawn, not_finite = self.metadata.state
        self.metadata.state = State(drawn + len(batch.numbers), tuple(sorted({*not_finite, *batch.not_finite})))
        if time.monotonic() > self._flushed + FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        self.metadata.write()
        self._flushed = time.monotonic()

    def finish(self) -> None:
        self.flush()

    def _file(self, number: int) -> Path:
        return self.path / f"{number:06d}.png"


class NpzFile:
    """One npz: uint8 (N, H, W, C) as ``arr_0``, as evaluators of samples read it, and the labels, int64, as ``arr_1``.

    Images that are not finite are left out. Until all are drawn, pixels are appended to ``<path>.partial``, and the
    metadata records how many are valid; then they are copied into the npz, uncompressed.

    Args:
        path: path of the npz; its metadata is ``<path>.json``.
        facts: see :class:`Metadata`; ``n`` and ``first`` select the images.
        labels: function from numbers of images to their classes; it returns None for a model without classes.
    """

    def __init__(self, path: Path, facts: dict[str, Any], labels: Callable[[Sequence[int]], list[int] | None]) -> None:
        self.path = path
        self.metadata = Metadata(path.with_name(f"{path.name}.json"), facts, path, free=("model_folder",))
        self._labels = labels
        self._partial = path.with_name(f"{path.name}.partial")
        self._flushed = time.monotonic()

    @property
    def _n_finite(self) -> int:
        return self.metadata.state.drawn - len(self.metadata.state.not_finite)

    @property
    def _n_bytes(self) -> int:
        channels, height, width = self.metadata.facts["image_shape"]
        return self._n_finite * channels * height * width

    def todo(self) -> range:
        first, n = self.metadata.facts["first"], self.metadata.facts["n"]
        if self.path.exists() and self.metadata.state.drawn == n:
            return range(0)
        with writing(self._partial):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._partial.touch()
            if self._partial.stat().st_size < self._n_bytes:
                self.metadata.state = State(0, ())  # it was deleted or truncated
            # Later pixels were written after the metadata, and are drawn again.
            os.truncate(self._partial, self._n_bytes)
        self.metadata.write()
        return range(first + self.metadata.state.drawn, first + n)

    def add(self, batch: Samples) -> None:
        pixels = batch.images[batch.finite].permute(0, 2, 3, 1).contiguous().numpy()
        with writing(self._partial), open(self._partial, "ab") as file:
            file.write(pixels.data)
        drawn, not_finite = self.metadata.state
        self.metadata.state = State(drawn + len(batch.numbers), (*not_finite, *batch.not_finite))
        if time.monotonic() > self._flushed + FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        with writing(self._partial), open(self._partial, "ab") as file:
            os.fsync(file.fileno())
        self.metadata.write()
        self._flushed = time.monotonic()

    def finish(self) -> None:
        if self._n_finite and not self.path.exists():
            self.flush()
            write_atomically(self.path, self._write_zip)
        self._partial.unlink(missing_ok=True)

    def _write_zip(self, target: BinaryIO) -> None:
        channels, height, width = self.metadata.facts["image_shape"]
        first, n = self.metadata.facts["first"], self.metadata.facts["n"]
        skipped = set(self.metadata.state.not_finite)
        labels = self._labels([number for number in range(first, first + n) if number not in skipped])
        # A ZipInfo without a date: the same samples result in the same file.
        with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
            with archive.open(zipfile.ZipInfo("arr_0.npy"), "w", force_zip64=True) as member:
                shape = (self._n_finite, height, width, channels)
                header = {"descr": "|u1", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(member, header)
                with open(self._partial, "rb") as pixels:
                    copyfileobj(pixels, member, 2**20)
            if labels is not None:
                with archive.open(zipfile.ZipInfo("arr_1.npy"), "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, np.array(labels, dtype=np.int64))


def _write_png(image: Tensor, path: Path) -> None:
    """Writes uint8 (C, H, W) to a file that is complete or absent if the process is killed.

    There is no fsync, which takes longer than drawing and encoding a small image; see :func:`_is_complete`.
    """
    pixels = image.permute(1, 2, 0).numpy()
    content = io.BytesIO()
    Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[:, :, 0]).save(content, format="PNG")
    temporary = path.with_name(f".{path.name}.part")
    with writing(path):
        temporary.write_bytes(content.getbuffer())
        os.replace(temporary, path)


def _is_complete(path: Path) -> bool:
    """Returns whether a PNG file exists and is not truncated."""
    try:
        with open(path, "rb") as file:
            file.seek(-len(PNG_END), os.SEEK_END)
            return file.read() == PNG_END
    except OSError:
        return False
