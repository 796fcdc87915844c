"""The folder of a run: which one is meant, whose it is while the run goes on, and what tells how it was started."""

import dataclasses
import json
import os
import platform
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TextIO

from omegaconf import OmegaConf

from glow_app.config.train import TrainConfig
from glow_app.errors import UserError
from glow_app.runtime.atomic import CannotWrite, write_durably
from glow_app.runtime.lock import lock

LOCK = ".lock"
"""Says which process trains here; it is locked while that is so, and means nothing when it is not."""

VERSIONS = ("glow_app", "torch", "torchvision", "pytorch-lightning", "hydra-core", "numpy", "pillow")


def folder_of(resume: str) -> Path:
    """The folder of the run that ``resume`` means: itself, or that of a checkpoint."""
    path = Path(resume).expanduser()
    if not path.is_file():
        return path
    return path.absolute().parent.parent if path.parent == Path() else path.parent.parent


@contextmanager
def trained_alone(run_folder: Path) -> Iterator[None]:
    """Inside, no other run writes into ``run_folder``: two jobs with ``resume=auto`` may mean the same one.

    Only the first of several processes of a run calls it. The lock goes with its process, however that ends. Where a
    file system has no locks, nothing is locked.

    Raises:
        UserError: another run does, or nothing can be written there.
    """
    with ExitStack() as opened:
        try:
            run_folder.mkdir(parents=True, exist_ok=True)
            file = opened.enter_context(open(run_folder / LOCK, "a+"))
        except OSError as error:
            raise CannotWrite(f"cannot write {run_folder / LOCK}: {error.strerror}; choose another folder") from error
        with suppress(OSError):  # a file system without locks
            _lock(file, run_folder)
        yield


def _lock(file: TextIO, run_folder: Path) -> None:
    if not lock(file):
        file.seek(0)
        who = " ".join(file.read(200).split()) or "another process"
        raise UserError(f"{run_folder}: {who} is training there; end it first, or wait for it")
    with suppress(OSError):  # a full disk: the lock holds all the same
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()


def save_configuration(config: TrainConfig, run_folder: Path) -> None:
    """Writes ``config.yaml`` and ``versions.json``.

    Raises:
        CannotWrite: the disk refuses.
    """
    configuration = OmegaConf.to_yaml(OmegaConf.create(dataclasses.asdict(config)))
    text = json.dumps(versions(), indent=1)
    write_durably(run_folder / "config.yaml", lambda file: file.write(configuration.encode()))
    write_durably(run_folder / "versions.json", lambda file: file.write(text.encode()))


def versions() -> dict[str, str]:
    """Of Python and the libraries that decide what a run computes."""
    return {"python": platform.python_version(), **{name: _version(name) for name in VERSIONS}}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:  # glow_app itself, run from a checkout
        return "not installed"
