"""Nothing that is not finite reaches the weights; what is about to go wrong is measured."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from glow_app.artifacts.weights import load
from glow_app.data.stream import Batch
from glow_app.errors import UserError
from glow_app.training import begin, trainer
from glow_app.training.checkpoints.format import checkpoints_of
from glow_app.training.ema import WeightAverage
from glow_app.training.fast import cuda_graph as captured_steps
from glow_app.training.guards import finite
from glow_app.training.guards.diagnose import examine
from glow_app.training.guards.monitors import Monitors
from glow_app.training.loggers import metrics
from glow_app.training.module import GlowModule
from tests.training.runs import capture_on_cpu, find, smallest, train

CAPTURED = pytest.mark.parametrize("captured", [False, True], ids=["", "captured"])
CONDITIONER = "levels.1.steps.0.coupling.conditioner"


def poison(monkeypatch: pytest.MonkeyPatch, first: int, last: int) -> None:
    """One layer gives NaN for the third image of the batches of steps ``first`` to ``last``."""
    on_fit_start, bits_per_dim = WeightAverage.on_fit_start, GlowModule.bits_per_dim
    step = -1

    def seen(self: GlowModule, batch: Batch) -> Tensor:
        nonlocal step
        step = int(batch.positions[0]) // 8 if len(batch.positions) == 8 else -1
        return bits_per_dim(self, batch)

    def hooked(self: Any, trainer: Any, pl_module: GlowModule) -> None:
        def spoil(layer: Any, inputs: Any, output: Tensor) -> Tensor:
            if not trainer.training or not first <= step <= last or len(output) != 8:
                return output
            return output.index_fill(0, torch.tensor([2]), float("nan"))

        pl_module.flow.get_submodule(CONDITIONER).register_forward_hook(spoil)
        on_fit_start(self, trainer, pl_module)

    monkeypatch.setattr(WeightAverage, "on_fit_start", hooked)
    monkeypatch.setattr(GlowModule, "bits_per_dim", seen)


def capture_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU."""
    monkeypatch.setattr(captured_steps, "capture", capture_on_cpu)
    monkeypatch.setattr(begin, "captures_steps", lambda config, where: True)


@CAPTURED
def test_the_error_names_the_layer_and_the_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, captured: bool
) -> None:
    poison(monkeypatch, 5, 5)
    if captured:
        capture_steps(monkeypatch)
    with pytest.raises(
        UserError,
        match=rf"step 5: loss nan.*; samples at positions 42: not finite from {CONDITIONER} \(ConvNet\) on",
    ):
        train(smallest(tmp_path), tmp_path / "run")


@pytest.mark.parametrize(("optim", "captured"), [("adam", False), ("adamax", False), ("muon", False), ("adam", True)])
@pytest.mark.parametrize("every", [1, 4])
def test_an_update_that_is_left_out_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, optim: str, captured: bool, every: int
) -> None:
    options = ["trainer.nonfinite=skip", f"optim={optim}", f"checkpoint_every={every}", "optim.ema_decay=0.9"]
    poison(monkeypatch, 4, 4)
    if captured:
        capture_steps(monkeypatch)
    saved: dict[int, dict[str, Any]] = {}
    on_train_batch_start = Monitors.on_train_batch_start

    def keep(self: Any, trainer: Any, pl_module: GlowModule, *arguments: Any) -> None:
        state = {name: value.clone() for name, value in pl_module.state_dict().items()}
        (optimizer,) = trainer.optimizers
        steps = optimizer.param_groups[0].get("t"), [float(s["step"]) for s in optimizer.state.values() if "step" in s]
        saved[trainer.global_step] = {"weights": state, "t": steps}
        on_train_batch_start(self, trainer, pl_module, *arguments)

    monkeypatch.setattr(Monitors, "on_train_batch_start", keep)
    output = train(smallest(tmp_path, *options), tmp_path / "run")
    assert "step 4: loss nan, gradient norm nan: not finite; this update is left out (samples at positions 34" in output
    before, after, later = (saved[step] for step in (4, 5, 6))
    assert all(torch.equal(before["weights"][name], after["weights"][name]) for name in before["weights"])
    assert not all(torch.equal(after["weights"][name], later["weights"][name]) for name in after["weights"])
    assert before["t"] == after["t"]
    rows = metrics.read(tmp_path / "run" / "metrics.csv")
    assert [row["train/skipped"] for row in rows if "train/skipped" in row] == [1.0]
    assert load(tmp_path / "run").card.step == 8


@CAPTURED
def test_too_many_updates_left_out_in_a_row_end_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, captured: bool
) -> None:
    poison(monkeypatch, 3, 6)
    if captured:
        capture_steps(monkeypatch)
    options = ["trainer.nonfinite=skip", "trainer.skip_limit=3"]
    with pytest.raises(UserError, match=r"step 5: .*stopped before the update after 3 in a row, the last good"):
        train(smallest(tmp_path, *options), tmp_path / "run")
    newest = torch.load(checkpoints_of(tmp_path / "run")[-1], weights_only=True)
    assert all(torch.isfinite(value).all() for value in newest["state_dict"].values())


@pytest.mark.parametrize("step", [0, 3, 6, 7])
def test_nothing_is_saved_or_validated_before_a_captured_update_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """Step 3 is before a validation and a checkpoint, 6 before the update whose figures are logged, 7 the last."""
    poison(monkeypatch, step, step)
    capture_steps(monkeypatch)

    def with_its_own_weights(module: GlowModule, batch: Batch) -> list[str]:
        (average,) = (callback for callback in module.trainer.callbacks if isinstance(callback, WeightAverage))
        assert average._raw is None  # the average is not in their place
        return examine(module, batch)

    monkeypatch.setattr(finite, "examine", with_its_own_weights)
    with pytest.raises(UserError, match=rf"^step {step}: loss nan.*stopped before the update"):
        train(smallest(tmp_path, "max_steps=9", "validate_every=4"), tmp_path / "run")
    assert [path.stem for path in checkpoints_of(tmp_path / "run")] == ["step_00000004"] * (step > 3)
    rows = metrics.read(tmp_path / "run" / "metrics.csv") if (tmp_path / "run" / "metrics.csv").exists() else []
    assert [row["step"] for row in rows if "val/bits_per_dim" in row] == [4] * (step > 3)


def test_what_does_not_happen_again_is_laid_on_the_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bits_per_dim = GlowModule.bits_per_dim
    struck: list[int] = []

    def once(self: GlowModule, batch: Batch) -> Tensor:
        found = bits_per_dim(self, batch)
        if self.trainer.training and self.trainer.global_step == 2 and not struck:
            struck.append(2)
            return found * float("inf")
        return found

    monkeypatch.setattr(GlowModule, "bits_per_dim", once)
    with pytest.raises(UserError, match=r"step 2: loss inf.*the same images give finite values: suspect the device"):
        train(smallest(tmp_path), tmp_path / "run")


@CAPTURED
def test_figures_of_an_update_that_is_left_out_are_those_of_the_last_that_was_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, captured: bool
) -> None:
    monkeypatch.setattr(trainer, "LOG_EVERY", 4)
    if captured:
        capture_steps(monkeypatch)
    rows = []
    for name, first in (("good", 99), ("left out", 7)):
        with monkeypatch.context() as patch:
            poison(patch, first, first)
            train(smallest(tmp_path, "trainer.nonfinite=skip"), tmp_path / name)
        rows += [r for r in metrics.read(tmp_path / name / "metrics.csv") if r["step"] == 8 and "train/skipped" in r]
    monkeypatch.setattr(trainer, "LOG_EVERY", 7)
    train(smallest(tmp_path, "trainer.nonfinite=skip"), tmp_path / "to compare")
    (before,) = [r for r in metrics.read(tmp_path / "to compare" / "metrics.csv") if "train/skipped" in r]
    good, left_out = rows
    for figure in ("train/bits_per_dim", "train/gradient_norm"):
        assert left_out[figure] == pytest.approx(before[figure], abs=1e-6) != good[figure]
    assert (good["train/skipped"], left_out["train/skipped"]) == (0, 1)


def test_the_loss_of_accumulated_batches_is_that_of_one(tmp_path: Path) -> None:
    losses = []
    for name, options in (("one", []), ("two", ["trainer.batch_size=4", "trainer.accumulate=2"])):
        train(smallest(tmp_path, "max_steps=3", *options), tmp_path / name)
        (row,) = [r for r in metrics.read(tmp_path / name / "metrics.csv") if "train/bits_per_dim" in r]
        losses.append(row["train/bits_per_dim"])
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


def test_monitors_are_resumed_and_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    constant = "optim.decay=constant"
    train(smallest(tmp_path, constant), tmp_path / "whole")
    train(smallest(tmp_path, constant, "max_steps=5"), tmp_path / "parts")
    train(smallest(tmp_path, constant), *find(tmp_path / "parts"))
    rows = []
    for name in ("whole", "parts"):
        rows += [r for r in metrics.read(tmp_path / name / "metrics.csv") if r["step"] == 8 and "train/lr" in r]
    assert rows[0]["train/loss_spike"] == rows[1]["train/loss_spike"]
    assert 0 < rows[0]["train/min_scale"] == rows[1]["train/min_scale"] < 1
    monkeypatch.setattr(Monitors, "on_before_optimizer_step", lambda *arguments: None)
    train(smallest(tmp_path, constant), tmp_path / "without")
    a, b = (load(tmp_path / name).flow.state_dict() for name in ("whole", "without"))
    assert all(torch.equal(a[key], b[key]) for key in a)


def test_a_spike_is_measured_in_robust_deviations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bits_per_dim = GlowModule.bits_per_dim

    def spike(self: GlowModule, batch: Batch) -> Tensor:
        found = bits_per_dim(self, batch)
        return found + 100 if self.trainer.training and self.trainer.global_step == 7 else found

    monkeypatch.setattr(GlowModule, "bits_per_dim", spike)
    train(smallest(tmp_path), tmp_path / "run")
    (row,) = [r for r in metrics.read(tmp_path / "run" / "metrics.csv") if "train/loss_spike" in r]
    assert row["train/loss_spike"] > 100
