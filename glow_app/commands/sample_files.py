"""Where samples go: a folder of PNG files or one npz, in constant memory, and resumable however the process ended.

Beside them lies an account, JSON, that tells which samples they are. Samples of another model or with other options are
never mixed with them, nor written over them, and one process at a time writes them.
"""

import io
import json
import os
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from shutil import copyfileobj
from typing import Any, BinaryIO, NamedTuple, Protocol

import numpy as np
from PIL import Image
from torch import Tensor

from glow_app.errors import UserError
from glow_app.latents.sampling import Samples
from glow_app.runtime.atomic import write_durably
from glow_app.runtime.lock import lock

FORMAT = 2
"""Goes up when accounts are written in another way, or when the same facts come to mean other samples."""

FLUSH_SECONDS = 2.0
"""Seconds of work that a kill may cost."""

PNG_END = b"IEND\xaeB`\x82"
"""The last bytes of every whole PNG file."""


class State(NamedTuple):
    """How far samples have come.

    Attributes:
        drawn: images that are written, or known not to be finite.
        not_finite: numbers of the latter, ascending.
    """

    drawn: int
    not_finite: tuple[int, ...]


class Account:
    """What is known of samples that are, or are to be, on the disk.

    Args:
        path: JSON.
        facts: what tells these samples from others, JSON-ready.
        of: the samples' file or folder: there must be none if there is no account.
        free: facts that may have changed since.
        replace: other samples may be there: they are to be overwritten.

    Attributes:
        held: the facts that were found, or None.
        state: how far the samples have come.
        of_others: whether what was found are other samples, which ``replace`` allows.

    Raises:
        UserError: there are other samples, or the account is damaged.
    """

    def __init__(
        self, path: Path, facts: dict[str, Any], of: Path, free: Sequence[str] = (), replace: bool = False
    ) -> None:
        self.path, self.facts = path, facts
        self.held: dict[str, Any] | None = None
        self.state = State(0, ())
        self.of_others = False
        if path.exists():
            self.held, self.state = _read(path)
            different = [key for key in facts if key not in free and self.held.get(key) != facts[key]]
            if different and not replace:
                raise UserError(f"{of} holds samples {_told_apart(self.held, facts, different)}: choose output=...")
            if different:
                self.of_others, self.state = True, State(0, ())
        elif of.is_file() or (of.is_dir() and any(of.iterdir())):
            raise UserError(f"{of} is there already, and no {path.name} tells what it holds: choose output=...")

    def write(self) -> None:
        """Writes the facts and the state."""
        state = {"drawn": self.state.drawn, "not_finite": list(self.state.not_finite)}
        text = json.dumps({"format_version": FORMAT, **self.facts, **state}, indent=1, allow_nan=False)
        write_durably(self.path, lambda file: file.write(text.encode()))


def _read(path: Path) -> tuple[dict[str, Any], State]:
    try:
        facts = json.loads(path.read_text())
        version = facts.pop("format_version")
        state = State(int(facts.pop("drawn")), tuple(int(number) for number in facts.pop("not_finite")))
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(f"{path} is damaged ({error}): choose output=..., or delete what it describes") from error
    if version != FORMAT:
        raise UserError(f"{path} was written by another version of glow_app: choose output=...")
    return facts, state


def _told_apart(held: dict[str, Any], facts: dict[str, Any], different: Sequence[str]) -> str:
    if "model" in different:
        return "of another model"
    return "with " + ", ".join(f"{key}={_shown(held.get(key))}, not {_shown(facts[key])}" for key in different)


def _shown(value: Any) -> str:
    return json.dumps(value, separators=(",", ":")).strip('"')


@contextmanager
def written_alone(path: Path) -> Iterator[None]:
    """Inside, no other process writes the samples whose file or folder is ``path``.

    The lock goes with its process, however that ends; a lock file that a killed process left is in nobody's way.

    Raises:
        UserError: another process writes them, or the disk refuses.
    """
    lock_path = path.with_name(f".{path.name}.lock")
    file = _locked(lock_path, path)
    try:
        yield
    finally:
        # Before it is unlocked: what is deleted is this process's own.
        with suppress(OSError):
            lock_path.unlink()
        file.close()


def _locked(lock_path: Path, path: Path) -> BinaryIO:
    with _writing(lock_path):
        lock_path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            with ExitStack() as opened:
                file = opened.enter_context(open(lock_path, "wb"))
                if not lock(file):
                    raise UserError(f"another glow-sample is writing {path}: wait for it, or choose output=...")
                # Not if the one that had it has deleted it since it was opened here: then it locks nothing.
                with suppress(FileNotFoundError):
                    if os.path.samestat(os.fstat(file.fileno()), os.stat(lock_path)):
                        opened.pop_all()
                        return file


class SampleFiles(Protocol):
    """Samples on their way to the disk.

    Attributes:
        account: what they are, and how far they have come.
        path: file or folder where they are in the end.
    """

    account: Account
    path: Path

    def todo(self) -> Sequence[int]:
        """Numbers of the images that are still to be drawn, ascending."""
        ...

    def add(self, batch: Samples) -> None:
        """Takes the next images of :meth:`todo`; those that are not finite are noted, not written."""
        ...

    def flush(self) -> None:
        """From here on nothing of what was added is lost."""
        ...

    def finish(self) -> None:
        """After the last image."""
        ...


class PngFolder:
    """A folder of ``000000.png`` ..., named by the images' numbers, and ``samples.json``.

    More images of the same samples may be added later. A file is there whole or not at all if the process is killed;
    after a power failure, files that are cut short are found and drawn again.

    Args:
        folder: may exist, with some of these images.
        facts: see :class:`Account`; ``n`` and ``first`` say which images.
    """

    def __init__(self, folder: Path, facts: dict[str, Any]) -> None:
        self.path = folder
        self.account = Account(folder / "samples.json", facts, folder, free=("n", "model_folder"))
        held = self.account.held
        if held is not None and held["n"] > facts["n"]:
            raise UserError(f"{folder} holds samples with n={held['n']}, more than {facts['n']}: choose output=...")
        self._flushed = time.monotonic()

    def todo(self) -> list[int]:
        first, n = self.account.facts["first"], self.account.facts["n"]
        skipped = set(self.account.state.not_finite)
        missing = [i for i in range(first, first + n) if i not in skipped and not _is_whole(self._file(i))]
        self.account.state = State(n - len(missing), self.account.state.not_finite)
        self.account.write()
        return missing

    def add(self, batch: Samples) -> None:
        for number, image, finite in zip(batch.numbers, batch.images, batch.finite.tolist(), strict=True):
            if finite:
                _write_png(image, self._file(number))
        drawn, not_finite = self.account.state
        self.account.state = State(drawn + len(batch.numbers), tuple(sorted({*not_finite, *batch.not_finite})))
        if time.monotonic() > self._flushed + FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        self.account.write()
        self._flushed = time.monotonic()

    def finish(self) -> None:
        self.flush()

    def _file(self, number: int) -> Path:
        return self.path / f"{number:06d}.png"


class NpzFile:
    """One npz: uint8 (N, H, W, C) as ``arr_0``, as evaluators of samples read it, and the labels, int64, as ``arr_1``.

    Images that are not finite are left out. Until all are there, pixels are appended to ``<path>.partial``, and the
    account says how many of them can be relied on; then they are copied into the npz, stored, not packed.

    Args:
        path: of the npz; its account is ``<path>.json``.
        facts: see :class:`Account`; ``n`` and ``first`` say which images.
        labels: the classes of the images with these numbers; None without classes.
    """

    def __init__(self, path: Path, facts: dict[str, Any], labels: Callable[[Sequence[int]], list[int] | None]) -> None:
        self.path = path
        self.account = Account(path.with_name(f"{path.name}.json"), facts, path, free=("model_folder",))
        self._labels = labels
        self._partial = path.with_name(f"{path.name}.partial")
        self._flushed = time.monotonic()

    @property
    def _n_kept(self) -> int:
        return self.account.state.drawn - len(self.account.state.not_finite)

    @property
    def _bytes_kept(self) -> int:
        channels, height, width = self.account.facts["image_shape"]
        return self._n_kept * channels * height * width

    def todo(self) -> range:
        first, n = self.account.facts["first"], self.account.facts["n"]
        if self.path.exists() and self.account.state.drawn == n:
            return range(0)
        with _writing(self._partial):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._partial.touch()
            if self._partial.stat().st_size < self._bytes_kept:
                self.account.state = State(0, ())  # somebody deleted it, or cut it short
            # What is behind was written after the account, and is drawn again.
            os.truncate(self._partial, self._bytes_kept)
        self.account.write()
        return range(first + self.account.state.drawn, first + n)

    def add(self, batch: Samples) -> None:
        pixels = batch.images[batch.finite].permute(0, 2, 3, 1).contiguous().numpy()
        with _writing(self._partial), open(self._partial, "ab") as file:
            file.write(pixels.data)
        drawn, not_finite = self.account.state
        self.account.state = State(drawn + len(batch.numbers), (*not_finite, *batch.not_finite))
        if time.monotonic() > self._flushed + FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        with _writing(self._partial), open(self._partial, "ab") as file:
            os.fsync(file.fileno())
        self.account.write()
        self._flushed = time.monotonic()

    def finish(self) -> None:
        if self._n_kept and not self.path.exists():
            self.flush()
            write_durably(self.path, self._write_zip)
        self._partial.unlink(missing_ok=True)

    def _write_zip(self, target: BinaryIO) -> None:
        channels, height, width = self.account.facts["image_shape"]
        first, n = self.account.facts["first"], self.account.facts["n"]
        skipped = set(self.account.state.not_finite)
        labels = self._labels([number for number in range(first, first + n) if number not in skipped])
        # A ZipInfo without a date: the same samples give the same file.
        with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
            with archive.open(zipfile.ZipInfo("arr_0.npy"), "w", force_zip64=True) as member:
                shape = (self._n_kept, height, width, channels)
                header = {"descr": "|u1", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(member, header)
                with open(self._partial, "rb") as pixels:
                    copyfileobj(pixels, member, 2**20)
            if labels is not None:
                with archive.open(zipfile.ZipInfo("arr_1.npy"), "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, np.array(labels, dtype=np.int64))


def _write_png(image: Tensor, path: Path) -> None:
    """uint8 (C, H, W) to a file that is there whole or not at all.

    Without an fsync, which takes longer than to draw and encode a small image; see :func:`_is_whole`.
    """
    pixels = image.permute(1, 2, 0).numpy()
    content = io.BytesIO()
    Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[:, :, 0]).save(content, format="PNG")
    temporary = path.with_name(f".{path.name}.part")
    with _writing(path):
        temporary.write_bytes(content.getbuffer())
        os.replace(temporary, path)


def _is_whole(path: Path) -> bool:
    """Whether a PNG file is there to its end."""
    try:
        with open(path, "rb") as file:
            file.seek(-len(PNG_END), os.SEEK_END)
            return file.read() == PNG_END
    except OSError:
        return False


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Turns what a disk refuses into a UserError."""
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}; free some space or choose another folder") from error
