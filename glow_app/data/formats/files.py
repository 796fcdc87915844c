"""Shared helpers of the file readers: finding files, suggesting the right folder, digests."""

import difflib
import hashlib
import os
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from glow_app.data.image import NOT_READ, SUFFIXES, looks_like_html
from glow_app.data.source import SPLITS
from glow_app.errors import UserError

OnCorrupt = Literal["error", "skip"]

SEARCH_SECONDS = 0.5
"""Longest search for the right folder, when ``data.root`` is not it."""

_MOST_ENTRIES, _MOST_FOLDERS = 10_000, 64


def require_folder(root: str | Path, what: str) -> Path:
    """Returns ``root`` as the path of an existing folder, ``~`` expanded.

    Raises:
        UserError: it is missing, or it is a file.
    """
    try:
        path = Path(root)
        exists = path.exists()
    except (RuntimeError, OSError) as error:
        raise UserError(f"{what}: data.root={root} is no path ({error}); give the folder that holds the data") from None
    if path.is_dir():
        return path
    if exists:
        raise UserError(
            f"{what}: {path} is a file, not a folder; set data.root to the folder that holds it: {path.parent}"
        )
    raise UserError(f"{what}: folder {path} does not exist; set data.root to the folder that holds the data")


def require_choice(key: str, value: object, choices: Iterable[object]) -> None:
    """Raises a UserError that lists the choices (and suggests the nearest) unless ``value`` is one of them."""
    allowed = list(choices)
    if value in allowed:
        return
    near = difflib.get_close_matches(str(value), [str(choice) for choice in allowed], n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise UserError(f"{key}={value}: {hint}choose one of {', '.join(str(choice) for choice in allowed)}")


def require_split(split: str) -> None:
    """Raises a UserError unless ``split`` is train, val or test."""
    require_choice("split", split, SPLITS)


def image_size_pair(image_size: int | tuple[int, int]) -> tuple[int, int]:
    """Returns (H, W) of ``image_size``, which is one side for a square, or (H, W).

    Raises:
        UserError: a side is below 1, or the numbers are not one or two.
    """
    sides = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
    if len(sides) != 2 or any(side < 1 for side in sides):
        raise UserError(f"data.image_size={image_size}: give one side, or [height, width], each at least 1")
    return sides[0], sides[1]


def list_files(root: Path) -> list[str]:
    """Relative paths (with /) of all files below ``root``, sorted; hidden files and folders are ignored.

    Symbolic links to folders are followed, each real folder once.
    """
    found: list[str] = []
    seen: set[str] = set()
    for folder, folders, files in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        prefix = os.path.relpath(folder, root).replace(os.sep, "/")
        prefix = "" if prefix == "." else prefix + "/"
        found += [prefix + name for name in files if not name.startswith(".")]
    return sorted(found)


def images_among(names: Iterable[str], left_out: Counter[str]) -> list[str]:
    """Returns the names of images; adds to ``left_out`` the suffixes of pictures of formats that are not read."""
    images: list[str] = []
    for name in names:
        if is_image_name(name):
            images.append(name)
        elif name.lower().endswith(NOT_READ):
            left_out[name[name.rindex(".") :].lower()] += 1
    return images


def describe_left_out(left_out: Counter[str]) -> str:
    """Says how many files are not read, by suffix, and what to do; empty if there are none."""
    kinds = ", ".join(f"{suffix} {n:,}" for suffix, n in left_out.most_common())
    n = left_out.total()
    return (
        f"{n:,} {'file that is' if n == 1 else 'files that are'} not read: {kinds}; convert to JPEG or PNG" if n else ""
    )


def is_image_name(name: str) -> bool:
    """Returns whether a file name counts as an image: a known suffix, and not hidden."""
    return name.lower().endswith(SUFFIXES) and not name.startswith(".")


def digest_files(root: Path, names: Iterable[str]) -> str:
    """SHA-256 of names, sizes and modification times: changes whenever one of the files is replaced.

    A symbolic link that leads nowhere counts by its name alone; reading it raises a ``CorruptImage``.

    Raises:
        UserError: one of them is missing.
    """
    digest = hashlib.sha256()
    for name in names:
        try:
            status = os.stat(root / name)
        except OSError as error:
            if isinstance(error, FileNotFoundError) and os.path.islink(root / name):
                digest.update(f"{name}\0nowhere\n".encode("utf-8", "surrogateescape"))
                continue
            raise UserError(f"{root / name}: cannot be read ({error.strerror}); was it moved or deleted?") from None
        digest.update(f"{name}\0{status.st_size}\0{status.st_mtime_ns}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def refuse_html(path: Path, content: bytes) -> None:
    """Raises a UserError if a downloaded file is in fact a web page."""
    if looks_like_html(content[:512]):
        raise UserError(
            f"{path} is a web page, not data: the download was refused and the page saved under that name; "
            "delete it and download the file again, in a browser if need be"
        )


def find_level(root: Path, is_there: Callable[[Path], bool]) -> Path | None:
    """Finds a folder for which ``is_there`` holds, up to two levels below ``root``, for messages.

    It looks nowhere else, and gives up after ``SEARCH_SECONDS``: ``root`` may be a whole disk.
    """
    end = time.monotonic() + SEARCH_SECONDS
    waiting = deque((folder, 1) for folder in subfolders(root))
    while waiting and time.monotonic() < end:
        folder, depth = waiting.popleft()
        try:
            if is_there(folder):
                return folder
        except OSError:
            continue  # not ours to read
        if depth < 2:
            waiting.extend((below, depth + 1) for below in subfolders(folder))
    return None


def subfolders(folder: Path) -> list[Path]:
    """Folders directly in ``folder``, sorted, without hidden ones: at most 64, none if it cannot be read."""
    try:
        # An image folder can hold a million files: scandir finds its subfolders without a stat call per file.
        with os.scandir(folder) as entries:
            first = islice(entries, _MOST_ENTRIES)
            return sorted(Path(entry.path) for entry in first if not entry.name.startswith(".") and entry.is_dir())[
                :_MOST_FOLDERS
            ]
    except OSError:
        return []


def take(values: Tensor | None, rows: Iterable[int]) -> Tensor | None:
    """Returns ``values[rows]``, or None if there are no values."""
    return None if values is None else values[torch.as_tensor(list(rows), dtype=torch.int64)]
