"""A VAE in the commands: the bound and the estimate, pictures, an export, and what is refused."""

import csv
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from rich.console import Console

from glow_app.commands.directions import directions
from glow_app.commands.edit import edit
from glow_app.commands.evaluate import compare, evaluate
from glow_app.commands.export import export
from glow_app.commands.interpolate import interpolate
from glow_app.commands.report import report
from glow_app.commands.restore import restore
from glow_app.commands.sample import sample
from glow_app.commands.score import score
from glow_app.config.commands import EvaluateConfig, ExportConfig, ReportConfig, SampleConfig, ScoreConfig
from glow_app.config.editing import DirectionsConfig, EditConfig, InterpolateConfig, RestoreConfig
from glow_app.data.stream import InOrder
from glow_app.errors import UserError
from glow_app.evaluation.likelihood import measure_likelihood
from glow_app.evaluation.variational.elbo import importance_estimate, used_latents
from glow_app.flows import VAE
from glow_app.flows.variational.observation import log_mean_exp
from glow_app.likelihood import bits_per_dim, bound_of
from glow_app.model import load
from tests.commands.using import configure, use
from tests.training.runs import SHORTEST, train
from tests.training.runs import configure as configure_train

SMALL = ["model=vae", "model.width=8", "model.n_latents=4", "model.n_layers=2", "model.n_components=2"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two steps on drawn faces."""
    folder = tmp_path_factory.mktemp("vae")
    short = ["max_steps=2", "validate_every=2", "samples_every=2", "val_images=4", "test_images=4"]
    train(configure_train(*SHORTEST, *SMALL, *short, f"data.cache_folder={folder / 'cache'}"), folder / "run")
    return folder / "run"


def vae_of(run: Path) -> VAE:
    flow = load(run).flow
    assert isinstance(flow, VAE)
    return flow


def test_the_bound_is_taken_apart_and_above_the_estimate(run: Path, tmp_path: Path) -> None:
    few = ["n_images=6", "gap_images=4", "importance_samples=20", "batch_size=4", "worst=2"]
    config = configure("evaluate", EvaluateConfig, f"checkpoint={run}", f"output={tmp_path}", *few)
    text = use(evaluate, config)
    assert "a bound of -log p, not -log p itself" in text
    assert "reconstruction" in text
    assert "from 20 importance samples" in text
    assert "test minus 4 training images" in text
    content = json.loads((tmp_path / "evaluation.json").read_text())
    bound, estimate = content["bits_per_dim"]["mean"], content["importance_estimate"]["mean"]
    assert estimate < bound
    assert math.isclose(content["parts"]["reconstruction"] + content["parts"]["KL"], bound, rel_tol=1e-9)
    with open(tmp_path / "per_image.csv") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6
    assert set(rows[0]) >= {"bits_per_dim", "reconstruction", "KL", "importance_estimate"}
    with Image.open(tmp_path / "reconstructions.png") as picture:
        assert picture.width > picture.height
    assert (tmp_path / "worst.png").exists()


def test_the_estimate_is_the_mean_of_the_weights(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vae, source = vae_of(run), load_source(run)
    batch = InOrder(source, 5).__getitems__(list(range(5)))
    with torch.no_grad():
        weights = bound_of(vae, batch.images, batch.positions, 8, 5, 0, 11).log_weight.double()
    expected = bits_per_dim(log_mean_exp(weights), vae.n_dims)
    for together, batch_size in ((2048, 5), (8, 2)):  # decoded all at once, or a few at a time
        monkeypatch.setattr("glow_app.evaluation.variational.elbo.DECODED_TOGETHER", together)
        reached = importance_estimate(vae, source, range(5), 8, 5, batch_size, 11).per_image
        assert torch.allclose(reached, expected, rtol=1e-5)
    first = measure_likelihood(vae, source, range(5), 8, 5, 5).per_image
    assert torch.allclose(first, bits_per_dim(weights[0], vae.n_dims), rtol=1e-5)


def load_source(run: Path) -> Any:
    return configure("sample", SampleConfig, f"checkpoint={run}").data.open("test")


def test_used_latents_vary_from_image_to_image(run: Path) -> None:
    vae, source = vae_of(run), load_source(run)
    with torch.no_grad():
        vae.posterior.head.weight[:4] = 0.0
        vae.posterior.head.weight[2] = 100.0
        vae.posterior.layers = torch.nn.ModuleList()
    assert used_latents(vae, source, range(20), 8, 0, 8) == [2]


def test_samples_and_a_walk_through_two_latents(run: Path, tmp_path: Path) -> None:
    of = [f"checkpoint={run}", f"output={tmp_path}"]
    use(sample, configure("sample", SampleConfig, *of, "n=4", "temperature=[1]"))
    assert (tmp_path / "T1.00_seed0.png").exists()
    text = use(sample, configure("sample", SampleConfig, *of, "walk=[3,1]"))
    assert "latent 3 changes from row to row, latent 1 from column to column" in text
    with Image.open(tmp_path / "walk_3_1.png") as picture:
        assert picture.height > 11 * 16
    for wrong in ("[0,4]", "[1]", "[1,1]", "[0,1,2]"):
        with pytest.raises(UserError, match="give two of the model's latents, numbers from 0 to 3, such as walk=0,1"):
            use(sample, configure("sample", SampleConfig, *of, f"walk={wrong}"))
    with pytest.raises(UserError, match="walk=0,1 is for a VAE, and faces64 is a Glow: leave it out"):
        use(sample, configure("sample", SampleConfig, "checkpoint=faces64", f"output={tmp_path}", "walk=[0,1]"))


def test_interpolations_are_between_reconstructions(run: Path, tmp_path: Path) -> None:
    options = [f"checkpoint={run}", f"output={tmp_path}", "images=[sample:0,'1']", "steps=3"]
    text = use(interpolate, configure("interpolate", InterpolateConfig, *options))
    assert "end points: as the VAE reconstructs them, which is never exact" in text
    assert list(tmp_path.glob("*.gif"))


def exported(*arguments: str) -> None:
    config = configure("export", ExportConfig, *arguments)  # type: ignore[type-var]
    export(config, None, Console(quiet=True))


def test_an_export_is_a_model_again_and_no_decoder(run: Path, tmp_path: Path) -> None:
    of = [f"checkpoint={run}", f"output={tmp_path / 'mine'}"]
    exported(*of)
    expected, again = load(run).sample(2), load(tmp_path / "mine").sample(2)
    assert torch.equal(expected, again)
    card = (tmp_path / "mine" / "README.md").read_text()
    assert "with a bound of likelihoods" in card
    assert "glow-demo" not in card
    with pytest.raises(UserError, match="leave out format="):
        exported(*of, "format=torch")


@pytest.mark.parametrize(
    ("command", "function", "schema", "options"),
    [
        ("score", score, ScoreConfig, []),
        ("directions", directions, DirectionsConfig, []),
        ("edit", edit, EditConfig, ["images=['0']", "sweep=[Smiling]"]),
        ("restore", restore, RestoreConfig, ["images=['0']", "mask=left"]),
        ("evaluate", compare, EvaluateConfig, ["compare=[{run},faces64]"]),
    ],
)
def test_commands_for_flows_refuse_it(
    run: Path, tmp_path: Path, command: str, function: Callable[..., None], schema: type, options: list[str]
) -> None:
    given = [f"checkpoint={run}", f"output={tmp_path}", *(option.format(run=run) for option in options)]
    with pytest.raises(UserError, match=r"is a VAE, without exact densities and latents: glow-evaluate"):
        use(function, configure(command, schema, *given))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["quality.measure=true"], r"quality=true is for flows, and the model is a VAE: leave it out"),
        (["solver='euler:5'"], r"solver=euler:5 is for continuous flows, and .* is a VAE: leave it out"),
    ],
)
def test_options_for_flows_are_refused(run: Path, tmp_path: Path, options: list[str], message: str) -> None:
    given = [f"checkpoint={run}", f"output={tmp_path}", *options]
    with pytest.raises(UserError, match=message):
        use(evaluate, configure("evaluate", EvaluateConfig, *given))


def test_its_page_leaves_out_what_needs_a_density(run: Path, tmp_path: Path) -> None:
    text = use(report, configure("report", ReportConfig, f"run={run}", f"output={tmp_path}", "n_images=4"))
    left_out = [line.split()[0] for line in text.splitlines() if "left out: for flows, and this is a VAE" in line]
    assert left_out == [
        "temperatures", "bits", "reconstruction", "conditioning", "neighbours", "edits", "quality", "scores",
    ]  # fmt: skip
    assert "logistic mixture" in (tmp_path / "report.html").read_text()
