"""SIGKILL at any moment costs the steps since the last checkpoint, and nothing else."""

import random
import shutil
import time
from functools import partial
from pathlib import Path

import pytest

from glow_app.training.checkpoints.format import checkpoints_of, newest_whole, read_checkpoint
from glow_app.training.loggers import metrics
from tests.reliability import jobs
from tests.reliability.conftest import Figures
from tests.reliability.jobs import COMMAND, Place
from tests.training.runs import QUIET

LONG = [*COMMAND, "validate_every=50", "samples_every=50", "checkpoint_every=10", "data.flip=true"]


@pytest.mark.parametrize(
    ("steps", "workers", "kills"),
    [
        pytest.param(60, 0, [2], id="few"),
        pytest.param(200, 0, [4, 4, 4], id="thorough-0-workers", marks=pytest.mark.slow),
        pytest.param(200, 2, [5, 4, 4], id="thorough-2-workers", marks=pytest.mark.slow),
    ],
)
def test_kills_at_random_moments(tmp_path: Path, figures: Figures, steps: int, workers: int, kills: list[int]) -> None:
    arguments = [*LONG, f"max_steps={steps}", f"data.workers={workers}"]
    (tmp_path / "whole").mkdir()
    began = time.monotonic()
    assert jobs.run(tmp_path / "whole", arguments) == 0
    length = time.monotonic() - began
    whole = jobs.reached(tmp_path / "whole")
    chance = random.Random(steps + workers)
    happened = equal = 0
    for number, n_kills in enumerate(kills):
        folder = tmp_path / str(number)
        folder.mkdir()
        killed = 0
        while killed < n_kills:
            process = jobs.start(folder, arguments)
            process.join(chance.uniform(0, 0.6 * length))
            process.kill()
            process.join()
            killed += process.exitcode == -9
            if process.exitcode == 0:  # it was done before it could be killed: once more from the beginning
                shutil.rmtree(folder / "runs")
        happened += killed
        assert jobs.run(folder, arguments) == 0
        equal += jobs.reached(folder) == whole
    figures.add(
        f"SIGKILLs at random moments, {workers} workers: weights, optimizer, averages and metrics bitwise as without",
        f"{happened if equal == len(kills) else 0} of {sum(kills)}",
    )
    assert (happened, equal) == (sum(kills), len(kills))


INSIDE_SAVING = {
    "before the file exists": Place("tempfile", "mkstemp"),
    "before the content": Place("torch", "save"),
    "in the content": Place("glow_app.training.checkpoints.format._Hashed", "write", 100),
    "before the digest": Place("torch", "save", after=True),
    "before fsync": Place("os", "fsync"),
    "after fsync": Place("os", "fsync", after=True),
    "before the rename": Place("os", "replace"),
    "after the rename": Place("os", "replace", after=True),
    "after fsync of the folder": Place("glow_app.runtime.atomic", "sync_folder", after=True),
    "before rotation": Place("glow_app.training.checkpoints.callback.Checkpoints", "_rotate"),
    "in rotation": Place("pathlib.Path", "unlink", after=True),
    "after rotation": Place("glow_app.training.checkpoints.callback.Checkpoints", "_rotate", after=True),
}
"""Calls are counted from where the third of four checkpoints, of step 12, is about to be written."""

SAVES = [*COMMAND, "max_steps=16"]


def inside_saving(folder: Path, place: Place) -> int:
    folder.mkdir()
    third = Place("glow_app.training.checkpoints.format.AtomicCheckpointIO", "save_checkpoint", 3)
    return jobs.run(folder, SAVES, third, partial(jobs.put, place, jobs.die))


@pytest.mark.slow
def test_kills_inside_saving(tmp_path: Path, figures: Figures) -> None:
    good = []
    for number, (when, place) in enumerate(INSIDE_SAVING.items()):
        folder = tmp_path / str(number)
        assert inside_saving(folder, place) == -9, when
        newest = newest_whole(jobs.run_of(folder), QUIET)
        good.append(newest is not None and read_checkpoint(newest)["global_step"] in (8, 12))
    figures.add("kills inside saving that leave a checkpoint that loads and verifies", f"{sum(good)} of {len(good)}")
    assert all(good)
    assert len(good) == 12


@pytest.mark.parametrize("when", ["in the content", pytest.param("in rotation", marks=pytest.mark.slow)])
def test_a_run_killed_inside_saving_ends_as_if_it_had_not(tmp_path: Path, when: str) -> None:
    whole = tmp_path / "whole"
    whole.mkdir()
    assert jobs.run(whole, SAVES) == 0
    folder = tmp_path / "killed"
    assert inside_saving(folder, INSIDE_SAVING[when]) == -9
    assert jobs.run(folder, SAVES) == 0
    assert jobs.reached(folder) == jobs.reached(whole)
    assert [path.name for path in checkpoints_of(jobs.run_of(folder))] == [
        path.name for path in checkpoints_of(jobs.run_of(whole))
    ]
    assert not list(jobs.run_of(folder).rglob("*.part"))


@pytest.mark.parametrize(
    "place", [Place("tempfile", "mkstemp"), Place("os", "replace")], ids=["before it exists", "in it"]
)
def test_a_run_killed_before_it_has_a_configuration_leaves_nothing(tmp_path: Path, place: Place) -> None:
    arguments = [*COMMAND, "max_steps=4"]
    begin = Place("glow_app.training.run", "save_configuration")
    assert jobs.run(tmp_path, arguments, begin, partial(jobs.put, place, jobs.die)) == -9
    assert not (jobs.run_of(tmp_path) / "config.yaml").exists()
    assert jobs.run(tmp_path, arguments) == 0
    assert checkpoints_of(jobs.run_of(tmp_path))


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_run_killed_around_the_figure_of_its_test_tells_it_once(tmp_path: Path, after: bool) -> None:
    place = Place("glow_app.training.run", "conclude", after=after)
    assert jobs.run(tmp_path, [*COMMAND, "max_steps=4"], place, jobs.die) == -9
    assert jobs.run(tmp_path, [*COMMAND, "max_steps=4"]) == 0
    rows = metrics.read(jobs.run_of(tmp_path) / "metrics.csv")
    assert [row["step"] for row in rows if "test/bits_per_dim" in row] == [4]
    assert ("nothing is left to do" in jobs.output(tmp_path)) == after
