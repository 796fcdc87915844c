"""SIGTERM and SIGINT: a checkpoint at the next step, and the exit status that shells expect."""

import os
import signal
import time
from functools import partial
from pathlib import Path

import pytest

from glow_app.training.checkpoints.format import checkpoints_of, newest_whole, read_checkpoint
from tests.reliability import jobs
from tests.reliability.conftest import Figures
from tests.reliability.jobs import COMMAND, Place
from tests.training.runs import QUIET

STOPS = [*COMMAND, "max_steps=8", "validate_every=4", "trainer.accumulate=2", "trainer.batch_size=4"]

MODULE = "glow_app.training.module.GlowModule"
PLACES = {
    "training, first step": (Place(MODULE, "training_step", 1), 1),
    "training, between two batches of a step": (Place(MODULE, "training_step", 11, after=True), 6),
    "training, in the update": (Place("glow_app.training.ema.WeightAverage", "on_train_batch_end", 10), 5),
    "validation, first batch": (Place(MODULE, "validation_step", 1), 4),
    "validation, last batch": (Place(MODULE, "on_validation_epoch_end", 1), 4),
    "sampling": (Place("glow_app.training.pictures.samples.SampleGrids", "draw", 1), 4),
    "saving": (Place("torch", "save", 1), 5),
    "saving, rotation": (Place("glow_app.training.checkpoints.callback.Checkpoints", "_rotate", 1, after=True), 5),
    "last step": (Place(MODULE, "training_step", 16), 8),
    "test at the end": (Place("glow_app.training.run", "measure_likelihood", 1), 8),
}
"""Where the signal comes, and the step of the checkpoint that it should leave."""


FEW = ["training, in the update", "validation, first batch", "test at the end"]


@pytest.mark.parametrize("places", [FEW, pytest.param(list(PLACES), marks=pytest.mark.slow)], ids=["few", "all"])
def test_signals_stop_a_run_anywhere(tmp_path: Path, figures: Figures, places: list[str]) -> None:
    (tmp_path / "whole").mkdir()
    assert jobs.run(tmp_path / "whole", STOPS) == 0
    whole = jobs.reached(tmp_path / "whole")
    wrong = []
    for number, where in enumerate(places):
        place, step = PLACES[where]
        folder = tmp_path / str(number)
        folder.mkdir()
        sent = signal.SIGTERM if number % 2 else signal.SIGINT
        status = jobs.run(folder, STOPS, place, partial(jobs.signal_myself, sent), timeout=30)
        newest = newest_whole(jobs.run_of(folder), QUIET)
        saved = newest and read_checkpoint(newest)["global_step"]
        said = f"stopped; everything up to step {step} of 8 is saved" in jobs.output(folder)
        resumed = jobs.run(folder, STOPS)
        same = resumed == 0 and jobs.reached(folder) == whole
        if (status, saved, said, same) != (128 + sent, step, True, True):
            wrong.append((where, status, saved, said, resumed, same, jobs.output(folder)[-2000:]))
    figures.add(
        "SIGTERM or SIGINT at training, validation, sampling, saving, test: status 143 or 130, and a checkpoint",
        f"{len(places) - len(wrong)} of {len(places)}",
    )
    assert not wrong


def signal_twice() -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGTERM)  # a launcher's echo of the first: one request
    time.sleep(1.1)
    os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("place", [Place(MODULE, "training_step", 11), Place("torch", "save", 2, after=True)])
def test_a_second_signal_ends_a_run_at_once(tmp_path: Path, place: Place) -> None:
    assert jobs.run(tmp_path, STOPS, place, signal_twice) == 143
    (left,) = checkpoints_of(jobs.run_of(tmp_path))
    assert read_checkpoint(left)["global_step"] == 4


def test_an_echo_of_the_signal_is_no_second_one(tmp_path: Path) -> None:
    place = Place(MODULE, "training_step", 9)
    status = jobs.run(tmp_path, [*STOPS, "data.workers=1"], place, signal_group)
    assert status == 143
    assert read_checkpoint(checkpoints_of(jobs.run_of(tmp_path))[-1])["global_step"] == 5


def signal_group() -> None:
    """As a container or a launcher does: to loader workers too, and again to the process itself."""
    import multiprocessing

    for child in multiprocessing.active_children():
        assert child.pid is not None
        os.kill(child.pid, signal.SIGTERM)
    time.sleep(0.2)
    jobs.signal_myself(signal.SIGTERM)
    jobs.signal_myself(signal.SIGTERM)


def test_slurm_is_asked_to_queue_the_job_again(tmp_path: Path) -> None:
    program = tmp_path / "bin" / "scontrol"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/asked\n')
    program.chmod(0o755)
    status = jobs.run(tmp_path, STOPS, Place("glow_app.training.run", "fit"), partial(on_slurm, program.parent))
    assert status == 138
    assert (tmp_path / "asked").read_text() == "requeue 41_7\n"
    assert "job 41_7 is queued again" in jobs.output(tmp_path)
    assert read_checkpoint(checkpoints_of(jobs.run_of(tmp_path))[-1])["global_step"] == 5
    assert not list(tmp_path.rglob("hpc_ckpt*"))  # nothing of Lightning's, from which other runs would resume
    assert jobs.run(tmp_path, STOPS) == 0


def on_slurm(programs: Path) -> None:
    """The environment of a job of one process, which is told to go in its fifth step."""
    names = {"SLURM_JOB_ID": "48", "SLURM_ARRAY_JOB_ID": "41", "SLURM_ARRAY_TASK_ID": "7", "SLURM_JOB_NAME": "train"}
    numbers = {"SLURM_NTASKS": "1", "SLURM_NNODES": "1", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0"}
    os.environ.update(names | numbers | {"PATH": f"{programs}:{os.environ['PATH']}"})
    jobs.put(Place(MODULE, "training_step", 9), partial(jobs.signal_myself, signal.SIGUSR1))
