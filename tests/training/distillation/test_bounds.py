"""What distillation is for: a student that is near its teacher in the plane."""

from pathlib import Path

import pytest

from glow_app.artifacts.card import read_card
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
