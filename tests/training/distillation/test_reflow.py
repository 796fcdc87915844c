"""Reflow: paths become straight, and the density stays."""

import math
import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from glow_app.artifacts.card import read_card
from glow_app.artifacts.weights import load
from glow_app.errors import UserError
from glow_app.flows import CNF, Solver, initialize
from glow_app.flows.continuous.cnf import flow_matching_loss
from glow_app.flows.continuous.field import VectorField
from glow_app.training.checkpoints.format import checkpoints_of
from glow_app.training.distillation.reflow import STEPS, by_euler, measure_straightness
from tests.training.distillation.test_runs import IAF, POINTS
from tests.training.runs import computed, configure, find, train

MATCHING = [
    "model=flow_matching", "model.width=16", "model.n_hidden=2", "model.solver=rk4", "model.n_steps=6",
]  # fmt: skip


class Known(VectorField):
    """A field by formula; its parameter says dtype and device."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Parameter(torch.ones(()))


class Rotation(Known):
    """Turns by a quarter: dx/dt = (pi / 2) J x."""

    def forward(self, t: Tensor, x: Tensor, cond: Tensor | None = None) -> Tensor:
        return math.pi / 2 * torch.stack([-x[:, 1], x[:, 0]], 1)


class Straight(Known):
    """Moves along straight lines to where :class:`Rotation` arrives: x_t = ((1 - t) I + t J) x_0."""

    def forward(self, t: Tensor, x: Tensor, cond: Tensor | None = None) -> Tensor:
        quarter = torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=x.dtype)
        at = torch.as_tensor(t, dtype=x.dtype).reshape(-1, 1, 1)
        moved = torch.linalg.solve((1 - at) * torch.eye(2, dtype=x.dtype) + at * quarter, x.flatten(1)[..., None])
        return ((quarter - torch.eye(2, dtype=x.dtype)) @ moved).view(x.shape)


def cnf(field: VectorField) -> CNF:
    flow = CNF((2, 1, 1), field, Solver("rk4", n_steps=50))
    initialize(flow, torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])[..., None, None])
    return flow


def test_straight_paths_take_one_step() -> None:
    """Euler's step along a quarter of a circle ends at (1, pi / 2) in place of (0, 1), for a unit of length."""
    found = measure_straightness(cnf(Straight()), cnf(Rotation()), n=2000, seed=0, batch_size=500)
    assert max(found.student) < 1e-5
    expected = (1 + (math.pi / 2 - 1) ** 2) ** 0.5
    assert found.teacher[0] == pytest.approx(expected, rel=0.05)
    assert found.teacher == sorted(found.teacher, reverse=True)
    assert len(found.text().splitlines()) == len(STEPS) + 2


def test_the_field_of_straight_paths_has_no_loss() -> None:
    """Where paths do not cross, the velocity is known: nothing is left of the loss."""
    teacher, student = cnf(Rotation()), cnf(Straight())
    latents = student.sample_latents(100, 1.0, 0)
    x = teacher.inverse(latents)
    assert flow_matching_loss(student, x, 0, torch.arange(100), start=latents[0]).max() < 1e-6
    assert flow_matching_loss(student, x, 0, torch.arange(100)).mean() > 0.1


def test_the_solver_of_a_flow_is_kept() -> None:
    flow = cnf(Rotation())
    latents = flow.sample_latents(3, 1.0, 0)
    by_euler(flow, 2, latents, None)
    assert flow.ode.solver == Solver("rk4", n_steps=50)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A continuous flow of points."""
    folder = tmp_path_factory.mktemp("teacher") / "run"
    train(configure(*POINTS, *MATCHING), folder)
    return folder


def test_a_run_learns_resumes_and_tells(teacher: Path, tmp_path: Path) -> None:
    config = configure(*POINTS, *MATCHING, f"teacher={teacher}", f"init_from={teacher}")
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    told = train(config, whole)
    assert "distance from the teacher's samples (rk4, 6 steps)" in told
    assert any("train/flow_matching_loss" in row for row in computed(whole))
    assert read_card(whole / "model")[0].metrics["reflow/student_euler_1"] > 0
    assert (whole / "distilled.png").stat().st_size > 10_000
    shutil.copytree(whole, cut)
    checkpoints_of(cut)[-1].unlink()
    shutil.rmtree(cut / "model")
    train(config, *find(cut))
    assert computed(cut) == computed(whole)
    for a, b in zip(load(cut).flow.state_dict().values(), load(whole).flow.state_dict().values(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ([*MATCHING, "model.training=likelihood"], "model.training=likelihood: paths are learned by"),
        ([*MATCHING, "anneal_steps=5"], "anneal_steps=5: paths are learned without a weight of log p"),
        ([*IAF, "model=maf"], "model=maf samples one number after the other"),
    ],
)
def test_what_learns_no_paths_is_refused(teacher: Path, options: list[str], says: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=says):
        train(configure(*POINTS, *options, f"teacher={teacher}"), tmp_path / "run")


def test_a_teacher_without_paths_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="learns straight paths from another continuous flow, and teacher=two_moons is"):
        train(configure(*POINTS, *MATCHING, "teacher=two_moons"), tmp_path / "run")
