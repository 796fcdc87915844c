"""Densities by formula as teachers: a flow is fitted to them without data."""

import math
import shutil
from pathlib import Path

import pytest
import torch

from glow_app.artifacts.card import read_card
from glow_app.artifacts.weights import load
from glow_app.commands.plot2d import plot2d
from glow_app.config.commands import Plot2dConfig
from glow_app.data.sets.densities import Energy, Mixture, plane_density
from glow_app.errors import UserError
from glow_app.evaluation.density import Square, as_images
from glow_app.flows import PlanarFlow, initialize
from glow_app.training.checkpoints.format import checkpoints_of
from glow_app.training.distillation.density import DensityTeacher, measure_fitted, starting_points
from glow_app.training.distillation.measure import log_ratios
from tests.commands.using import configure as configure_use
from tests.commands.using import use
from tests.forked import call
from tests.training.distillation.test_measure import closed_form, normal
from tests.training.runs import computed, configure, find, train

SHORT = [
    "experiment=energies", "data.n_points=5000", "test_images=100", "val_images=100", "max_steps=8", "validate_every=8",
    "samples_every=8", "checkpoint_every=4", "anneal_steps=4", "trainer.batch_size=32", "model.n_layers=2",
]  # fmt: skip

COARSE = Square(side=16.0, cells=200)


def gaussian(mean: list[float], std: float) -> DensityTeacher:
    return DensityTeacher(Mixture(torch.tensor([mean], dtype=torch.float64), std), "gaussian")


def test_figures_are_those_of_two_normal_distributions() -> None:
    q, p = ([0.5, -1.0], [0.8, 1.1]), ([0.0, -0.5], [1.2, 1.2])
    reached = measure_fitted(normal(*q), gaussian(p[0], 1.2), seed=0, n=20_000, grid=COARSE)
    assert reached.divergence == pytest.approx(closed_form(q, p), abs=1e-6)
    assert reached.reversed == pytest.approx(closed_form(p, q), abs=1e-6)
    assert reached.mass == pytest.approx(1, abs=1e-6)
    assert reached.divergence_error < 1e-6
    assert abs(reached.sampled - closed_form(q, p)) < 4 * reached.error < 0.05


def test_the_free_energy_is_the_divergence_without_log_z() -> None:
    """Of an unnormalised normal density, exp(-|x|^2 / 2): Z is 2 pi."""
    energy = Energy(lambda x: 0.5 * x.square().sum(1))
    q = ([0.3, 0.0], [0.7, 1.1])
    reached = measure_fitted(normal(*q), DensityTeacher(energy, "energy"), seed=0, n=20_000, grid=COARSE)
    assert reached.log_normaliser == pytest.approx(math.log(2 * math.pi), abs=1e-9)
    expected = closed_form(q, ([0.0, 0.0], [1.0, 1.0])) - math.log(2 * math.pi)
    assert abs(reached.free_energy - expected) < 4 * reached.error
    assert set(reached.metrics()) >= {"distillation/free_energy", "distillation/kl_grid"}


@pytest.mark.parametrize("name", ["u1", "u4"])
def test_samples_and_grid_agree(name: str) -> None:
    torch.manual_seed(0)
    flow = PlanarFlow((2, 1, 1), n_layers=4)
    initialize(flow, starting_points(500, 0))
    reached = measure_fitted(flow.eval(), DensityTeacher(plane_density(name, 0.0), name), 0, 20_000, COARSE)
    assert reached.mass == pytest.approx(1, abs=1e-3)
    assert abs(reached.sampled - reached.divergence) < 4 * reached.error
    assert "so KL(q || p) is" in reached.text()


def test_a_normal_density_is_learned_exactly() -> None:
    torch.manual_seed(0)
    flow, teacher = PlanarFlow((2, 1, 1), n_layers=2), gaussian([1.0, -0.5], 0.7)
    initialize(flow, starting_points(500, 0))
    optimizer = torch.optim.Adam(flow.parameters(), lr=0.03)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 400)
    for step in range(400):
        optimizer.zero_grad()
        log_ratios(flow, teacher, 128, seed=0, first=128 * step).mean().backward()
        optimizer.step()
        schedule.step()
    assert -1e-6 < measure_fitted(flow.eval(), teacher, 0, 1_000, COARSE).divergence < 2e-3


def test_the_weight_of_a_teacher_is_a_factor() -> None:
    flow, teacher = normal([0.0, 0.0], [1.0, 1.0]), gaussian([0.5, 0.0], 1.0)
    x = flow.sample(4, seed=0)
    q, p = flow.log_prob(x), teacher.log_prob(x)
    assert torch.allclose(log_ratios(flow, teacher, 4, seed=0, weight=0.25), q - 0.25 * p)


def test_a_run_needs_no_data_and_tells_how_near_it_is(tmp_path: Path) -> None:
    told = train(configure(*SHORT, "data=u2"), tmp_path / "run")
    assert "teacher   u2: " in told
    assert "free energy: " in told
    assert "log Z is 2.2002" in told
    assert "on a grid of 500 x 500 cells: KL(q || p)" in told
    assert (tmp_path / "run" / "distilled.png").stat().st_size > 10_000
    card, _ = read_card(tmp_path / "run" / "model")
    metrics = card.metrics
    assert card.teacher == "u2"
    assert metrics["distillation/kl_nats"] == pytest.approx(
        metrics["distillation/free_energy"] + metrics["distillation/log_normaliser"]
    )
    of = [f"checkpoint={tmp_path / 'run'}", f"output={tmp_path}", "n=100", "cells=50"]
    assert "entropy of the data" in use(plot2d, configure_use("plot2d", Plot2dConfig, *of))


def test_a_resumed_run_ends_at_the_same_bits(tmp_path: Path) -> None:
    """In the middle of the annealing."""
    config = configure(*SHORT, "model=radial", "model.n_layers=2", "anneal_steps=16")
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    train(config, whole)
    shutil.copytree(whole, cut)
    checkpoints_of(cut)[-1].unlink()
    shutil.rmtree(cut / "model")
    train(config, *find(cut))
    assert computed(cut)[:-1] == computed(whole)[:-1]
    for a, b in zip(load(cut).flow.state_dict().values(), load(whole).flow.state_dict().values(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.slow
def test_no_point_of_the_data_is_seen(tmp_path: Path) -> None:
    """Other points of the same data set end in the same weights."""
    runs = [tmp_path / str(seed) for seed in (0, 1)]
    for seed, run in enumerate(runs):
        train(configure(*SHORT, f"data.seed={seed}"), run)
    first, second = (load(run).flow.state_dict() for run in runs)
    assert all(torch.equal(value, second[key]) for key, value in first.items())


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["teacher=u2"], "teacher=u2 is the density of that data set: choose data=u2, not u1"),
        (["data=checkerboard"], "teacher=checkerboard: its density is 0 outside of the board"),
        (["teacher=null"], "anneal_steps=4 is for glow-distill: there is no teacher; leave it out"),
        (["+data.noise=0.1"], "unknown key data.noise"),
        (["model.memory=reversible"], "model.memory=reversible is not one of plain, checkpoint"),
        (["model.direction=back"], "model.direction=back is not one of generating, normalising"),
        (["model=glow"], "data=u1 are points in the plane, which model=glow cannot take"),
        (["estimate=true"], "estimate=true measures"),
    ],
)
def test_what_cannot_be_is_refused(options: list[str], says: str) -> None:
    short = [one for one in SHORT if not one.startswith("model.")] if "model=glow" in options else SHORT
    with pytest.raises(UserError, match=says.replace("+", r"\+")):
        configure(*short, *options)


def test_a_student_whose_samples_take_a_search_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="model=planar samples by a search, which is what"):
        train(configure(*SHORT, "model.direction=normalising"), tmp_path / "run")


@pytest.mark.slow
def test_the_command_takes_all_else_from_the_name_of_a_density(tmp_path: Path) -> None:
    few = [one for one in SHORT if not one.startswith("experiment")]
    done = call(tmp_path, "distill", "teacher=u3", *few)
    assert done.returncode == 0, done.stderr
    (run,) = (tmp_path / "runs" / "energies").iterdir()
    assert read_card(run / "model")[0].model.name == "planar"


def test_points_as_they_are_taken_by_flows() -> None:
    teacher, x = gaussian([0.0, 0.0], 1.0), torch.zeros(3, 2)
    assert teacher.log_prob(as_images(x)).dtype == torch.float32
    assert teacher.log_prob(as_images(x))[0].item() == pytest.approx(-math.log(2 * math.pi))
