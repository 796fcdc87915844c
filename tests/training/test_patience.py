"""Runs that end early, when validation gets no better."""

from pathlib import Path
from typing import Any

import pytest
import torch

from glow_app.artifacts.card import read_card
from glow_app.comparison.runs import read_run
from glow_app.errors import UserError
from glow_app.training.checkpoints.format import checkpoints_of
from glow_app.training.module import GlowModule
from tests.data.layouts import write_cifar
from tests.training.runs import SMALLEST, computed, configure, find, smallest, train

BEST = 2

PATIENT = ["validate_every=1", "patience=3", "checkpoint_every=2", "max_steps=20", "samples_every=4"]


@pytest.fixture(autouse=True)
def _worse_after_the_best(monkeypatch: pytest.MonkeyPatch) -> None:
    bits_per_dim = GlowModule.bits_per_dim

    def scripted(self: GlowModule, batch: Any) -> torch.Tensor:
        value = bits_per_dim(self, batch)
        return value if self.trainer.training else 0 * value.detach() + 3 + abs(self.trainer.global_step - BEST)

    monkeypatch.setattr(GlowModule, "bits_per_dim", scripted)


def steps(run: Path) -> list[int]:
    return [int(path.stem.removeprefix("step_")) for path in checkpoints_of(run)]


@pytest.mark.parametrize("length", [[], ["max_seconds=1e6"]], ids=["steps", "seconds"])
def test_a_run_ends_when_validation_gets_no_better(tmp_path: Path, length: list[str]) -> None:
    run = tmp_path / "run"
    output = train(smallest(tmp_path, *PATIENT, *length), run)
    assert "stopped early at step 5: no better validation in 3; the best was at step 2, 3.000" in output
    assert "test: " in output
    assert f"glow-train resume={run} patience=6" in output
    assert steps(run) == [BEST, 4, 5]
    assert [row["step"] for row in computed(run) if "val/bits_per_dim" in row] == [1, 2, 3, 4, 5]
    assert (run / "samples" / "step_00000005_T0.70.png").exists()
    card, _ = read_card(run / "model")
    assert card.step == 5 and {"val/bits_per_dim", "test/bits_per_dim"} <= card.metrics.keys()
    assert read_run(run).finished
    with pytest.raises(UserError, match="at step 5, the end by patience=3: nothing is left to do; give a larger pat"):
        train(smallest(tmp_path, *PATIENT, *length), *find(run))
    train(smallest(tmp_path, *PATIENT, *length, "patience=5"), *find(run))
    assert steps(run)[-1] == 7


@pytest.mark.parametrize("at", [4, "test"])
def test_a_killed_run_goes_on_counting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int | str) -> None:
    config, run = smallest(tmp_path, *PATIENT), tmp_path / "run"
    training_step = GlowModule.training_step

    def die(*arguments: Any, **options: Any) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        if at == "test":
            patch.setattr("glow_app.training.run.measure_likelihood", die)
        else:
            step = lambda self, *of: die() if self.global_step == at else training_step(self, *of)  # noqa: E731
            patch.setattr(GlowModule, "training_step", step)
        with pytest.raises(RuntimeError, match="killed"):
            train(config, run)
    output = train(config, *find(run))
    assert "test: " in output
    assert read_card(run / "model")[0].step == steps(run)[-1] == 5


def test_patience_needs_something_to_wait_for(tmp_path: Path) -> None:
    write_cifar(tmp_path / "cifar", n=20)
    settings = [s for s in SMALLEST if not s.startswith("data.")]
    data = ["data=cifar10", f"data.root={tmp_path / 'cifar'}", "data.validation=0", "data.cache=false"]
    with pytest.raises(UserError, match=r"^patience=3 needs validation images, and there are none; set it to null$"):
        train(configure(*settings, *data, *PATIENT), tmp_path / "run")
