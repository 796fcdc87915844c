"""The folder of a run belongs to one run at a time."""

import errno
import fcntl
import os
import shlex
import signal
import subprocess
import sys
import threading
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from glow_app.errors import UserError
from glow_app.runtime.atomic import CannotWrite
from glow_app.training.checkpoints import run_folder
from glow_app.training.checkpoints.run_folder import (
    COMMAND,
    LOCK,
    new_run_folder,
    remove_if_empty,
    save_configuration,
    trained_alone,
    training_command,
)
from tests.training.runs import smallest

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
            run_folder.remove_unbegun(tmp_path / "run")
            assert (tmp_path / "run" / LOCK).exists()  # it is about to begin
            other.kill()
            other.wait()
            with trained_alone(tmp_path / "run"):
                assert (tmp_path / "run" / LOCK).read_text().startswith(f"process {os.getpid()} on ")
        finally:
            os.killpg(other.pid, signal.SIGKILL)
    run_folder.remove_unbegun(tmp_path / "run")
    assert not (tmp_path / "run").exists()


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


def test_the_commands_that_trained_a_run(tmp_path: Path) -> None:
    def noted(*arguments: str) -> str | None:
        save_configuration(smallest(tmp_path), tmp_path, shlex.join(["glow-train", *arguments]))
        return training_command(tmp_path)

    first = "glow-train experiment=faces64 'temperatures=[0.7]'"
    assert noted("experiment=faces64", "temperatures=[0.7]", "resume=auto", "debug=true", "data.workers=2") == first
    assert noted("experiment=faces64", "temperatures=[0.7]", "resume=auto", "debug=true", "data.workers=2") == first
    assert noted(f"resume={tmp_path}") == first
    again = f"{first}\nglow-train resume={tmp_path.name} max_steps=9"
    assert noted(f"resume={tmp_path}", "max_steps=9") == again
    assert noted(f"resume={tmp_path}", "max_steps=9") == again


@pytest.mark.parametrize(
    ("argument", "published"),
    [
        ("data.root=/home/somebody/faces", "data.root=faces"),
        ("data.root='/data/cifar, mine'", "data.root='cifar, mine'"),
        ("data.attributes=/home/somebody/table.csv", "data.attributes=table.csv"),
        ("+data.cache_folder=/home/somebody/.cache", None),
        ("data.cache=false", None),
        ("name=${oc.env:A_SECRET}", "name=${oc.env:A_SECRET}"),
    ],
)
def test_a_command_tells_nothing_of_one_machine(tmp_path: Path, argument: str, published: str | None) -> None:
    save_configuration(smallest(tmp_path), tmp_path, shlex.join(["glow-train", "data=folder", argument]))
    told = training_command(tmp_path)
    assert told == shlex.join(["glow-train", "data=folder", *([] if published is None else [published])])


@pytest.mark.parametrize("text", [None, "", "rm -r .\n", "glow-train 'a\n", "\xff", "glow-train a\n\n", "a" * 70_000])
def test_a_command_that_is_not_known(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / COMMAND).write_text(text, encoding="latin-1")
    assert training_command(tmp_path) is None


def test_jobs_of_the_same_second_get_folders_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run_folder, "datetime", type("Noon", (), {"now": staticmethod(lambda: Noon())}))
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(new_run_folder("x"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 8
    assert all(folder.is_dir() for folder in found)
    for folder in found:
        remove_if_empty(folder)
    assert not list(tmp_path.iterdir())

    (tmp_path / "runs").touch()
    with pytest.raises(CannotWrite, match=r"^cannot write runs/x/noon: .*; choose another folder$"):
        new_run_folder("x")


class Noon:
    def __format__(self, specification: str) -> str:
        return "noon"


def test_the_name_of_a_data_set_of_the_hub_is_no_path(tmp_path: Path) -> None:
    (tmp_path / "command.txt").write_text("glow-train data=hf data.root=owner/name\n")
    assert training_command(tmp_path) == "glow-train data=hf data.root=owner/name"
