"""Decoded pixels on disk: every image is decoded and preprocessed once, then read through a memory map.

A cache is a folder ``<name>-<split>-<digest of the source's fingerprint>/`` that holds ``pixels.bin`` (uint8, image
after image) and ``card.json``. It appears under that name only when it is complete. While it is being built it is
called ``....building``, and ``done.txt`` lists the chunks that have reached the disk, so that a killed build goes on.
"""

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from glow_app.data.files import take
from glow_app.data.image import CorruptImage
from glow_app.data.source import ImageSource
from glow_app.durable import sync_folder, write_durably
from glow_app.errors import UserError

CHUNK = 256
"""Images that are decoded and written together, and lost if a build is killed between two of them."""

FORMAT = 1

Progress = Callable[[int, int], None]
"""Called with (images done, images in all)."""


class CachedSource(ImageSource):
    """A source whose pixels come from a cache; its images that could not be decoded are left out."""

    def __init__(self, source: ImageSource, folder: Path) -> None:
        card = _read_card(folder)
        self.folder = folder
        self.name, self.split, self.preprocessing = source.name, source.split, source.preprocessing
        self.image_shape = source.image_shape
        self.attribute_names, self.class_names = source.attribute_names, source.class_names
        self.skipped: list[str] = card["skipped"]
        self._kept: list[int] = np.setdiff1d(np.arange(len(source)), card["skipped_indices"]).tolist()
        self.attributes = take(source.attributes, self._kept)
        self.classes = take(source.classes, self._kept)
        self._source = source
        self._pixels: np.memmap | None = None

    def __getstate__(self) -> dict[str, object]:
        # A memory map would travel to a worker process as the pixels themselves.
        return {**self.__dict__, "_pixels": None}

    def __len__(self) -> int:
        return len(self._kept)

    def __getitem__(self, index: int) -> Tensor:
        return self.fetch([index])[0]

    def fetch(self, indices: Sequence[int]) -> Tensor:
        if self._pixels is None:
            shape = (len(self._kept), *self.image_shape)
            self._pixels = np.memmap(self.folder / "pixels.bin", dtype=np.uint8, mode="r", shape=shape)
        return torch.from_numpy(self._pixels[np.asarray(indices, dtype=np.int64)])

    def item_name(self, index: int) -> str:
        return self._source.item_name(self._kept[index])

    def fingerprint(self) -> dict[str, object]:
        return self._source.fingerprint()


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
            with _lock(folder.with_suffix(".lock")):
                # Another process may have built it while this one waited.
                if not (folder / "card.json").exists():
                    _build(source, folder, workers, progress)
        except OSError as error:
            raise UserError(
                f"cannot write the pixel cache in {cache_folder}: {error.strerror}; "
                "free some space, or choose another folder with data.cache_folder=..."
            ) from error
    return CachedSource(source, folder)


def cache_path(source: ImageSource, cache_folder: Path) -> Path:
    """Where the cache of ``source`` is, or would be: another source or preprocessing has another place."""
    facts = {"format": FORMAT, "shape": source.image_shape, "n": len(source), "on_corrupt": _on_corrupt(source)}
    key = json.dumps(facts | {"source": source.fingerprint()}, sort_keys=True)
    return cache_folder / f"{source.name}-{source.split}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"


def verify(folder: Path) -> None:
    """Reads a whole cache and compares it with the digest that was taken when it was built.

    Raises:
        UserError: pixels have changed since.
    """
    if _digest(folder / "pixels.bin") != _read_card(folder)["sha256"]:
        raise UserError(f"the pixel cache {folder} is damaged; delete this folder and prepare the data again")


class _Chunks(Dataset[object]):
    """Chunk number -> its decoded pixels, and (index, reason) of the images that are left out; or a UserError.

    The error is returned, not raised: a DataLoader would wrap it in a page of traceback from the worker.
    """

    def __init__(self, source: ImageSource) -> None:
        self.source = source
        self.skip = _on_corrupt(source) == "skip"

    def __len__(self) -> int:
        return -(-len(self.source) // CHUNK)

    def __getitem__(self, chunk: int) -> tuple[Tensor, list[tuple[int, str]]] | UserError:
        images: list[Tensor] = []
        left_out: list[tuple[int, str]] = []
        for index in range(chunk * CHUNK, min((chunk + 1) * CHUNK, len(self.source))):
            try:
                images.append(self.source[index])
            except CorruptImage as error:
                if not self.skip:
                    return error
                left_out.append((index, f"{error.name}: {error.found}"))
            except UserError as error:
                return error
        empty = torch.empty((0, *self.source.image_shape), dtype=torch.uint8)
        return torch.stack(images) if images else empty, left_out


def _build(source: ImageSource, folder: Path, workers: int, progress: Progress) -> None:
    building = folder.with_suffix(".building")
    building.mkdir(exist_ok=True)
    done = _chunks_done(building)
    chunks = _Chunks(source)
    size = int(np.prod(source.image_shape))
    skipped: list[tuple[int, str]] = [(index, name) for chunk in done for index, name in chunk["skipped"]]
    progress(len(done) * CHUNK, len(source))
    loader = DataLoader(
        chunks,
        batch_size=None,
        sampler=range(len(done), len(chunks)),
        num_workers=min(workers, len(chunks) - len(done)),
    )
    # Written, not memory-mapped: a full disk is then an error to report instead of a bus error.
    with open(building / "pixels.bin", "ab") as pixels, open(building / "done.txt", "a") as log:
        pixels.truncate(sum(chunk["kept"] for chunk in done) * size)
        for number, result in enumerate(loader, start=len(done)):
            if isinstance(result, UserError):
                raise result
            images, left_out = result
            pixels.write(images.numpy().tobytes())
            pixels.flush()
            os.fsync(pixels.fileno())
            log.write(json.dumps({"chunk": number, "kept": len(images), "skipped": left_out}) + "\n")
            log.flush()
            skipped += left_out
            progress(min((number + 1) * CHUNK, len(source)), len(source))
    if len(skipped) == len(source):
        raise UserError(f"{source.name}: none of the {len(source)} images of split {source.split} can be decoded")
    card = {
        "format": FORMAT,
        "name": source.name,
        "split": source.split,
        "preprocessing": source.preprocessing,
        "image_shape": source.image_shape,
        "n_images": len(source) - len(skipped),
        "skipped_indices": [index for index, _ in skipped],
        "skipped": [name for _, name in skipped],
        "sha256": _digest(building / "pixels.bin"),
        "fingerprint": source.fingerprint(),
    }
    write_durably(building / "card.json", lambda file: file.write(json.dumps(card, indent=1).encode()))
    shutil.rmtree(folder, ignore_errors=True)  # a folder without a card: not one of ours that is complete
    os.replace(building, folder)
    sync_folder(folder.parent)


def _chunks_done(building: Path) -> list[dict]:
    """The chunks of an interrupted build that reached the disk, in order; a torn last line does not count."""
    done: list[dict] = []
    if (building / "done.txt").exists():
        lines = (building / "done.txt").read_text().splitlines(keepends=True)
        done = [json.loads(line) for line in lines if line.endswith("\n")]
        # What follows the last whole line would otherwise run into the first line that is added now.
        (building / "done.txt").write_text("".join(json.dumps(chunk) + "\n" for chunk in done))
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


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """One process at a time; the lock goes with its process, however that ends."""
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
