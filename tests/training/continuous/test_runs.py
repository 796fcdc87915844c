"""Continuous flows in runs and commands: flow matching, energies, solvers chosen afterwards, refusals."""

import json
import math
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

from glow_app.commands.evaluate import evaluate
from glow_app.commands.plot2d import plot2d
from glow_app.commands.sample import sample
from glow_app.config.commands import EvaluateConfig, Plot2dConfig, SampleConfig
from glow_app.errors import UserError
from glow_app.flows import CNF
from glow_app.model import load
from glow_app.training.checkpoints.format import checkpoints_of
from tests.commands.using import configure as configure_use
from tests.commands.using import use
from tests.training.runs import SHORTEST, computed, configure, find, train

SHORT = ["max_steps=4", "validate_every=4", "samples_every=4", "checkpoint_every=2", "val_images=4", "test_images=4"]

MATCHING = ["model=flow_matching", "model.width=8", "model.n_levels=2", "model.solver=midpoint", "model.n_steps=3"]

POINTS = [
    "experiment=plane", "model=flow_matching", "model.width=16", "model.solver=rk4", "model.n_steps=4",
    "trainer.batch_size=64", *SHORT, "val_images=100", "test_images=100",
]  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of four steps of flow matching on drawn faces."""
    folder = tmp_path_factory.mktemp("flow_matching")
    cache = f"data.cache_folder={folder / 'cache'}"
    text = train(configure(*SHORTEST, *SHORT, *MATCHING, cache), folder / "run")
    assert "model     CNF, width=8, by flow matching; solved by midpoint, 3 steps" in text
    assert "validation" in text
    return folder / "run"


def test_the_loss_is_that_of_flow_matching(run: Path) -> None:
    losses = [row["train/flow_matching_loss"] for row in computed(run) if "train/flow_matching_loss" in row]
    # Of standardised images, and a field that is zero at first: E|x1 - x0|^2 / D = 2.
    assert 1.5 < losses[0] < 2.5
    assert not any("train/bits_per_dim" in row for row in computed(run))


def test_solvers_are_chosen_and_told(run: Path, tmp_path: Path) -> None:
    of = [f"checkpoint={run}", f"output={tmp_path}"]
    cheap = ["n_images=4", "check_images=2", "gap_images=0"]
    told = use(evaluate, configure_use("evaluate", EvaluateConfig, *of, *cheap, "solver='dopri5:1e-3'"))
    assert "solver     dopri5, rtol 0.001, atol 0.001: " in told
    assert "Hutchinson's estimate, 1 random vectors each" in told
    content = json.loads((tmp_path / "evaluation.json").read_text())
    assert content["solver"] == {
        "method": "dopri5", "rtol": 1e-3, "atol": 1e-3, "trace": "hutchinson", "n_probes": 1, "probe_seed": 0,
    }  # fmt: skip
    assert content["accuracy"]["evaluations"] > 6
    assert math.isfinite(content["accuracy"]["probe_deviation"])
    told = use(sample, configure_use("sample", SampleConfig, *of, "n=4", "solver='euler:2'"))
    assert "solver euler, 2 steps: 2 evaluations of the field" in told


@pytest.mark.slow
def test_a_resumed_run_ends_at_the_same_bits(run: Path, tmp_path: Path) -> None:
    again = tmp_path / "run"
    shutil.copytree(run, again)
    first, last = checkpoints_of(again)
    expected = torch.load(last, weights_only=True)["state_dict"]
    train(configure(*SHORTEST, *SHORT, *MATCHING, f"data.cache_folder={tmp_path / 'cache'}"), *find(first))
    found = torch.load(checkpoints_of(again)[-1], weights_only=True)["state_dict"]
    assert all(torch.equal(value, found[key]) for key, value in expected.items())


@pytest.mark.slow
def test_points_are_matched_filmed_and_tuned_by_likelihood(tmp_path: Path) -> None:
    text = train(configure(*POINTS), tmp_path / "matched")
    assert "by flow matching" in text
    config = configure_use(
        "plot2d", Plot2dConfig, f"checkpoint={tmp_path / 'matched'}", f"output={tmp_path}", "film=true", "frames=1",
        "n=50", "cells=20", "lines=3", "side=20",
    )  # fmt: skip
    assert "entropy of the data" in use(plot2d, config)
    with Image.open(tmp_path / "film_T1.00_seed0.gif") as film:
        assert film.n_frames >= 16  # type: ignore[attr-defined]
    tuned = [option for option in POINTS if option != "model=flow_matching"]
    start = f"init_from={tmp_path / 'matched'}"
    text = train(configure(*tuned, "model=cnf", start, "model.kinetic=0.01", "model.jacobian=0.01"), tmp_path / "tuned")
    assert "by likelihood" in text
    assert any("train/regularised_bits_per_dim" in row for row in computed(tmp_path / "tuned"))
    flow = load(tmp_path / "tuned").flow
    assert isinstance(flow, CNF)
    assert flow.ode.trace == "exact"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["model.kinetic=0.1"], r"model.kinetic=0.1 model.jacobian=0: flow matching follows straight paths"),
        (["model.solver=heun"], r"model.solver=heun is not one of dopri5, dopri8, bosh3, euler, midpoint, rk4"),
        (["model.rtol=1e-9"], r"model.rtol=1e-09 is too small: it must be at least 1e-06"),
        (["model.width=12"], r"model.width=12: channels are normalised in groups of 8; choose 8 or 16"),
        (["trainer.compile=steps"], r"trainer.compile=steps: a solver differentiates its field while it runs"),
        (["trainer.accelerator=gpu", "trainer.cuda_graph=true"], r"a solver's steps are not all alike"),
        (["data.image_size=20"], r"data.image_size=20 is not divisible by 8"),
    ],
)
def test_what_it_cannot_is_refused(options: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        configure("data.image_size=16", "model=flow_matching", *options)


@pytest.mark.parametrize("solver", ["euler", "euler:0", "euler:1.5", "dopri5:2", "dopri5:1e-9", "heun:3", "euler:nan"])
def test_a_solver_that_is_none_is_one_line(run: Path, tmp_path: Path, solver: str) -> None:
    of = [f"checkpoint={run}", f"output={tmp_path}", f"solver='{solver}'"]
    config = configure_use("sample", SampleConfig, *of)
    with pytest.raises(UserError, match=rf"solver={solver}: give a method and its steps"):
        use(sample, config)


def test_a_solver_for_another_flow_is_refused(tmp_path: Path) -> None:
    config = configure_use("sample", SampleConfig, "checkpoint=faces64", f"output={tmp_path}", "solver='euler:5'")
    with pytest.raises(UserError, match=r"solver=euler:5 is for continuous flows, and faces64 is a Glow: leave it out"):
        use(sample, config)
