"""What is known of samples on the disk, and which process may write them.

An metadata, JSON, lies beside them. Samples of another model or with other options are never mixed with them, nor
written over them, and one process at a time writes them.
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
"""Goes up when accounts are written in another way, or when the same facts come to mean other samples."""


class State(NamedTuple):
    """How far samples have come.

    Attributes:
        drawn: images that are written, or known not to be finite.
        not_finite: numbers of the latter, ascending.
    """

    drawn: int
    not_finite: tuple[int, ...]


class Metadata:
    """What is known of samples that are, or are to be, on the disk.

    Args:
        path: JSON.
        facts: what tells these samples from others, JSON-ready.
        of: the samples' file or folder: there must be none if there is no metadata.
        free: facts that may have changed since.
        replace: other samples may be there: they are to be overwritten.

    Attributes:
        held: the facts that were found, or None.
        state: how far the samples have come.
        of_others: whether what was found are other samples, which ``replace`` allows.

    Raises:
        UserError: there are other samples, or the metadata is damaged.
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
    with writing(lock_path):
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


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns what a disk refuses into a UserError."""
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}; free some space or choose another folder") from error
