"""What distillation is for: a student that is near its teacher in the plane, and far faster on images."""

from pathlib import Path

import pytest

from glow_app.artifacts.card import read_card
from glow_app.flows import IAF, MAF
from glow_app.flows.fast import accelerate
from glow_app.training.distillation.measure import samples_per_second
from tests.training.runs import configure, train

OPTIONS = [
    "experiment=plane", "model.n_hidden=2", "model.width=64", "model.normalisation=actnorm", "val_images=500",
    "test_images=500", "validate_every=5000", "samples_every=5000",
]  # fmt: skip


@pytest.mark.slow
def test_an_iaf_is_within_a_tenth_of_a_nat_a_dimension_of_its_maf(tmp_path: Path) -> None:
    train(configure(*OPTIONS, "model=maf", "max_steps=1200"), tmp_path / "teacher")
    student = configure(
        *OPTIONS, "model=iaf", f"teacher={tmp_path / 'teacher'}", "max_steps=1500", "optim.clip_norm=10"
    )
    train(student, tmp_path / "student")
    metrics = read_card(tmp_path / "student" / "model")[0].metrics
    assert metrics["distillation/kl_nats"] + 2 * metrics["distillation/standard_error"] < 0.1 * 2


@pytest.mark.slow
def test_an_iaf_samples_fifty_times_faster_than_a_maf() -> None:
    """Of images of 32x32 in colour, 16 at a time; how long a sample takes does not depend on training."""
    speeds = []
    for kind, width in ((IAF, 128), (MAF, 1024)):
        flow = accelerate(kind((3, 32, 32), n_layers=5, n_hidden=1, width=width).eval())
        flow.initialized.fill_(1)
        speeds.append(samples_per_second(flow, 16))
    assert speeds[0] > 50 * speeds[1]
