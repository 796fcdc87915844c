"""Runs that are measured in seconds: where they end, by what their learning rate falls, and how they are resumed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from glow_app.artifacts.card import read_card
from glow_app.comparison.runs import read_run
from glow_app.errors import UserError
from glow_app.training import clock
from glow_app.training.checkpoints.format import checkpoints_of
from glow_app.training.clock import Clock
from glow_app.training.module import GlowModule
from tests.training.runs import computed, find, smallest, train

TIMED = ["max_seconds=5.5", "validate_every=4", "checkpoint_every=1"]
"""With the clock below, which a step takes a second of: six updates."""


@pytest.fixture(autouse=True)
def _a_step_takes_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "monotonic", ticking())


def ticking() -> Callable[[], float]:
    """A clock that is a second later whenever it is read."""
    now = 1000.0

    def read() -> float:
        nonlocal now
        now += 1
        return now

    return read


def steps(run: Path) -> list[int]:
    return [int(path.stem.removeprefix("step_")) for path in checkpoints_of(run)]


def test_a_run_ends_with_the_first_step_after_its_time(tmp_path: Path) -> None:
    run = tmp_path / "run"
    output = train(smallest(tmp_path, *TIMED), run)
    assert "training  5.5 seconds, in steps of 8 images" in output
    assert f"glow-train resume={run} max_seconds=11" in output
    assert steps(run)[-1] == 6  # not the 8 of max_steps
    assert [row["step"] for row in computed(run) if "val/bits_per_dim" in row] == [4, 6]
    assert (run / "samples" / "step_00000006_T0.70.png").exists()
    card, _ = read_card(run / "model")
    assert card.step == 6 and {"val/bits_per_dim", "test/bits_per_dim"} <= card.metrics.keys()
    assert read_run(run).finished and read_run(run).length == "5.5 seconds"


def test_a_killed_run_goes_on_with_its_schedule(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = smallest(tmp_path, *TIMED)
    train(config, tmp_path / "whole")
    training_step = GlowModule.training_step

    def die(self: GlowModule, batch: Any, batch_idx: int) -> Any:
        if self.global_step == 3:
            raise RuntimeError("killed")
        return training_step(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(GlowModule, "training_step", die)
        with pytest.raises(RuntimeError, match="killed"):
            train(config, tmp_path / "parts")
    assert steps(tmp_path / "parts")[-1] == 3
    assert not read_run_finished(tmp_path / "parts")
    monkeypatch.setattr(clock, "monotonic", ticking())  # of another process, of another day
    train(config, *find(tmp_path / "parts"))
    whole, parts = (read_card(tmp_path / name / "model")[0] for name in ("whole", "parts"))
    assert parts == whole
    weights = [(tmp_path / name / "model" / "model.safetensors").read_bytes() for name in ("whole", "parts")]
    assert weights[0] == weights[1]


def read_run_finished(run: Path) -> bool:
    try:
        return read_run(run).finished
    except UserError:  # it has not validated yet
        return False


def test_nothing_is_left_of_a_run_whose_time_is_over(tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(smallest(tmp_path, *TIMED), run)
    with pytest.raises(UserError, match=r"at step 6 of max_seconds=5\.5: nothing is left to do; give a larger max_sec"):
        train(smallest(tmp_path, *TIMED), *find(run))
    train(smallest(tmp_path, *TIMED, "max_seconds=7.5"), *find(run))
    assert steps(run)[-1] == 8


def test_a_run_that_is_killed_in_its_test_trains_no_further(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, run = smallest(tmp_path, *TIMED), tmp_path / "run"

    def die(*arguments: Any, **options: Any) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr("glow_app.training.run.measure_likelihood", die)
        with pytest.raises(RuntimeError, match="killed"):
            train(config, run)
    output = train(config, *find(run))
    assert "test: " in output
    assert read_card(run / "model")[0].step == steps(run)[-1] == 6


def test_the_learning_rate_falls_by_the_clock() -> None:
    timed = Clock(max_steps=8, max_seconds=10)
    assert (timed.part(7), timed.is_over(9)) == (0.0, False)
    timed.seconds = 2.5
    assert timed.part(0) == timed.part(7, first=3) == 0.25
    timed.load_state_dict({"seconds": 10.5})
    assert (timed.part(0), timed.is_over(0), timed.count(3)) == (1.0, True, "10/10 s")


def test_a_run_in_steps_does_not_read_the_clock_for_its_schedule() -> None:
    counted = Clock(max_steps=8, max_seconds=None)
    counted.seconds = 1e9
    assert (counted.part(6, first=4), counted.is_over(7), counted.is_over(8)) == (0.5, False, True)
    assert counted.count(6) == "6/8"
