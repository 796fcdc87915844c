"""Checkpoints of a run: everything that is needed to resume it, in one file with a digest.

A file is Lightning's checkpoint as torch saves it, and 73 bytes more: newline, ``sha256:``, the digest of what precedes
them, newline. torch ignores them; ``head -c -73 FILE | sha256sum`` computes the same digest.

Models for any other use are exported by :mod:`glow_app.artifacts.weights`.
"""

import hashlib
import os
import re
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO
from rich.console import Console
from torch import Tensor, nn

from glow_app.errors import UserError
from glow_app.runtime.atomic import write_atomically
from glow_app.runtime.console import say
from glow_app.training.checkpoints.run_folder import folder_of

TRAILER = re.compile(rb"\nsha256:([0-9a-f]{64})\n")
TRAILER_BYTES = 73

BLOCK = 1 << 20

CONTENT: dict[str, type] = {
    "global_step": int,
    "state_dict": dict,
    "loops": dict,
    "callbacks": dict,
    "optimizer_states": list,
    "lr_schedulers": list,
}
"""Keys that every checkpoint has -> the types of their values."""


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes Lightning's checkpoints atomically, with their digest."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        write_atomically(Path(path), lambda file: _write(checkpoint, file))


class _Hashed:
    """A file that computes the digest of what is written to it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.digest = hashlib.sha256()
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        try:
            return self._file.write(data)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        self._file.flush()


def _write(checkpoint: dict[str, Any], file: BinaryIO) -> None:
    hashed = _Hashed(file)
    try:
        torch.save(checkpoint, hashed)  # type: ignore[arg-type]  # torch needs only these two methods
    except Exception:
        if hashed.error is None:
            raise
        raise hashed.error from None  # torch's own error does not mention the full disk
    file.write(f"\nsha256:{hashed.digest.hexdigest()}\n".encode())


def verify(path: Path) -> None:
    """Checks all of ``path`` against its digest.

    Raises:
        UserError: it cannot be read, or differs from what was written.
    """
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            left = os.fstat(file.fileno()).st_size - TRAILER_BYTES
            while left > 0 and (block := file.read(min(BLOCK, left))):
                digest.update(block)
                left -= len(block)
            trailer = TRAILER.fullmatch(file.read(TRAILER_BYTES + 1))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    if trailer is None:
        raise UserError(f"{path} is cut short or not a checkpoint of glow-train: its digest is missing")
    if trailer[1].decode() != digest.hexdigest():
        raise UserError(f"{path} is damaged: its content differs from its digest")


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Reads and checks the content of a checkpoint; its tensors have shapes but no data (device meta).

    Raises:
        UserError: it is damaged, or not a checkpoint of a run.
    """
    verify(path)
    try:
        _require_plain(path)
        content = torch.load(path, map_location="meta", weights_only=True)
    except Exception as error:  # torch reports what it refuses through many exceptions
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise _foreign(path, f"{reason:.160}") from error
    if not isinstance(content, dict):
        raise _foreign(path, f"it holds a {type(content).__name__}")
    for key, kind in CONTENT.items():
        if not isinstance(content.get(key), kind) or isinstance(content[key], bool):
            raise _foreign(path, f"its {key} is no {kind.__name__}")
    if not 0 <= content["global_step"] < 2**53:
        raise _foreign(path, f"global_step={content['global_step']}")
    if any(tensor.numel() * tensor.element_size() > path.stat().st_size for tensor in tensors(content)):
        raise _foreign(path, "it holds an array that is larger than the file")
    return content


def _foreign(path: Path, reason: str) -> UserError:
    return UserError(f"{path} is not a checkpoint of glow-train ({reason}); resume from another")


def _require_plain(path: Path) -> None:
    """Raises a ValueError unless the archive is uncompressed, as torch writes it: it cannot expand in memory."""
    with zipfile.ZipFile(path) as archive:
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
            raise ValueError("its archive is compressed")


def require_weights_of(flow: nn.Module, state: dict[str, Any], path: str) -> None:
    """Raises a UserError unless the weights in a checkpoint have the names and shapes of those of ``flow``."""
    expected = {f"flow.{key}": value for key, value in flow.state_dict().items()}
    for key in sorted(expected.keys() | state.keys(), key=str):
        found, wanted = state.get(key), expected.get(key)
        if not isinstance(found, Tensor) or wanted is None or found.shape != wanted.shape:
            has, needs = (tuple(of.shape) if isinstance(of, Tensor) else "nothing" for of in (found, wanted))
            raise UserError(f"{path} is of another model: {key} has {has}, config.yaml makes it {needs}")


def require_state_of(parameters: Sequence[Tensor], states: list[Any], path: str) -> None:
    """Raises a UserError if an optimizer's saved state of a parameter has another shape."""
    saved = [state["state"] for state in states if isinstance(state, dict) and isinstance(state.get("state"), dict)]
    for number, parameter in enumerate(parameters):
        for found in tensors([of_all.get(number) for of_all in saved]):
            if found.dim() and found.shape != parameter.shape:
                raise UserError(
                    f"{path}: its optimizer has {tuple(found.shape)} where {tuple(parameter.shape)} belongs: an "
                    "earlier version of glow_app wrote it; resume with that version, or start a new run"
                )


def tensors(content: Any) -> Iterator[Tensor]:
    """Yields all tensors in nested dictionaries, lists and tuples."""
    if isinstance(content, Tensor):
        yield content
    elif isinstance(content, dict):
        for value in content.values():
            yield from tensors(value)
    elif isinstance(content, list | tuple):
        for value in content:
            yield from tensors(value)


def is_finite(content: Any) -> bool:
    """Returns whether all floating-point tensors in ``content`` are finite."""
    floats = [tensor.detach() for tensor in tensors(content) if tensor.is_floating_point()]
    largest = torch.nn.utils.get_total_norm(floats, norm_type=float("inf"))  # a sum of squares might overflow
    return bool(torch.isfinite(largest))


def checkpoints_of(run_folder: Path) -> list[Path]:
    """The checkpoints from which a run can resume, oldest first."""
    return sorted((run_folder / "checkpoints").glob("step_*.ckpt"))


def checkpoint_path(run_folder: Path, step: int) -> Path:
    """The path of the checkpoint of ``step``, written or not."""
    return run_folder / "checkpoints" / f"step_{step:08d}.ckpt"


def newest_whole(run_folder: Path, console: Console) -> Path | None:
    """The newest checkpoint of a run that is whole, or None without any; prints which it skips, and why.

    Raises:
        UserError: the run has checkpoints, and none of them is whole.
    """
    found = checkpoints_of(run_folder)
    for path in reversed(found):
        try:
            verify(path)
        except UserError as error:
            say(console, f"skipped   {error}")
        else:
            return path
    if found:
        raise UserError(f"{run_folder}: none of its {len(found)} checkpoints is whole; start a new run")
    return None


def find_run(resume: str, console: Console) -> tuple[Path, Path]:
    """The run folder and checkpoint that ``resume`` names: a run (its newest whole checkpoint) or a checkpoint.

    Raises:
        UserError: there is no such run, or it has nothing to resume from.
    """
    path = Path(resume)
    if path.is_file():
        return folder_of(resume), path
    newest = newest_whole(path, console)
    if newest is None:
        what = "has no checkpoint yet" if path.is_dir() else "does not exist"
        raise UserError(
            f"resume={resume}: this run {what}; give the folder of a run, or a file checkpoints/step_*.ckpt"
        )
    return path, newest
