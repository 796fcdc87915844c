"""The folder of a run belongs to one run at a time."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from glow_app.errors import UserError
from glow_app.training.checkpoints import run_folder
from glow_app.training.checkpoints.run_folder import LOCK, trained_alone

HOLD = """
import os, sys, time
from pathlib import Path
from glow_app.training.checkpoints.run_folder import trained_alone
with trained_alone(Path(sys.argv[1])):
    if os.fork() > 0:  # the other one stands for a loader worker, which outlives its run
        print("held", flush=True)
    time.sleep(60)
"""


def test_another_process_is_named_until_it_is_gone(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path / "run")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as other:
        try:
            assert other.stdout is not None
            assert other.stdout.readline() == b"held\n"
            with (
                pytest.raises(UserError, match=rf"run: process {other.pid} on \S+ is training there; end it first"),
                trained_alone(tmp_path / "run"),
            ):
                pytest.fail("two at once")
            other.kill()
            other.wait()
            with trained_alone(tmp_path / "run"):
                assert (tmp_path / "run" / LOCK).read_text().startswith(f"process {os.getpid()} on ")
        finally:
            os.killpg(other.pid, signal.SIGKILL)


def test_where_there_are_no_locks_a_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", refuse)
    with trained_alone(tmp_path / "run"):
        pass
    assert (tmp_path / "run").is_dir()


def test_a_checkout_that_is_not_installed_has_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name == "glow_app":
            raise PackageNotFoundError(name)
        return "1.0"

    monkeypatch.setattr(run_folder, "version", version)
    assert run_folder.versions()["glow_app"] == "not installed" and run_folder.versions()["torch"] == "1.0"
