"""The metadata of samples on disk, and the lock for writing them.

The metadata is a JSON file beside the samples. Samples of different models or options are never mixed, nor written
over each other, and only one process at a time writes them.
"""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from glow_app.errors import UserError
from glow_app.runtime.atomic import write_text
from glow_app.runtime.lock import lock

FORMAT = 2
"""Version of the metadata; raised when its layout changes, or when the same facts identify other samples."""


class State(NamedTuple):
    """The progress of sampling.

    Attributes:
        drawn: number of images that are written or known not to be finite.
        not_finite: numbers of the images that are not finite, ascending.
    """

    drawn: int
    not_finite: tuple[int, ...]


class Metadata:
    """The metadata of samples that are, or are to be, on disk.

    Args:
        path: path of the metadata, JSON.
        facts: values that identify these samples, JSON-ready.
        of: the samples' file or folder; must be absent or empty if there is no metadata.
        free: facts that may differ from those on disk.
        replace: allows other samples on disk, to be overwritten.

    Attributes:
        held: the facts on disk, or None.
        state: the progress.
        of_others: True if other samples are on disk, which ``replace`` allows.

    Raises:
        UserError: other samples are on disk, or the metadata is damaged.
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
                raise UserError(f"{of} holds samples {_difference(self.held, facts, different)}: choose output=...")
            if different:
                self.of_others, self.state = True, State(0, ())
        elif of.is_file() or (of.is_dir() and any(of.iterdir())):
            raise UserError(f"{of} already exists, but {path.name} is missing: choose output=...")

    def write(self) -> None:
        """Writes the facts and the state."""
        state = {"drawn": self.state.drawn, "not_finite": list(self.state.not_finite)}
        text = json.dumps({"format_version": FORMAT, **self.facts, **state}, indent=1, allow_nan=False)
        write_text(self.path, text)


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


def _difference(held: dict[str, Any], facts: dict[str, Any], different: Sequence[str]) -> str:
    if "model" in different:
        return "of another model"
    return "with " + ", ".join(f"{key}={_shown(held.get(key))}, not {_shown(facts[key])}" for key in different)


def _shown(value: Any) -> str:
    return json.dumps(value, separators=(",", ":")).strip('"')


@contextmanager
def written_alone(path: Path, command: str = "glow-sample") -> Iterator[None]:
    """Locks what a command writes, whose file or folder is ``path``, so that no other process writes it.

    The lock ends with its process, however that ends; a lock file left by a killed process does not block.

    Raises:
        UserError: another process writes it, or the lock file cannot be written.
    """
    lock_path = path.with_name(f".{path.name}.lock")
    file = _locked(lock_path, path, command)
    try:
        yield
    finally:
        # Deleted before unlocking, when it is certain to be this process's own.
        with suppress(OSError):
            lock_path.unlink()
        file.close()


def _locked(lock_path: Path, path: Path, command: str) -> BinaryIO:
    with writing(lock_path):
        lock_path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            with ExitStack() as opened:
                file = opened.enter_context(open(lock_path, "wb"))
                if not lock(file):
                    raise UserError(f"another {command} is writing {path}: wait for it, or choose output=...")
                # If its previous owner deleted it after it was opened here, it locks nothing: try again.
                with suppress(FileNotFoundError):
                    if os.path.samestat(os.fstat(file.fileno()), os.stat(lock_path)):
                        opened.pop_all()
                        return file


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns an OSError into a UserError."""
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}; free some space or choose another folder") from error
