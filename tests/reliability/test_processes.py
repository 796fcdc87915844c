"""Several processes compute what one computes, come to the same decisions, and end together."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from glow_app.training.checkpoints.format import checkpoints_of
from glow_app.training.loggers import metrics
from tests.reliability import work
from tests.reliability.conftest import Figures
from tests.reliability.ranks import Ranks

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def two() -> Iterator[Ranks]:
    ranks = Ranks(2)
    yield ranks
    ranks.stop()


@pytest.fixture(scope="module")
def three() -> Iterator[Ranks]:
    ranks = Ranks(3)
    yield ranks
    ranks.stop()


@pytest.mark.parametrize(
    "overrides",
    [
        ["model.memory=plain"],
        ["model.memory=reversible", "trainer.accumulate=2"],
        ["model.memory=checkpoint", "optim=adamax"],
    ],
    ids=lambda overrides: overrides[0],
)
def test_two_processes_compute_what_one_computes(
    two: Ranks, tmp_path: Path, figures: Figures, overrides: list[str]
) -> None:
    one, both = work.trained(tmp_path, overrides), two.call(work.trained, tmp_path, overrides)
    gradients = max(np.abs(part["gradients"] - one["gradients"]).max() for part in both)
    weights = max(np.abs(part["weights"] - one["weights"]).max() for part in both)
    same = sum(a == b for a, b in zip(both[0]["digests"], both[1]["digests"], strict=True))
    kind = overrides[0].removeprefix("model.memory=")
    figures.add(f"2 processes = 1 process, {kind}: gradients of 20 steps differ by at most", f"{gradients:.0e}")
    figures.add(f"2 processes = 1 process, {kind}: weights after 20 steps differ by at most", f"{weights:.0e}")
    figures.add(f"2 processes, {kind}: the same weights after initialisation and each step", f"{same} of 21")
    assert gradients < 1e-12
    assert weights < 1e-10
    assert same == 21
    assert len(set(one["digests"])) == 21  # every step changes something
    assert [a + b for a, b in zip(both[0]["positions"], both[1]["positions"], strict=True)] == one["positions"]


@pytest.mark.parametrize("overrides", [["model.momentum=0.5"], ["model.memory=checkpoint", "trainer.accumulate=2"]])
def test_two_processes_normalise_by_the_whole_batch(two: Ranks, tmp_path: Path, overrides: list[str]) -> None:
    """Batch normalisation of Real NVP, and what is averaged of it."""
    one = work.trained(tmp_path, overrides, "real_nvp")
    both = two.call(work.trained, tmp_path, overrides, "real_nvp")
    assert max(np.abs(part["gradients"] - one["gradients"]).max() for part in both) < 1e-9
    assert max(np.abs(part["weights"] - one["weights"]).max() for part in both) < 1e-8
    assert both[0]["digests"] == both[1]["digests"]  # running averages are among what they digest


def test_every_image_is_counted_once(two: Ranks, three: Ranks, figures: Figures) -> None:
    per_image, mean = work.bits()
    several = [*two.call(work.bits), *three.call(work.bits)]
    same = sum(abs(other - mean) < 1e-9 for _, other in several)
    figures.add("bits/dim of 101 images: 2 and 3 processes give what 1 gives", f"{same} of {len(several)}")
    assert same == len(several)
    for others, _ in several:
        assert np.abs(others - per_image).max() < 1e-6


def test_a_run_of_two_processes_leaves_what_one_leaves(two: Ranks, tmp_path: Path) -> None:
    """101 validation images do not divide by two, nor do the halves by the size of batches."""
    overrides = ["data.n_images=101"]
    assert work.fitted(tmp_path / "one", overrides) is None
    assert two.call(work.fitted, tmp_path / "two", overrides) == [None, None]
    one, both = (tmp_path / name / "run" for name in ("one", "two"))
    assert {path.relative_to(both) for path in both.rglob("*")} == {path.relative_to(one) for path in one.rglob("*")}
    same_metrics(both, one)


def test_two_processes_go_on_with_the_run_of_one(two: Ranks, tmp_path: Path) -> None:
    """In the middle of a pass through the images."""
    constant = ["optim.decay=constant", "data.n_images=101"]
    assert work.fitted(tmp_path / "whole", constant) is None
    assert work.fitted(tmp_path / "parts", [*constant, "max_steps=4"]) is None
    (checkpoint,) = checkpoints_of(tmp_path / "parts" / "run")
    assert two.call(work.fitted, tmp_path / "parts", constant, checkpoint) == [None, None]
    same_metrics(tmp_path / "parts" / "run", tmp_path / "whole" / "run", from_step=8)


def same_metrics(run: Path, other: Path, from_step: int = 0) -> None:
    rows, expected = (
        [row for row in metrics.read(folder / "metrics.csv") if row["step"] >= from_step] for folder in (run, other)
    )
    for row, of_one in zip(rows, expected, strict=True):
        assert row.keys() - {"train/images_per_second"} == of_one.keys() - {"train/images_per_second"}
        assert row["step"] == of_one["step"]
        for key in row.keys() & {"train/bits_per_dim", "val/bits_per_dim", "val/reconstructed", "val/standard_error"}:
            assert row[key] == pytest.approx(of_one[key], abs=1e-5)


def test_all_processes_end_at_the_same_step_whatever_their_clocks(two: Ranks, tmp_path: Path) -> None:
    first, second = two.call(work.timed, tmp_path, ["max_seconds=8.5", "validate_every=4"])
    assert first == second
    error, _, steps, seconds = first
    assert (error, steps, seconds) == (None, 6, 9.0)  # a second and two seconds a step: the mean counts


FAULTS = [(where, only, value) for where, only in (("loss", None), ("gradient", None), ("input", None), ("input", 1))
          for value in (float("nan"), float("inf"))]  # fmt: skip


def test_what_is_not_finite_stops_all_processes_before_the_update(two: Ranks, tmp_path: Path, figures: Figures) -> None:
    named = {
        "loss": "not finite from the likelihood on",
        "gradient": "gradient not finite of levels.1.steps.0.actnorm.logs",
        "input": "not finite from the dequantized images on",
    }
    stopped = 0
    for number, (where, only, value) in enumerate(FAULTS):
        folder = tmp_path / str(number)
        (error, weights), (other_error, other_weights) = two.call(work.poisoned, folder, where, value, only, [])
        (checkpoint,) = checkpoints_of(folder / "run")
        state = torch.load(checkpoint, weights_only=True)["state_dict"]
        good = all(torch.isfinite(tensor).all() for tensor in state.values())
        told = error is not None and error == other_error and error.startswith("step 3: loss ")
        told = told and f"last good checkpoint is {checkpoint}" in str(error) and named[where] in str(error)
        told = told and ("process 0: " in str(error)) == (only is None) and "process 1: samples at " in str(error)
        stopped += told and good and checkpoint.name == "step_00000002.ckpt" and weights == other_weights
        assert told, error
    figures.add("NaN or Inf in loss, gradient or input, of one process or all: stopped before the update",
                f"{stopped} of {len(FAULTS)}")  # fmt: skip
    assert stopped == len(FAULTS) == 8


def test_all_processes_leave_out_the_same_update(two: Ranks, tmp_path: Path) -> None:
    overrides = ["trainer.nonfinite=skip"]
    (error, weights), (_, others) = two.call(work.poisoned, tmp_path / "run", "input", float("nan"), 1, overrides)
    assert error is None
    assert weights == others
    rows = metrics.read(tmp_path / "run" / "run" / "metrics.csv")
    assert [row["train/skipped"] for row in rows if "train/skipped" in row] == [1.0]
