"""glow-train in processes of its own, which tests can kill; something may happen to them at a chosen place."""

import atexit
import csv
import functools
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any, NamedTuple

import torch

from glow_app.training.checkpoints.format import checkpoints_of, read_checkpoint, tensors
from tests.forked import fork
from tests.training.runs import SMALLEST

COMMAND = [*SMALLEST, "name=survivor", "resume=auto"]
"""Arguments of a run of seconds that goes on when it is started again."""


class Place(NamedTuple):
    """Where something happens in the process of a run.

    Attributes:
        owner: dotted name of a module or class.
        name: of its function.
        call: which call of it, from 1.
        after: after the call, not before.
    """

    owner: str
    name: str
    call: int = 1
    after: bool = False


def start(
    folder: Path, arguments: Sequence[str], place: Place | None = None, happens: Callable[[], object] | None = None
) -> ForkServerProcess:
    """Starts ``glow-train`` with these arguments in ``folder``; what it prints goes to ``output.txt`` there.

    Args:
        folder: working folder.
        arguments: of the command.
        place: where ``happens`` is called.
        happens: a function of a module, or a partial of one.
    """
    return fork(_train, folder, [*arguments, f"data.cache_folder={_cache()}"], place, happens)


@functools.cache
def _cache() -> Path:
    """Where all of the runs have their decoded images, which take longer to draw than to train on."""
    folder = Path(tempfile.mkdtemp(prefix="glow_reliability_"))
    atexit.register(shutil.rmtree, folder)
    return folder


def run(
    folder: Path,
    arguments: Sequence[str] = COMMAND,
    place: Place | None = None,
    happens: Callable[[], object] | None = None,
    timeout: float = 120,
) -> int:
    """Like :func:`start`, waits, and gives the exit status; a process that a signal has killed has a negative one."""
    process = start(folder, arguments, place, happens)
    process.join(timeout)
    if process.exitcode is None:
        process.kill()
        raise AssertionError(f"still running after {timeout} s: {output(folder)}")
    return process.exitcode


def output(folder: Path) -> str:
    return (folder / "output.txt").read_text() if (folder / "output.txt").exists() else ""


def run_of(folder: Path) -> Path:
    """The only run that was started in ``folder``."""
    (found,) = (folder / "runs" / "survivor").iterdir()
    return found


def reached(folder: Path) -> dict[str, Any]:
    """All that two runs that did the same have in common: numbers of the last checkpoint, metrics, pictures, model."""
    run_folder = run_of(folder)
    last = checkpoints_of(run_folder)[-1]
    read_checkpoint(last)
    return numbers(last) | {
        "metrics": _metrics(run_folder / "metrics.csv"),
        "samples": {path.name: path.read_bytes() for path in sorted((run_folder / "samples").iterdir())},
        "model": (run_folder / "model" / "model.safetensors").read_bytes(),
    }


def numbers(checkpoint: Path) -> dict[str, Any]:
    """What a checkpoint says of weights, optimizer, averages and schedule, to the last bit."""
    content = torch.load(checkpoint, weights_only=True)
    return {
        "step": content["global_step"],
        "weights": _bytes(content["state_dict"]),
        "optimizer": _bytes(content["optimizer_states"]),
        "averages": _bytes(content["callbacks"]),
        "schedule": content["lr_schedulers"],
    }


def signal_myself(number: int) -> None:
    os.kill(os.getpid(), number)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _train(folder: Path, arguments: list[str], place: Place | None, happens: Callable[[], object] | None) -> None:
    os.chdir(folder)
    log = os.open("output.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    torch.set_num_threads(1)
    if place is not None and happens is not None:
        put(place, happens)
    from glow_app.cli import train

    sys.argv = ["glow-train", *arguments]
    train()


def put(place: Place, happens: Callable[[], object]) -> None:
    """Makes ``happens`` happen there."""
    owner = _resolve(place.owner)
    original = getattr(owner, place.name)
    calls = 0

    @functools.wraps(original)
    def watched(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == place.call and not place.after:
            happens()
        result = original(*args, **kwargs)
        if calls == place.call and place.after:
            happens()
        return result

    setattr(owner, place.name, watched)


def _resolve(dotted: str) -> Any:
    parts = dotted.split(".")
    for end in range(len(parts), 0, -1):
        name = ".".join(parts[:end])
        try:
            found: Any = sys.modules.get(name) or __import__(name, fromlist=["_"])
        except ModuleNotFoundError:
            continue
        for part in parts[end:]:
            found = getattr(found, part)
        return found
    raise LookupError(dotted)


def _bytes(content: Any) -> list[bytes]:
    return [tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes() for tensor in tensors(content)]


def _metrics(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    return [{key: value for key, value in row.items() if "images_per_second" not in key} for row in rows]
