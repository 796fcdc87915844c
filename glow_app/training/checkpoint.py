"""Checkpoints of a run: everything that it needs to go on, in Lightning's format, written durably.

What everybody else needs of a model is exported by :mod:`glow_app.exported`.
"""

from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO

from glow_app.durable import write_durably
from glow_app.errors import UserError


class DurableCheckpointIO(TorchCheckpointIO):
    """Writes Lightning's checkpoints whole or not at all."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        write_durably(Path(path), lambda file: torch.save(checkpoint, file))


def checkpoints_of(run_folder: Path) -> list[Path]:
    """The checkpoints of a run from which it can go on, oldest first."""
    return sorted((run_folder / "checkpoints").glob("step_*.ckpt"))


def checkpoint_path(run_folder: Path, step: int) -> Path:
    """Where the checkpoint of ``step`` is, or will be."""
    return run_folder / "checkpoints" / f"step_{step:08d}.ckpt"


def find_run(resume: str) -> tuple[Path, Path]:
    """The folder of the run, and the checkpoint, that ``resume`` means: a run (its newest checkpoint) or a checkpoint.

    Raises:
        UserError: there is no such run, or nothing in it to go on from.
    """
    path = Path(resume).expanduser()
    if path.is_file():
        return path.parent.parent, path
    found = checkpoints_of(path)
    if not found:
        what = "has no checkpoint yet" if path.is_dir() else "does not exist"
        raise UserError(
            f"resume={resume}: this run {what}; give the folder of a run, or a file checkpoints/step_*.ckpt"
        )
    return path, found[-1]
