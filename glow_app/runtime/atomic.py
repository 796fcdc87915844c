"""Atomic writes: whatever happens during a write, the file is whole, either old or new."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from glow_app.errors import UserError

PART = ".part"
"""Suffix of a file that is being written."""


class CannotWrite(UserError):
    """The disk refuses: full, read-only, no permission. The previous content is still there."""


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Replaces the content of ``path`` by what ``write`` writes to the file that it receives.

    A temporary file in the same folder, fsync, rename, fsync of the folder: after a crash or a full disk, ``path``
    holds either its old content or the new one.

    Raises:
        CannotWrite: the disk refuses.
    """
    temporary: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=PART)
        with os.fdopen(descriptor, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
        sync_folder(path.parent)
    except OSError as error:
        raise CannotWrite(f"cannot write {path}: {error.strerror}; free some space or choose another folder") from error
    finally:
        if temporary is not None and os.path.exists(temporary):
            os.unlink(temporary)


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 as :func:`write_atomically` does; names of files that are not UTF-8 become the bytes that they are.

    Raises:
        CannotWrite: the disk refuses.
    """
    content = text.encode(errors="surrogateescape")
    write_atomically(path, lambda file: file.write(content))


def remove_unfinished(folder: Path) -> None:
    """Removes the unfinished files that killed processes left in ``folder`` and below."""
    for path in folder.rglob(f".*{PART}"):
        path.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Makes renames inside ``folder`` survive a power failure."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
