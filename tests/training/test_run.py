"""A run from beginning to end: what it leaves, that it goes on, that it stops."""

import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from PIL import Image
from pytorch_lightning.accelerators import CUDAAccelerator

from glow_app.artifacts.weights import load
from glow_app.config.check import check
from glow_app.data.picture import open_picture
from glow_app.data.sets.drawn_faces import DrawnFaces
from glow_app.errors import UserError
from glow_app.evaluation.likelihood import measure_likelihood
from glow_app.likelihood import dequantize
from glow_app.runtime.atomic import CannotWrite
from glow_app.training import after_update
from glow_app.training.checkpoints.format import checkpoints_of
from glow_app.training.loggers import metrics
from glow_app.training.module import GlowModule
from tests.conftest import Whole
from tests.data.layouts import picture, write_cifar
from tests.guards.command_lines import composed
from tests.training.runs import SMALLEST, computed, configure, find, smallest, train


def test_a_run_leaves_what_the_design_says(whole: Whole) -> None:
    run, output = whole
    files = {path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file()}
    assert files == {
        ".lock", "config.yaml", "images.json", "versions.json", "metrics.csv", "curves.png",
        "model/model.json", "model/model.safetensors",
        "checkpoints/step_00000004.ckpt", "checkpoints/step_00000008.ckpt",
        "samples/step_00000004_T0.70.png", "samples/step_00000008_T0.70.png",
    }  # fmt: skip
    assert "drawn_faces: 32 training and 32 validation images, 3x16x16, 8 bits" in output
    assert "bits/dim on 32 images of drawn_faces" in output
    assert re.search(r"lossless codecs on the same pixels: PNG [\d.]+ \(optimized\)   WebP [\d.]+ \(method 4\)", output)
    advice = output.split("\nthen try\n")[1].splitlines()
    order = ["sample", "evaluate", "interpolate", "directions", "edit", "demo", "train"]
    assert [line.split()[0] for line in advice] == [f"glow-{command}" for command in order]
    for line in advice:
        check(*composed(line))
    assert advice[-1] == f"  glow-train resume={run} max_steps=16"
    with Image.open(run / "samples" / "step_00000008_T0.70.png") as grid:
        assert grid.width > 96 * 8


def test_of_one_validation_and_one_test_image_no_error_is_told(tmp_path: Path) -> None:
    output = train(smallest(tmp_path, "val_images=1", "test_images=1"), tmp_path / "run")
    assert "bits/dim on 1 images of drawn_faces" in output
    assert "nan" not in output


def test_metrics_have_their_steps(whole: Whole) -> None:
    rows = metrics.read(whole.folder / "metrics.csv")
    validations = {int(row["step"]): row for row in rows if "val/bits_per_dim" in row}
    assert sorted(validations) == [4, 8]
    assert validations[8]["val/bits_per_dim"] < validations[4]["val/bits_per_dim"] < 9
    assert validations[8]["val/reconstructed"] == 1.0
    training = next(row for row in rows if "train/bits_per_dim" in row)
    assert training["step"] == 8
    assert {"train/lr", "train/gradient_norm"} <= set(training)


def test_the_exported_model_is_the_one_that_was_evaluated(whole: Whole) -> None:
    run, output = whole
    flow, card, *_ = load(run)
    assert (card.step, card.weights, card.n_bits, card.image_shape) == (8, "averaged", 8, (3, 16, 16))
    assert f"test: {card.metrics['test/bits_per_dim']:.3f}" in output
    again = measure_likelihood(flow, DrawnFaces("test", 16, n_images=32), range(32), 8, seed=0, batch_size=5)
    assert again.mean == pytest.approx(card.metrics["test/bits_per_dim"], abs=1e-6)


@pytest.mark.parametrize("scale", ["bounded", "sigmoid"])
def test_a_trained_model_still_comes_back(tmp_path: Path, scale: str) -> None:
    train(smallest(tmp_path, f"model.scale={scale}", "max_steps=100", "optim.lr=5e-3"), tmp_path / "run")
    flow = load(tmp_path / "run").flow
    faces = DrawnFaces("test", 16, n_images=16).fetch(range(16))
    for dtype, tolerance in ((torch.float32, 1e-4), (torch.float64, 1e-10)):
        x = dequantize(faces, 0.5, 8).to(dtype)
        flow = flow.to(dtype)
        assert (flow.inverse(flow(x)[0]) - x).abs().max() < tolerance


def test_the_same_configuration_gives_the_same_model(tmp_path: Path, whole: Whole) -> None:
    train(smallest(tmp_path), tmp_path / "run")
    a, b = (load(folder)[0].state_dict() for folder in (whole.folder, tmp_path / "run"))
    assert all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize(
    "options",
    [[], ["optim=adamax", "trainer.accumulate=2", "data.workers=1"], ["optim=muon"]],
    ids=["adam", "adamax", "muon"],
)
def test_an_interrupted_run_goes_on_and_ends_where_it_would_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str]
) -> None:
    config = smallest(tmp_path, *options)
    train(config, tmp_path / "whole")

    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(after_update.LearningRate, "on_before_optimizer_step", _press_ctrl_c_at(5))
        with pytest.raises(KeyboardInterrupt):
            train(config, run)
    assert [path.name for path in checkpoints_of(run)] == ["step_00000004.ckpt", "step_00000006.ckpt"]
    assert load(run)[1].step == 6  # usable as it is

    output = train(config, *find(run))
    assert "resumed   at step 6" in output
    whole, resumed = (load(folder)[0].state_dict() for folder in (tmp_path / "whole", run))
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)
    rows = [metrics.read(folder / "metrics.csv") for folder in (tmp_path / "whole", run)]
    for kind in ("train/bits_per_dim", "val/bits_per_dim"):
        values, resumed_values = ([(row["step"], row[kind]) for row in of if kind in row] for of in rows)
        assert values == resumed_values


def test_ctrl_c_between_accumulated_batches_waits_for_the_update(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = smallest(tmp_path, "trainer.accumulate=2")
    train(config, tmp_path / "whole")
    training_step = GlowModule.training_step

    def press(self: GlowModule, batch: Any, batch_idx: int) -> Any:
        if batch_idx == 8:  # the first of the two batches behind the fifth update
            os.kill(os.getpid(), signal.SIGINT)
        return training_step(self, batch, batch_idx)

    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(GlowModule, "training_step", press)
        with pytest.raises(KeyboardInterrupt):
            train(config, run)
    assert [path.name for path in checkpoints_of(run)] == ["step_00000004.ckpt", "step_00000005.ckpt"]
    train(config, *find(run))
    whole, resumed = (load(folder)[0].state_dict() for folder in (tmp_path / "whole", run))
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)


def test_resuming_from_an_older_checkpoint_leaves_the_newer_ones_behind(tmp_path: Path, whole: Whole) -> None:
    run = whole.copy(tmp_path / "run")
    first, last = checkpoints_of(run)
    train(smallest(tmp_path, "max_steps=6"), *find(first))
    assert [path.name for path in checkpoints_of(run)] == ["step_00000004.ckpt", "step_00000006.ckpt"]
    assert (run / "checkpoints" / f"abandoned_{last.name}").exists()
    assert max(row["step"] for row in metrics.read(run / "metrics.csv")) == 6


def test_a_resumed_run_has_the_learning_rate_that_is_asked_for(tmp_path: Path) -> None:
    train(smallest(tmp_path, "max_steps=4", "optim.decay=constant"), tmp_path / "run")
    asked = ["optim.decay=constant", "optim.lr=0.25e-3", "optim.beta1=0.5"]
    train(smallest(tmp_path, *asked), *find(tmp_path / "run"))
    content = torch.load(find(tmp_path / "run")[1], weights_only=True)
    (group,) = content["optimizer_states"][0]["param_groups"]
    assert group["lr"] == group["initial_lr"] == 0.25e-3
    assert group["betas"] == (0.5, 0.999)


def test_the_last_step_is_validated_and_drawn(tmp_path: Path) -> None:
    run = tmp_path / "run"
    output = train(smallest(tmp_path, "max_steps=5"), run)
    assert [r["step"] for r in metrics.read(run / "metrics.csv") if "val/bits_per_dim" in r] == [4, 5]
    assert f"look at\n  {run}/samples/step_00000005_T0.70.png\n" in output
    assert (run / "samples" / "step_00000005_T0.70.png").exists()


def test_a_model_survives_a_failure_of_its_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any, **options: Any) -> None:
        raise UserError("the test failed")

    monkeypatch.setattr("glow_app.training.run.measure_likelihood", fail)
    with pytest.raises(UserError, match="the test failed"):
        train(smallest(tmp_path), tmp_path / "run")
    assert load(tmp_path / "run")[1].step == 8


def test_running_out_of_memory_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")

    monkeypatch.setattr(GlowModule, "training_step", fail)
    with pytest.raises(UserError, match=r"out of memory; try a smaller trainer\.batch_size.*cuda_graph=false$"):
        train(smallest(tmp_path), tmp_path / "run")


def test_ctrl_c_in_validation_saves_the_weights_and_not_their_average(
    tmp_path: Path, whole: Whole, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = smallest(tmp_path)
    run = tmp_path / "run"
    validation_step = GlowModule.validation_step

    def press(self: GlowModule, *arguments: Any) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        validation_step(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(GlowModule, "validation_step", press)
        with pytest.raises(KeyboardInterrupt):
            train(config, run)
    train(config, *find(run))
    expected, resumed = (load(folder)[0].state_dict() for folder in (whole.folder, run))
    assert all(torch.equal(expected[key], resumed[key]) for key in expected)
    # The validation that was interrupted is repeated.
    assert computed(run) == computed(whole.folder)


def test_the_signal_handler_is_put_back(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)
    train(smallest(tmp_path, "max_steps=1"), tmp_path / "run")
    assert signal.getsignal(signal.SIGINT) is before


def test_a_finished_run_can_be_trained_for_longer(tmp_path: Path, whole: Whole) -> None:
    run = whole.copy(tmp_path / "run")
    with pytest.raises(
        UserError, match=r"00000008\.ckpt is at step 8 of max_steps=8: nothing is left to do; give a larger max_steps"
    ):
        train(smallest(tmp_path), *find(run))
    train(smallest(tmp_path, "max_steps=12"), *find(run))
    assert load(run)[1].step == 12


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_a_value_that_is_not_finite_stops_the_run_before_the_update(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    bits_per_dim = GlowModule.bits_per_dim

    def poisoned(self: GlowModule, batch: Any) -> torch.Tensor:
        value = bits_per_dim(self, batch)
        if self.trainer.training and self.trainer.global_step == 5:
            parameter = next(self.flow.parameters())
            if where == "loss":
                return value * float("nan")
            parameter.register_hook(lambda gradient: gradient * float("inf"))
        return value

    monkeypatch.setattr(GlowModule, "bits_per_dim", poisoned)
    run = tmp_path / "run"
    with pytest.raises(
        UserError, match=r"step 5: .*not finite; stopped before the update, the last good .*step_00000004"
    ):
        train(smallest(tmp_path), run)
    content = torch.load(find(run)[1], weights_only=True)
    assert all(torch.isfinite(value).all() for value in content["state_dict"].values())


@pytest.mark.slow
@pytest.mark.parametrize("how", ["steps", "full"])
def test_compiled_training_is_the_same_to_rounding(tmp_path: Path, how: str) -> None:
    losses = {}
    for name in ("none", how):
        config = smallest(tmp_path, "max_steps=3", f"trainer.compile={name}", "model.n_levels=1", "model.n_steps=1")
        train(config, tmp_path / name)
        rows = metrics.read(tmp_path / name / "metrics.csv")
        losses[name] = [row[key] for key in ("train/bits_per_dim", "val/bits_per_dim") for row in rows if key in row]
    assert losses[how] == pytest.approx(losses["none"], abs=1e-5)


@pytest.mark.parametrize(
    "overrides",
    [
        ["model.coupling=additive", "model.permutation=full", "data.n_bits=5"],
        ["model.memory=checkpoint", "model.scale=sigmoid", "trainer.precision=bf16", "optim.ema_decay=0"],
        ["optim.clip_norm=null", "data.flip=false", "data.cache=false", "model.border=false", "val_images=5"],
        ["logger=tensorboard", "trainer.accumulate=2", "data.workers=1", "test_images=7"],
        ["model.memory=reversible", "trainer.accumulate=2", "trainer.precision=bf16", "model.anchor_every=1"],
    ],
    ids=lambda overrides: overrides[0],
)
def test_options_train(tmp_path: Path, overrides: list[str]) -> None:
    train(smallest(tmp_path, "max_steps=2", "validate_every=2", *overrides), tmp_path / "run")
    flow = load(tmp_path / "run").flow
    assert torch.isfinite(flow.sample(2)).all()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_missing_gpu_is_told_before_any_data_are_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"trainer\.accelerator=gpu: this machine has none; choose trainer=cpu"):
        train(smallest(tmp_path, "trainer=gpu", f"data.cache_folder={tmp_path / 'cache'}"), tmp_path / "run")
    assert not (tmp_path / "cache").exists()


def test_all_of_the_training_images_without_validation(tmp_path: Path) -> None:
    write_cifar(tmp_path / "cifar", n=20)
    settings = [s for s in SMALLEST if not s.startswith("data.")]
    data = ["data=cifar10", f"data.root={tmp_path / 'cifar'}", "data.validation=0"]
    run = tmp_path / "run"
    output = train(configure(*settings, *data, f"data.cache_folder={tmp_path / 'cache'}", "max_steps=5"), run)
    assert "100 training and 0 validation images" in output
    assert "val: " in output
    assert not any("val/bits_per_dim" in row for row in metrics.read(run / "metrics.csv"))
    assert {path.name for path in run.glob("samples/*")} == {"step_00000004_T0.70.png", "step_00000005_T0.70.png"}
    assert "test/bits_per_dim" in load(run)[1].metrics


def test_a_folder_says_what_it_leaves_out_once(tmp_path: Path) -> None:
    for split, n in (("train", 40), ("val", 8), ("test", 8)):
        (tmp_path / "faces" / split).mkdir(parents=True)
        for k in range(n):
            picture(k, 20, 30).save(tmp_path / "faces" / split / f"{k}.tif")
    (tmp_path / "faces" / "train" / "5.tif").unlink()
    (tmp_path / "faces" / "train" / "5.tif").symlink_to("nowhere.tif")
    (tmp_path / "faces" / "val" / "x.heic").write_bytes(b"")
    settings = [s for s in SMALLEST if s != "data.n_images=32"]
    data = ["data=folder", f"data.root={tmp_path / 'faces'}", "data.fit=pad", f"data.cache_folder={tmp_path / 'cache'}"]
    run = tmp_path / "run"
    output = train(configure(*settings, *data, "data.on_corrupt=skip", "max_steps=2"), run)
    assert output.count("left out  1 file that is not read: .heic 1") == 1
    assert "39 training and 8 validation images" in output
    card = load(run)[1]
    assert card.preprocessing == "whole picture between black bars, antialiased bilinear to 16x16"
    pixels = open_picture(tmp_path / "faces" / "test" / "0.tif", (3, 16, 16), card.data)
    assert not pixels[:, :2].any()
    with pytest.raises(UserError, match=r"5\.tif: a symbolic link to nowhere\.tif, which does not exist"):
        train(configure(*settings, *data, "max_steps=2"), run)


def test_sample_grids_follow_their_own_steps_and_change_nothing(tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(smallest(tmp_path, "samples_every=3", "trainer.accumulate=2", "trainer.precision=bf16"), run)
    assert [path.name[:13] for path in sorted(run.glob("samples/*"))] == [f"step_{step:08d}" for step in (3, 6, 8)]
    other = tmp_path / "other"
    train(smallest(tmp_path, "samples_every=8", "trainer.accumulate=2", "trainer.precision=bf16"), other)
    a, b = (load(folder)[0].state_dict() for folder in (run, other))
    assert all(torch.equal(a[key], b[key]) for key in a)


def test_a_grid_that_cannot_be_written_does_not_stop_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any) -> None:
        raise CannotWrite("cannot write the grid")

    monkeypatch.setattr("glow_app.figures.save_png", fail)
    assert "cannot write the grid" in train(smallest(tmp_path), tmp_path / "run")
    assert [path.name for path in checkpoints_of(tmp_path / "run")] == ["step_00000004.ckpt", "step_00000008.ckpt"]


def test_a_class_conditional_model_from_training_to_samples(tmp_path: Path) -> None:
    write_cifar(tmp_path / "cifar", n=20)
    settings = [s for s in SMALLEST if not s.startswith("data.")]
    data = ["data=cifar10", f"data.root={tmp_path / 'cifar'}", "data.validation=20", "model.class_conditional=true"]
    config = configure(*settings, *data, f"data.cache_folder={tmp_path / 'cache'}")
    train(config, tmp_path / "run")
    flow, card, *_ = load(tmp_path / "run")
    assert len(card.class_names) == flow.n_classes == 10
    assert torch.isfinite(flow.sample(10, cond=torch.arange(10))).all()


def _press_ctrl_c_at(step: int) -> Any:
    original = after_update.LearningRate.on_before_optimizer_step

    def press(self: Any, trainer: pl.Trainer, *arguments: Any) -> None:
        if trainer.global_step == step:
            os.kill(os.getpid(), signal.SIGINT)
        original(self, trainer, *arguments)

    return press


def test_a_gpu_that_is_not_wanted_is_not_advertised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CUDAAccelerator, "is_available", lambda: True)
    train(smallest(tmp_path, "max_steps=1"), tmp_path / "run")  # a warning would be an error
