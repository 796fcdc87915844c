"""Decoded pixels on disk: every image is decoded and preprocessed once, then read through a memory map.

A cache is a folder ``<name>-<split>-<digest of the source's fingerprint>/`` that holds ``pixels.bin`` (uint8, image
after image) and ``card.json``. It appears under that name only when it is complete. While it is being built it is
called ``....building``, and ``done.txt`` lists the chunks that have reached the disk, so that a killed build goes on.

Images that are still to be cropped at random have different sizes; theirs are in ``sizes.npy``, int32 (N, 2): (h, w).
"""

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from glow_app.data.formats.files import take
from glow_app.data.image import CorruptImage
from glow_app.data.source import ImageSource, RandomCropSource
from glow_app.errors import UserError
from glow_app.runtime.atomic import sync_folder, write_atomically, write_text
from glow_app.runtime.console import Progress
from glow_app.runtime.lock import lock

CHUNK = 256
"""Images that are decoded and written together, and lost if a build is killed between two of them."""

FORMAT = 1


class CachedSource(ImageSource):
    """A source whose pixels come from a cache; its images that could not be decoded are left out.

    Attributes:
        folder: of the cache.
        source: where the pixels came from.
        skipped: the images that were left out, each with the reason.
    """

    def __init__(self, source: ImageSource, folder: Path) -> None:
        card = _read_card(folder)
        self.folder = folder
        self.source = source
        self.name, self.split, self.preprocessing = source.name, source.split, source.preprocessing
        self.image_shape = source.image_shape
        self.attribute_names, self.class_names = source.attribute_names, source.class_names
        self.skipped: list[str] = card["skipped"]
        self._kept = np.setdiff1d(np.arange(len(source)), card["skipped_indices"])
        if (folder / "pixels.bin").stat().st_size != card["bytes"]:
            raise UserError(f"the pixel cache {folder} is cut short; delete this folder and prepare the data again")
        self.attributes = take(source.attributes, self._kept.tolist()) if self.skipped else source.attributes
        self.classes = take(source.classes, self._kept.tolist()) if self.skipped else source.classes
        self._pixels: np.memmap | None = None

    def __getstate__(self) -> dict[str, object]:
        # A memory map would travel to a worker process as the pixels themselves.
        return {**self.__dict__, "_pixels": None}

    def __len__(self) -> int:
        return len(self._kept)

    def __getitem__(self, index: int) -> Tensor:
        return self.fetch([index])[0]

    def fetch(self, indices: Sequence[int]) -> Tensor:
        pixels = self._memory_map().reshape(len(self._kept), *self.image_shape)
        return torch.from_numpy(pixels[np.asarray(indices, dtype=np.int64)])

    def item_name(self, index: int) -> str:
        return self.source.item_name(int(self._kept[index]))

    def content(self) -> dict[str, object]:
        return self.source.content()

    def fingerprint(self) -> dict[str, object]:
        return self.source.fingerprint()

    def _memory_map(self) -> np.memmap:
        if self._pixels is None:
            self._pixels = np.memmap(self.folder / "pixels.bin", dtype=np.uint8, mode="r")
        return self._pixels


class CachedCrops(CachedSource, RandomCropSource):
    """A cached source of images that are cropped at random: what is cached is what stands before the crop."""

    def __init__(self, source: RandomCropSource, folder: Path) -> None:
        super().__init__(source, folder)
        self._sizes = np.load(folder / "sizes.npy")
        n_bytes = self.image_shape[0] * self._sizes.astype(np.int64).prod(1)
        self._starts = np.concatenate([[0], np.cumsum(n_bytes)])

    def uncropped(self, index: int) -> Tensor:
        height, width = self._sizes[index]
        flat = self._memory_map()[self._starts[index] : self._starts[index + 1]]
        return torch.from_numpy(flat.copy()).view(self.image_shape[0], int(height), int(width))

    def fetch(self, indices: Sequence[int]) -> Tensor:
        return self.fetch_crops(indices, torch.full((len(indices), 2), 0.5))


def cached(source: ImageSource, cache_folder: Path, workers: int, progress: Progress) -> CachedSource:
    """``source`` with its pixels in the cache, which is built first if it is not there yet.

    Args:
        source: what to decode. With ``on_corrupt="skip"`` images that cannot be decoded are left out.
        cache_folder: where caches live.
        workers: processes that decode; 0 decodes in this one.
        progress: told after every chunk.

    Raises:
        UserError: an image is corrupt (``on_corrupt="error"``), the disk is full or not writable.
    """
    folder = cache_path(source, cache_folder)
    if not (folder / "card.json").exists():
        try:
            cache_folder.mkdir(parents=True, exist_ok=True)
            with open(folder.with_suffix(".lock"), "w") as file:
                lock(file, wait=True)
                # Another process may have built it while this one waited.
                if not (folder / "card.json").exists():
                    _build(source, folder, workers, progress)
        except OSError as error:
            raise UserError(
                f"cannot write the pixel cache in {cache_folder}: {error.strerror}; "
                "free some space, or choose another folder with data.cache_folder=..."
            ) from error
    return CachedCrops(source, folder) if isinstance(source, RandomCropSource) else CachedSource(source, folder)


def default_workers() -> int:
    """As many decoding processes as this process may use cores."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cache_path(source: ImageSource, cache_folder: Path) -> Path:
    """Where the cache of ``source`` is, or would be: another source or preprocessing has another place."""
    facts = {"format": FORMAT, "on_corrupt": _on_corrupt(source)}
    key = json.dumps(facts | {"source": source.fingerprint()}, sort_keys=True)
    return cache_folder / f"{source.name}-{source.split}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"


def verify(folder: Path) -> None:
    """Reads a whole cache and compares it with the digest that was taken when it was built.

    Raises:
        UserError: pixels have changed since.
    """
    if _digest(folder / "pixels.bin") != _read_card(folder)["sha256"]:
        raise UserError(f"the pixel cache {folder} is damaged; delete this folder and prepare the data again")


class _Chunk(NamedTuple):
    pixels: Tensor  # uint8, of all images one after the other
    sizes: list[tuple[int, int]]  # (h, w) of each
    left_out: list[tuple[int, str]]  # index of the image, and the reason


class _Chunks(Dataset[_Chunk | UserError]):
    """Chunk number -> its decoded pixels; or an error, returned, since a DataLoader wraps what is raised in a page."""

    def __init__(self, source: ImageSource) -> None:
        self.source = source
        self.decode = source.uncropped if isinstance(source, RandomCropSource) else source.__getitem__
        self.skip = _on_corrupt(source) == "skip"

    def __len__(self) -> int:
        return -(-len(self.source) // CHUNK)

    def __getitem__(self, chunk: int) -> _Chunk | UserError:
        images: list[Tensor] = []
        left_out: list[tuple[int, str]] = []
        for index in range(chunk * CHUNK, min((chunk + 1) * CHUNK, len(self.source))):
            try:
                images.append(self.decode(index))
            except CorruptImage as error:
                if not self.skip:
                    return error
                left_out.append((index, f"{error.name}: {error.found}"))
            except UserError as error:
                return error
        pixels = torch.cat([image.flatten() for image in images]) if images else torch.empty(0, dtype=torch.uint8)
        return _Chunk(pixels, [(image.shape[1], image.shape[2]) for image in images], left_out)


def _build(source: ImageSource, folder: Path, workers: int, progress: Progress) -> None:
    building = folder.with_suffix(".building")
    building.mkdir(exist_ok=True)
    done = _chunks_done(building)
    chunks = _Chunks(source)
    progress(min(len(done) * CHUNK, len(source)), len(source))
    loader = DataLoader(
        chunks,
        batch_size=None,
        sampler=range(len(done), len(chunks)),
        num_workers=min(workers, len(chunks) - len(done)),
    )
    # Written, not memory-mapped: a full disk is then an error to report instead of a bus error.
    with open(building / "pixels.bin", "ab") as pixels, open(building / "done.txt", "a") as log:
        pixels.truncate(sum(chunk["bytes"] for chunk in done))
        for number, chunk in enumerate(loader, start=len(done)):
            if isinstance(chunk, UserError):
                raise chunk
            pixels.write(chunk.pixels.numpy().tobytes())
            pixels.flush()
            os.fsync(pixels.fileno())
            done.append({"bytes": len(chunk.pixels), "sizes": chunk.sizes, "skipped": chunk.left_out})
            log.write(json.dumps(done[-1]) + "\n")
            log.flush()
            os.fsync(log.fileno())
            progress(min((number + 1) * CHUNK, len(source)), len(source))
    _publish(source, building, folder, done)


def _publish(source: ImageSource, building: Path, folder: Path, done: list[dict]) -> None:
    """Describes a finished build, and gives it the name under which it is found."""
    skipped = [(index, reason) for chunk in done for index, reason in chunk["skipped"]]
    if len(skipped) == len(source):
        raise UserError(f"{source.name}: none of the {len(source)} images of split {source.split} can be decoded")
    if isinstance(source, RandomCropSource):
        sizes = np.array([size for chunk in done for size in chunk["sizes"]], dtype=np.int32)
        write_atomically(building / "sizes.npy", lambda file: np.save(file, sizes))
    card = {
        "format": FORMAT,
        "name": source.name,
        "split": source.split,
        "preprocessing": source.preprocessing,
        "image_shape": source.image_shape,
        "n_images": len(source) - len(skipped),
        "skipped_indices": [index for index, _ in skipped],
        "skipped": [reason for _, reason in skipped],
        "bytes": sum(chunk["bytes"] for chunk in done),
        "sha256": _digest(building / "pixels.bin"),
        "fingerprint": source.fingerprint(),
    }
    write_text(building / "card.json", json.dumps(card, indent=1))
    shutil.rmtree(folder, ignore_errors=True)  # a folder without a card: not one of ours that is complete
    os.replace(building, folder)
    sync_folder(folder.parent)


def _chunks_done(building: Path) -> list[dict]:
    """The chunks of an interrupted build that reached the disk, in order, up to the first line that was torn."""
    log, pixels = building / "done.txt", building / "pixels.bin"
    done: list[dict] = []
    if log.exists() and pixels.exists():
        for line in log.read_bytes().splitlines():
            try:
                done.append(json.loads(line))
            except ValueError:
                break
    if sum(chunk["bytes"] for chunk in done) > (pixels.stat().st_size if pixels.exists() else 0):
        done = []  # pixels were lost after the log was written: nothing here can be relied on
    # What follows the last whole line would otherwise run into the first line that is added now.
    log.write_text("".join(json.dumps(chunk) + "\n" for chunk in done))
    return done


def _read_card(folder: Path) -> dict:
    try:
        return json.loads((folder / "card.json").read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"the pixel cache {folder} has no readable card.json; delete this folder") from error


def _on_corrupt(source: ImageSource) -> str:
    return getattr(source, "on_corrupt", "error")


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
