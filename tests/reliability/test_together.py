"""Processes of one run end together, whoever started them and whichever of them ends."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from glow_app.training.checkpoints.format import checkpoints_of
from tests.reliability.conftest import Figures
from tests.training.runs import SMALLEST

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
ENDLESS = ["max_steps=1000000", "validate_every=1000000", "checkpoint_every=20", "samples_every=1000000", "name=run"]


class Run:
    """A run of two processes, started as a person starts it, that goes on until something ends it."""

    def __init__(self, folder: Path, launcher: list[str]) -> None:
        self.folder = folder
        options = [*SMALLEST, *ENDLESS, "data.cache=false"]
        if not launcher:
            options += ["trainer=ddp", "trainer.accelerator=cpu", "trainer.precision=fp32", "trainer.devices=2"]
            options += ["trainer.batch_size=8"]
        command = [sys.executable, *launcher, str(ROOT / "scripts" / "train.py"), *options]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        self.errors = folder / "stderr"
        with open(self.errors, "w") as errors:
            self.process = subprocess.Popen(
                command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=errors, start_new_session=True
            )

    def wait_for_steps(self) -> None:
        def saved() -> bool:
            assert self.process.poll() is None, self.errors.read_text()
            return any(checkpoints_of(run) for run in self.folder.glob("runs/run/*"))

        wait(saved, 120, self.errors)

    @property
    def ranks(self) -> list[int]:
        """The processes that train, by rank."""
        found: dict[int, int] = {}
        for path in Path("/proc").glob("[0-9]*"):
            try:
                of_us = os.getsid(int(path.name)) == self.process.pid or _parent(path) == self.process.pid
                words = (path / "environ").read_bytes().split(b"\0")
                argument = (path / "cmdline").read_bytes().split(b"\0")
            except (OSError, ValueError):
                continue
            ranks = [word for word in words if word.startswith(b"LOCAL_RANK=")]
            if of_us and b"torch.distributed.run" not in argument:
                found[int(ranks[0].partition(b"=")[2]) if ranks else 0] = int(path.name)
        return [found[rank] for rank in sorted(found)]

    def gone(self, processes: list[int]) -> bool:
        return self.process.poll() is not None and not any(_alive(process) for process in processes)

    def end(self) -> None:
        for process in [*self.ranks, self.process.pid]:
            if _alive(process):
                os.kill(process, signal.SIGKILL)
        self.process.wait()


def wait(until: Callable[[], bool], seconds: float, errors: Path) -> float:
    """Seconds that it took."""
    start = time.monotonic()
    while not until():
        assert time.monotonic() - start < seconds, errors.read_text()
        time.sleep(0.05)
    return time.monotonic() - start


def _parent(path: Path) -> int:
    return int((path / "stat").read_text().rpartition(")")[2].split()[1])


def _alive(process: int) -> bool:
    try:
        return (Path("/proc") / str(process) / "stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[list[str]], Run]]:
    runs: list[Run] = []

    def begin(launcher: list[str]) -> Run:
        folder = tmp_path / str(len(runs))
        folder.mkdir()
        runs.append(Run(folder, launcher))
        return runs[-1]

    yield begin
    for run in runs:
        run.end()


@pytest.mark.parametrize("launcher", [[], TORCHRUN], ids=["glow-train", "torchrun"])
def test_one_process_killed(start: Callable[[list[str]], Run], figures: Figures, launcher: list[str]) -> None:
    runs = [start(launcher), start(launcher)]
    for victim, run in enumerate(runs):
        run.wait_for_steps()
        ranks = run.ranks
        assert len(ranks) == 2
        os.kill(ranks[victim], signal.SIGKILL)
        seconds = wait(lambda run=run, ranks=ranks: run.gone(ranks), 30, run.errors)
        name = "torchrun" if launcher else "glow-train"
        figures.add(f"process {victim} of 2 killed, started by {name}: seconds until all are gone", f"{seconds:.0f}")
        assert run.process.returncode != 0
        if not launcher:
            who = "another process of this run has ended; find out" if victim else "process 0 of this run: it has ended"
            assert f"error: {who}" in run.errors.read_text()


def test_one_process_stands_still(start: Callable[[list[str]], Run], figures: Figures) -> None:
    """A process that does not answer is as good as dead; who waits for it says so, and which one."""
    run = start([])
    run.wait_for_steps()
    first, second = run.ranks
    os.kill(second, signal.SIGSTOP)
    seconds = wait(lambda: run.gone([first]), 30, run.errors)
    figures.add("process 1 of 2 stopped: seconds until the other one is gone", f"{seconds:.0f}")
    assert "error: process 1 of this run: it gives no sign of life any more" in run.errors.read_text()


def test_a_signal_to_the_first_process_stops_both_after_the_same_step(start: Callable[[list[str]], Run]) -> None:
    run = start([])
    run.wait_for_steps()
    ranks = run.ranks
    os.kill(ranks[0], signal.SIGTERM)
    wait(lambda: run.gone(ranks), 30, run.errors)
    assert run.process.returncode == 143
    assert run.errors.read_text() == ""
