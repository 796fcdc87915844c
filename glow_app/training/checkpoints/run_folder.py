"""The folder of a run: how it is found and locked, and which files record how the run was started."""

import dataclasses
import itertools
import json
import os
import platform
import shlex
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TextIO

from omegaconf import OmegaConf

from glow_app.artifacts.hub import SCHEME
from glow_app.config.check import PATHS
from glow_app.config.train import AUTO, TrainConfig
from glow_app.errors import UserError
from glow_app.runtime.atomic import CannotWrite, remove_unfinished, write_text
from glow_app.runtime.lock import lock

LOCK = ".lock"
"""File that names the process that trains here; meaningless unless it is locked."""

COMMAND = "command.txt"
"""File of the command lines that trained the run, one for each change of an option."""

LONGEST_COMMAND = 1 << 16
"""Largest size of ``COMMAND`` in bytes."""

NOT_OF_THE_MODEL = ("debug", "report", "data.cache", "data.cache_folder", "data.workers")
"""Keys that depend on the machine and change no weight."""

VERSIONS = ("glow_app", "torch", "torchvision", "pytorch-lightning", "hydra-core", "numpy", "pillow")


def new_run_folder(name: str) -> Path:
    """Creates the folder of a new run, ``runs/<name>/<date_time>``; runs of the same second get different ones.

    Raises:
        CannotWrite: the disk refuses.
    """
    first = Path("runs", name, f"{datetime.now():%Y-%m-%d_%H-%M-%S}")
    numbered = (first.with_name(f"{first.name}_{number}") for number in itertools.count(2))
    for folder in itertools.chain([first], numbered):
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            if not folder.is_dir():
                raise CannotWrite(f"cannot write {folder}: {first.parent} is not a folder; move it away") from None
        except OSError as error:
            raise CannotWrite(f"cannot write {folder}: {error.strerror}; choose another folder") from error
        else:
            return folder
    raise AssertionError


def remove_if_empty(run_folder: Path) -> None:
    """Leaves nothing of a run that ended before it wrote anything."""
    with suppress(OSError):
        for folder in (run_folder, run_folder.parent, run_folder.parent.parent):
            folder.rmdir()


def remove_unbegun(run_folder: Path) -> None:
    """Removes the folder of a run that was killed before it had written its configuration; a running one is left."""
    if (run_folder / "config.yaml").exists():
        return
    with suppress(OSError):
        if (run_folder / LOCK).exists():
            with open(run_folder / LOCK, "a+") as file:
                if not lock(file):
                    return
                remove_unfinished(run_folder)
                (run_folder / LOCK).unlink()
        run_folder.rmdir()


def folder_of(resume: str) -> Path:
    """The folder of the run that ``resume`` means: itself, or that of a checkpoint."""
    path = Path(resume)
    if not path.is_file():
        return path
    return path.absolute().parent.parent if path.parent == Path() else path.parent.parent


@contextmanager
def trained_alone(run_folder: Path) -> Iterator[None]:
    """Locks ``run_folder`` inside the context: two jobs with ``resume=auto`` may choose the same one.

    Only rank 0 calls it. The lock ends with its process, however that ends. If the file system has no locks, nothing
    is locked.

    Raises:
        UserError: another run holds the lock, or nothing can be written there.
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


def save_configuration(config: TrainConfig, run_folder: Path, command: str | None = None) -> None:
    """Writes ``config.yaml`` and ``versions.json``, and adds the command to ``command.txt``.

    Args:
        config: all options.
        run_folder: folder of the run.
        command: command line of the run; None if it was not started from one.

    Raises:
        CannotWrite: the disk refuses.
    """
    configuration = OmegaConf.to_yaml(OmegaConf.create(dataclasses.asdict(config)))
    text = json.dumps(versions(), indent=1)
    write_text(run_folder / "config.yaml", configuration)
    write_text(run_folder / "versions.json", text)
    if command is not None:
        _note(command, run_folder / COMMAND)


def _note(command: str, path: Path) -> None:
    """Adds a command to those that trained the run, unless it only resumes it, or a job was queued again."""
    begun = path.read_text(errors="surrogateescape").splitlines() if path.is_file() else []
    program, *arguments = shlex.split(command)
    changes = [argument for argument in arguments if _key(argument) != "resume"]
    known = [[one for one in shlex.split(line) if _key(one) != "resume"] for line in begun]
    if not begun or (changes and [program, *changes] not in known):
        text = "\n".join([*begun, command]) + "\n"
        write_text(path, text)


def training_command(run_folder: Path) -> str | None:
    """The ``glow-train ...`` or ``glow-distill ...`` commands that trained a run, one per line; None if not known.

    Paths are cut to their last part, and options that depend on the machine are left out.
    """
    path = run_folder / COMMAND
    try:
        if not path.is_file() or path.stat().st_size > LONGEST_COMMAND:
            return None
        lines = [shlex.split(line) for line in path.read_text(errors="surrogateescape").splitlines()]
    except (OSError, ValueError):
        return None
    if not lines or not all(line and line[0] in ("glow-train", "glow-distill") for line in lines):
        return None
    return "\n".join(shlex.join([line[0], *_published(line[1:])]) for line in lines)


def _published(arguments: Sequence[str]) -> Iterator[str]:
    paths = PATHS.keys() - ({"data.root"} if "data=hf" in arguments else set())
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if _key(argument) in NOT_OF_THE_MODEL or argument == f"resume={AUTO}":
            continue
        if _key(argument) in paths:
            quote = value[:1] if value[:1] in ("'", '"') else ""
            yield f"{key}{equals}{quote}{published_path(value.strip(quote or None))}{quote}"
        else:
            yield argument


def published_path(path: str) -> str:
    """The last part of a path, which tells nothing of this machine; an address on the hub as it is."""
    return path if path.startswith(SCHEME) else Path(path).name


def _key(argument: str) -> str:
    """The key of an argument, without Hydra's prefix for adding or removing it."""
    return argument.partition("=")[0].lstrip("+~")


def versions() -> dict[str, str]:
    """The versions of Python and of the libraries that decide what a run computes."""
    return {"python": platform.python_version(), **{name: _version(name) for name in VERSIONS}}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:  # glow_app itself, run from a checkout
        return "not installed"
