"""Decoded pixels on disk: every image is decoded and preprocessed once, then read through a memory map.

A cache is a folder ``<name>-<split>-<digest of the source's fingerprint>/`` that holds ``pixels.bin`` (uint8, image
after image) and ``card.json``. It gets that name only when it is complete. During the build it is called
``....building``, and ``done.txt`` lists the chunks that have reached the disk, so that a killed build can resume.

Images that are stored before a random crop differ in size; ``sizes.npy``, int32 (N, 2), holds (h, w) of each.
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

from glow_app.data.alignment import Eyes
from glow_app.data.formats.files import take
from glow_app.data.image import CorruptImage
from glow_app.data.source import ImageSource, RandomCropSource
from glow_app.errors import UserError
from glow_app.runtime.atomic import sync_folder, write_atomically, write_text
from glow_app.runtime.console import Progress
from glow_app.runtime.lock import lock

CHUNK = 256
"""Images that are decoded and written together; a killed build decodes its unfinished chunk again."""

FORMAT = 1


class CachedSource(ImageSource):
    """A source whose pixels come from a cache, without the images that could not be decoded.

    Attributes:
        folder: folder of the cache.
        source: source of the cached pixels.
        skipped: images that were left out, each with the reason.
    """

    def __init__(self, source: ImageSource, folder: Path) -> None:
        card = _read_card(folder)
        self.folder = folder
        self.source = source
        self.name, self.split, self.preprocessing = source.name, source.split, source.preprocessing
        self.image_shape = source.image_shape
        self.attribute_names, self.class_names = source.attribute_names, source.class_names
        self.left_out, self.binarised = source.left_out, source.binarised
        self.skipped: list[str] = card["skipped"]
        self._decoded = np.setdiff1d(np.arange(len(source)), card["skipped_indices"])
        if (folder / "pixels.bin").stat().st_size != card["bytes"]:
            raise UserError(f"the pixel cache {folder} is cut short; delete this folder and prepare the data again")
        self.attributes = take(source.attributes, self._decoded.tolist()) if self.skipped else source.attributes
        self.labelled = take(source.labelled, self._decoded.tolist()) if self.skipped else source.labelled
        self.classes = take(source.classes, self._decoded.tolist()) if self.skipped else source.classes
        self.identities = take(source.identities, self._decoded.tolist()) if self.skipped else source.identities
        self._pixels: np.memmap | None = None

    @property
    def eyes(self) -> Eyes | None:
        return self.source.eyes

    def __getstate__(self) -> dict[str, object]:
        # Pickling a memory map would copy all pixels to the worker process.
        return {**self.__dict__, "_pixels": None}

    def __len__(self) -> int:
        return len(self._decoded)

    def __getitem__(self, index: int) -> Tensor:
        return self.fetch([index])[0]

    def fetch(self, indices: Sequence[int]) -> Tensor:
        pixels = self._memory_map().reshape(len(self._decoded), *self.image_shape)
        return torch.from_numpy(pixels[np.asarray(indices, dtype=np.int64)])

    def item_name(self, index: int) -> str:
        return self.source.item_name(int(self._decoded[index]))

    def content(self) -> dict[str, object]:
        return self.source.content()

    def fingerprint(self) -> dict[str, object]:
        return self.source.fingerprint()

    def _memory_map(self) -> np.memmap:
        if self._pixels is None:
            self._pixels = np.memmap(self.folder / "pixels.bin", dtype=np.uint8, mode="r")
        return self._pixels


class CachedCrops(CachedSource, RandomCropSource):
    """A cached source with random crops: the cache holds the images before the crop."""

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
    """Returns ``source`` with its pixels in the cache, which is built first if it does not exist.

    Args:
        source: source to decode. With ``on_corrupt="skip"`` images that cannot be decoded are left out.
        cache_folder: folder of all caches.
        workers: processes that decode; 0 decodes in this process.
        progress: called after every chunk.

    Raises:
        UserError: an image is corrupt (``on_corrupt="error"``), or the disk is full or not writable.
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
    """Number of decoding processes: the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cache_path(source: ImageSource, cache_folder: Path) -> Path:
    """Folder of the cache of ``source``, which need not exist: each source and preprocessing has its own."""
    facts = {"format": FORMAT, "on_corrupt": _on_corrupt(source)}
    key = json.dumps(facts | {"source": source.fingerprint()}, sort_keys=True)
    return cache_folder / f"{source.name}-{source.split}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"


def verify(folder: Path) -> None:
    """Checks a whole cache against the digest that was computed when it was built.

    Raises:
        UserError: pixels have changed.
    """
    if _digest(folder / "pixels.bin") != _read_card(folder)["sha256"]:
        raise UserError(f"the pixel cache {folder} is damaged; delete this folder and prepare the data again")


class _Chunk(NamedTuple):
    pixels: Tensor  # uint8, all images one after the other
    sizes: list[tuple[int, int]]  # (h, w) of each
    left_out: list[tuple[int, str]]  # index of the image, and the reason


class _Chunks(Dataset[_Chunk | UserError]):
    """Chunk number -> decoded pixels, or the error: a DataLoader would wrap a raised one in a long traceback."""

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
    # Written, not memory-mapped: a full disk then raises an OSError instead of a bus error.
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
    """Writes the card of a finished build and renames its folder to the final name."""
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
    """Chunks of an interrupted build that reached the disk, in order, up to the first incomplete line of the log."""
    log, pixels = building / "done.txt", building / "pixels.bin"
    done: list[dict] = []
    if log.exists() and pixels.exists():
        for line in log.read_bytes().splitlines():
            try:
                done.append(json.loads(line))
            except ValueError:
                break
    if sum(chunk["bytes"] for chunk in done) > (pixels.stat().st_size if pixels.exists() else 0):
        done = []  # the log has chunks whose pixels were lost: trust nothing here
    # An incomplete last line would otherwise run into the next one.
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
