"""Processes forked from one that has imported everything and computed nothing.

They start at once, where a new interpreter imports torch for seconds, and have no threads to inherit.
"""

import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Callable
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

SCRIPTS = Path(__file__).parents[1] / "scripts"

PRELOADED = ["tests.reliability.jobs", "glow_app.training.run", "matplotlib.figure", "hydra", "pytest"]


def fork(target: Callable[..., object], *arguments: Any) -> ForkServerProcess:
    """A process that has begun to call ``target(*arguments)``, a function of a module, in today's environment."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    os.environ["OMP_NUM_THREADS"] = "1"
    process = context.Process(target=_enter, args=(dict(os.environ), target, arguments))
    process.start()
    return process


def call(
    folder: Path, script: str, *arguments: str, before: Callable[[], object] | None = None, timeout: float = 120
) -> subprocess.CompletedProcess[str]:
    """Runs a script of ``scripts/`` in ``folder``, and gives its exit status and what it said.

    Args:
        folder: working folder.
        script: its name, without ``.py``.
        arguments: of the script.
        before: a function of a module, called in the process before the script.
        timeout: in seconds.
    """
    with tempfile.TemporaryDirectory() as said:
        process = fork(_run, folder, Path(said), script, arguments, before)
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise AssertionError(f"{script} is still running after {timeout} s")
        out, err = ((Path(said) / name).read_text() for name in ("out", "err"))
    return subprocess.CompletedProcess([script, *arguments], process.exitcode, out, err)


def _enter(environment: dict[str, str], target: Callable[..., object], arguments: tuple[Any, ...]) -> None:
    os.environ.clear()
    os.environ.update(environment)
    multiprocessing.set_start_method("fork", force=True)  # of loader workers, as in a process that a shell starts
    target(*arguments)


def _run(
    folder: Path, said: Path, script: str, arguments: tuple[str, ...], before: Callable[[], object] | None
) -> None:
    os.chdir(folder)
    for descriptor, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(said / name, os.O_WRONLY | os.O_CREAT), descriptor)
    program = str(SCRIPTS / f"{script}.py")
    sys.argv = [program, *arguments]
    if before is not None:
        before()
    runpy.run_path(program, run_name="__main__")
