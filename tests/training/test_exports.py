"""The model of a run that is still being trained."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import glow_app
from glow_app.artifacts.card import read_card
from glow_app.comparison.runs import read_run
from glow_app.runtime.atomic import CannotWrite
from glow_app.training import run as module
from glow_app.training.exports import ModelExports
from tests.training.runs import find, smallest, train


def after_each_validation(monkeypatch: pytest.MonkeyPatch, look: Callable[[int], None]) -> None:
    on_validation_end = ModelExports.on_validation_end

    def looking(self: ModelExports, trainer: Any, pl_module: Any) -> None:
        on_validation_end(self, trainer, pl_module)
        look(trainer.global_step)

    monkeypatch.setattr(ModelExports, "on_validation_end", looking)


def test_it_is_that_of_the_last_validation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, digests, samples = tmp_path / "run", {}, {}

    def look(step: int) -> None:
        model = glow_app.load(run)
        assert model.card.step == step and not model.card.metrics
        digests[step], samples[step] = model.digest, model.sample(2, seed=1)

    after_each_validation(monkeypatch, look)
    train(smallest(tmp_path, "max_steps=6", "validate_every=2"), run)
    assert list(digests) == [2, 4, 6] and len(set(digests.values())) == 3
    assert not torch.equal(samples[2], samples[6])
    assert glow_app.load(run).digest == digests[6]  # the averaged weights, as at the end
    card = glow_app.load(run).card
    assert {"val/bits_per_dim", "test/bits_per_dim"} <= card.metrics.keys()
    assert card.seconds is not None and card.seconds > 0
    assert card.hardware is not None and re.match(r"\d+ threads? of ", card.hardware)


def test_a_full_disk_stops_no_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    export, full = module.export, iter([False, True, False, False, False])

    def exporting(*arguments: Any) -> None:
        if next(full):
            raise CannotWrite("cannot write model: No space left on device; free some space")
        export(*arguments)

    monkeypatch.setattr(module, "export", exporting)
    output = train(smallest(tmp_path, "max_steps=6", "validate_every=2"), tmp_path / "run")
    assert "step       4   cannot write model: No space left on device; free some space; the model of an " in output
    assert read_card(tmp_path / "run" / "model")[0].step == 6


def killed(*of: Any) -> None:
    raise RuntimeError("killed")


def test_a_run_that_was_killed_before_its_last_export_has_not_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, run = smallest(tmp_path, "max_steps=4", "validate_every=4"), tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(module, "_conclude", killed)
        with pytest.raises(RuntimeError, match="killed"):
            train(config, run)
    assert read_card(run / "model")[0].step == 4
    train(config, *find(run))
    assert "test/bits_per_dim" in read_card(run / "model")[0].metrics


def test_a_run_of_a_given_time_is_not_finished_for_being_exported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    after_each_validation(monkeypatch, killed)
    with pytest.raises(RuntimeError, match="killed"):
        train(smallest(tmp_path, "validate_every=2", "max_seconds=1e6"), tmp_path / "run")
    assert read_card(tmp_path / "run" / "model")[0].step == 2
    assert not read_run(tmp_path / "run").finished
