"""Points in the plane, from training to the figure: what is said is true, and commands for images refuse."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import glow_app
from glow_app.commands.edit import edit
from glow_app.commands.evaluate import evaluate
from glow_app.commands.interpolate import interpolate
from glow_app.commands.judge import judge
from glow_app.commands.plot2d import plot2d
from glow_app.commands.prepare import prepare
from glow_app.commands.sample import sample
from glow_app.config.commands import EvaluateConfig, Plot2dConfig, SampleConfig
from glow_app.config.editing import EditConfig, InterpolateConfig, JudgeConfig
from glow_app.config.train import PrepareConfig
from glow_app.data.sets.points import Points
from glow_app.errors import UserError
from glow_app.flows import Logit
from tests.commands.using import configure, use
from tests.training.runs import QUIET, find
from tests.training.runs import configure as configure_training
from tests.training.runs import train as train_run

SMALL = [
    "experiment=plane", "data.n_points=300", "model.width=8", "trainer.batch_size=50",
    "max_steps=4", "validate_every=2", "samples_every=4", "checkpoint_every=2", "optim.warmup_images=50",
    "optim.decay=constant",
]  # fmt: skip
PLANE = [*SMALL, "model.n_steps=2"]
FINE = ["n=100", "cells=100", "lines=3"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of a run of four steps, and what it said."""
    folder = tmp_path_factory.mktemp("plane") / "run"
    return folder, train_run(configure_training(*PLANE), folder)


def draw(folder: Path, *arguments: str) -> str:
    return use(plot2d, configure("plot2d", Plot2dConfig, f"checkpoint={folder}", *FINE, *arguments))


def test_training_speaks_of_points_and_nats(trained: tuple[Path, str]) -> None:
    folder, said = trained
    for words in (
        "two_moons: 300 training and 300 validation points, in the plane",
        "Plane, K=2 width=8, affine coupling, lu permutation, normal base",
        "nats/point   reconstructed to 0.0001 100%",
        "nats/point on 300 points of two_moons",
        "entropy of the data: ",
        f"{folder}/samples/step_00000004_plane.png",
        f"glow-plot2d checkpoint={folder} film=true",
    ):
        assert words in said
    for word in ("image", "bits/dim", "codecs", "glow-sample"):
        assert word not in said


def test_a_run_goes_on(trained: tuple[Path, str], tmp_path: Path) -> None:
    train_run(configure_training(*PLANE, "max_steps=2"), tmp_path / "run")
    train_run(configure_training(*PLANE), *find(tmp_path / "run"))
    resumed, straight = (glow_app.load(folder).flow.state_dict() for folder in (tmp_path / "run", trained[0]))
    assert all(torch.equal(value, straight[name]) for name, value in resumed.items())


def test_the_figure_and_the_integral(trained: tuple[Path, str], tmp_path: Path) -> None:
    said = draw(trained[0], f"output={tmp_path}", "film=true", "frames=1")
    assert "integral of the density over [-5, 5] x [-5, 5], 100 x 100 cells: " in said
    assert "should be 1" not in said
    assert f"{tmp_path / 'film_T1.00_seed0.gif'}" in said
    with (
        Image.open(tmp_path / "film_T1.00_seed0.gif") as film,
        Image.open(tmp_path / "stages_T1.00_seed0.png") as stages,
    ):
        assert stages.size == (3 * film.width + 8, film.height + 4)  # before, between and after two steps
    first = (tmp_path / "plane_T1.00_seed0.png").read_bytes()
    draw(trained[0], f"output={tmp_path}")
    assert (tmp_path / "plane_T1.00_seed0.png").read_bytes() == first


@pytest.mark.parametrize("name", ["maf", "iaf"])
def test_autoregressive_flows_take_points_without_the_logit_of_pixels(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    said = train_run(configure_training(*SMALL, f"model={name}", "model.n_layers=2"), folder)
    passes = {"maf": "a density takes 1 pass, a sample one for each", "iaf": "a density takes one pass for each"}
    assert passes[name] in said
    assert not any(isinstance(layer, Logit) for layer in glow_app.load(folder).flow.modules())
    said = draw(folder, f"output={tmp_path}", "film=true", "frames=1")
    assert "should be 1" not in said
    with (
        Image.open(tmp_path / "film_T1.00_seed0.gif") as film,
        Image.open(tmp_path / "stages_T1.00_seed0.png") as stages,
    ):
        assert stages.size == (3 * film.width + 8, film.height + 4)  # before, between and after two layers


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (["gaussianization", "model.n_components=8"], "Gaussianization, 2 layers of 8 logistics for each dimension"),
        (["mintnet", "model.n_levels=1", "model.width=8", "model.kernel_size=1"], "MintNet, L=1, 2 masked layers each"),
    ],
    ids=["gaussianization", "mintnet"],
)
def test_flows_that_search_take_points_and_are_filmed(model: list[str], shape: str, tmp_path: Path) -> None:
    folder, (name, *options) = tmp_path / "run", model
    small = [option for option in SMALL if "width" not in option]
    said = train_run(configure_training(*small, f"model={name}", "model.n_layers=2", *options), folder)
    assert shape in said
    assert not any(isinstance(layer, Logit) for layer in glow_app.load(folder).flow.modules())
    said = draw(folder, f"output={tmp_path}", "film=true", "frames=1")
    assert "should be 1" not in said
    with (
        Image.open(tmp_path / "film_T1.00_seed0.gif") as film,
        Image.open(tmp_path / "stages_T1.00_seed0.png") as stages,
    ):
        assert stages.size == (3 * film.width + 8, film.height + 4)  # before, between and after two layers


def test_a_grid_that_is_too_coarse_is_told(trained: tuple[Path, str], tmp_path: Path) -> None:
    said = draw(trained[0], f"output={tmp_path}", "side=60", "cells=10", "density=linear")
    assert "and should be 1: the density is too sharp for this grid (try cells=20), or is not normalised" in said


def test_evaluation_compares_with_the_entropy(trained: tuple[Path, str], tmp_path: Path) -> None:
    arguments = [f"checkpoint={trained[0]}", f"output={tmp_path}", "gap_images=50"]
    said = use(evaluate, configure("evaluate", EvaluateConfig, *arguments))
    for words in ("nats/point ", "300 points: drawn by formula, noise 0.2, in the plane", "50 training points",
                  "entropy of the data: ", "100.0% of 300 points are reconstructed to 0.0001"):  # fmt: skip
        assert words in said
    account = json.loads((tmp_path / "evaluation.json").read_text())
    assert account["unit"].startswith("bits per dimension of a density in the plane: 2 ln 2 nats per point")
    nats = 2 * torch.log(torch.tensor(2.0)).item() * account["bits_per_dim"]["mean"]
    assert account["entropies"]["flow"] == pytest.approx(nats)
    assert account["codecs"] == {}
    with pytest.raises(UserError, match="worst=2 makes a picture of images, and the model is of points: leave it out"):
        use(evaluate, configure("evaluate", EvaluateConfig, *arguments, "worst=2"))


def test_the_python_interface_takes_and_gives_points(trained: tuple[Path, str]) -> None:
    model = glow_app.load(trained[0])
    points = Points("two_moons", "test", 0.2, n_points=20).points
    assert torch.allclose(model.decode(model.encode(points)).flatten(1), points, atol=1e-5)
    samples = model.sample(5, temperature=1.0, seed=1)
    assert (samples.shape, samples.dtype) == ((5, 2, 1, 1), torch.float32)
    with torch.no_grad():
        assert torch.equal(model.log_prob(samples), model.flow.log_prob(samples))


@pytest.mark.parametrize(
    ("command", "function", "schema", "arguments"),
    [
        ("sample", sample, SampleConfig, []),
        ("interpolate", interpolate, InterpolateConfig, ["images=['0','1']"]),
        ("edit", edit, EditConfig, ["images=['0']", "measure=true"]),
        ("judge", judge, JudgeConfig, []),
    ],
)
def test_commands_for_images_refuse(
    trained: tuple[Path, str], command: str, function: Callable[..., None], schema: type[Any], arguments: list[str]
) -> None:
    config = configure(command, schema, f"checkpoint={trained[0]}", *arguments)
    with pytest.raises(UserError, match=r"is a model of points in the plane, .*: look at it with glow-plot2d"):
        function(config, QUIET)


def test_images_are_not_drawn_in_the_plane(run: Path) -> None:
    with pytest.raises(UserError, match="is a model of images: look at it with glow-sample"):
        draw(run)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["data=rings"], "data=rings are points in the plane, which model=glow cannot take: experiment=plane"),
        (["model=plane"], "data=drawn_faces are images, which model=plane cannot take: data=two_moons, or a model of"),
        (["experiment=plane", "estimate=true"], "estimate=true measures images; a run on points takes a minute"),
        (["experiment=plane", "data.noise=-1"], "data.noise=-1.0 is too small: it must be at least 0"),
    ],
)
def test_what_does_not_go_together_is_told(arguments: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        configure_training(*arguments)


def test_there_is_nothing_to_prepare() -> None:
    data = configure_training("experiment=plane").data
    with pytest.raises(UserError, match="data=two_moons are points, drawn when they are needed: there is nothing to"):
        prepare(PrepareConfig(data, ["train"], 0, False, 10, False), QUIET)
