"""Which checkpoints a run writes and keeps."""

import errno
import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch

from glow_app.errors import UserError
from glow_app.training.checkpoints.callback import Checkpoints
from glow_app.training.checkpoints.format import TRAILER_BYTES, checkpoints_of, read_checkpoint, require_state_of
from glow_app.training.loggers import metrics
from glow_app.training.module import GlowModule
from tests.conftest import Whole
from tests.training.runs import computed, find, smallest, train


def steps(run: Path) -> list[int]:
    return [int(path.stem.removeprefix("step_")) for path in checkpoints_of(run)]


def test_the_best_is_kept_beside_the_newest_two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bits_per_dim = GlowModule.bits_per_dim

    def worse_after_step_two(self: GlowModule, batch: Any) -> torch.Tensor:
        value = bits_per_dim(self, batch)
        return value if self.trainer.training else 0 * value.detach() + 3 + abs(self.trainer.global_step - 2)

    monkeypatch.setattr(GlowModule, "bits_per_dim", worse_after_step_two)
    run = tmp_path / "run"
    config = smallest(tmp_path, "validate_every=1", "checkpoint_every=3")
    train(config, run)
    assert steps(run) == [2, 6, 8]  # 2 is no third step: it was saved because it was the best
    train(smallest(tmp_path, "validate_every=1", "checkpoint_every=3", "max_steps=10"), *find(run))
    assert steps(run) == [2, 9, 10]


def test_checkpoints_by_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    def clock() -> float:
        return now

    after_update = Checkpoints.after_update

    def minute(self: Checkpoints, *arguments: Any) -> None:
        nonlocal now
        now += 60
        after_update(self, *arguments)

    monkeypatch.setattr("glow_app.training.checkpoints.callback.time.monotonic", clock)
    monkeypatch.setattr(Checkpoints, "after_update", minute)
    run = tmp_path / "run"
    often = ["checkpoint_every=1000", "checkpoint_minutes=3", "validate_every=1000"]
    train(smallest(tmp_path, *often), run)
    assert steps(run) == [6, 8]  # 3, 6 and the end


def test_weights_that_are_not_finite_are_never_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    after_update = Checkpoints.after_update

    def poison(self: Checkpoints, trainer: Any, pl_module: Any) -> None:
        after_update(self, trainer, pl_module)
        if trainer.global_step == 8:
            next(iter(trainer.optimizers[0].state.values()))["exp_avg"].fill_(float("nan"))

    monkeypatch.setattr(Checkpoints, "after_update", poison)
    with pytest.raises(UserError, match=r"step 8: .*not finite: not saved; the last good .*step_00000004\.ckpt"):
        train(smallest(tmp_path), tmp_path / "run")
    assert steps(tmp_path / "run") == [4]


def test_a_checkpoint_ends_with_the_digest_of_what_precedes(tmp_path: Path) -> None:
    train(smallest(tmp_path, "max_steps=1"), tmp_path / "run")
    (path,) = checkpoints_of(tmp_path / "run")
    content = path.read_bytes()
    digest = hashlib.sha256(content[:-TRAILER_BYTES]).hexdigest()
    assert content[-TRAILER_BYTES:] == f"\nsha256:{digest}\n".encode()
    assert torch.load(path, weights_only=True)["global_step"] == 1


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path, whole: Whole) -> None:
    whole.copy(tmp_path / "run")
    with pytest.raises(UserError, match=r"step_00000008\.ckpt is of another model: flow\..* config\.yaml makes it"):
        train(smallest(tmp_path, "model.width=9", "max_steps=9"), *find(tmp_path / "run"))


def test_a_checkpoint_whose_optimizer_numbers_other_parameters_is_refused(whole: Whole) -> None:
    """Torch would take what is saved of one parameter for another's."""
    content = torch.load(find(whole.folder)[1], weights_only=True)
    parameters = [
        torch.empty(state["exp_avg"].shape) for _, state in sorted(content["optimizer_states"][0]["state"].items())
    ]
    require_state_of(parameters, content["optimizer_states"], "file")
    assert [p.numel() for p in parameters] == sorted((p.numel() for p in parameters), reverse=True)
    with pytest.raises(UserError, match=r"^file: its optimizer has \(.*\) where \(.*\) belongs: an earlier version"):
        require_state_of(parameters[::-1], content["optimizer_states"], "file")
    require_state_of(parameters, [7, {"state": 7}], "file")  # whoever restores it will tell what is wrong


def test_a_run_interrupted_at_its_last_step_is_completed(
    tmp_path: Path, whole: Whole, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = smallest(tmp_path)

    def stop(*arguments: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("glow_app.training.run.measure_likelihood", stop)
        with pytest.raises(KeyboardInterrupt):
            train(config, tmp_path / "run")
    output = train(config, *find(tmp_path / "run"))
    assert "test: " in output
    assert computed(tmp_path / "run") == computed(whole.folder)  # validated again, and not written twice
    assert read_checkpoint(checkpoints_of(tmp_path / "run")[-1])["global_step"] == 8


def test_a_row_is_written_once(tmp_path: Path) -> None:
    logger = metrics.MetricsCSV(tmp_path / "metrics.csv")
    for step, key in ((50, "train/lr"), (60, "val/bits_per_dim"), (50, "train/lr")):  # as Lightning ends a timed run
        logger.log_metrics({key: 1.0}, step)
    assert [row["step"] for row in metrics.read(logger.path)] == [50, 60]
    resumed = metrics.MetricsCSV(logger.path, 60)
    for step in (60, 70):
        resumed.log_metrics({"val/bits_per_dim": 1.0}, step)
    assert [row["step"] for row in metrics.read(logger.path)] == [50, 60, 70]


def test_rows_that_a_full_disk_refuses_wait_for_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any, **options: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    logger = metrics.MetricsCSV(tmp_path / "metrics.csv")
    logger.log_metrics({"a": 1.0}, 1)
    with monkeypatch.context() as patch:
        patch.setattr(metrics, "open", refuse, raising=False)
        logger.log_metrics({"a": 2.0}, 2)
        logger.log_metrics({"a": 2.5, "b": 1.0}, 2)
    logger.log_metrics({"a": 3.0}, 3)
    rows = metrics.read(tmp_path / "metrics.csv")
    assert rows == [{"step": 1, "a": 1}, {"step": 2, "a": 2}, {"step": 2, "a": 2.5, "b": 1}, {"step": 3, "a": 3}]
