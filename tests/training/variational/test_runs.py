"""A VAE in runs: the loss, its annealing, resuming, and what is refused."""

import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor

from glow_app.data.stream import Batch
from glow_app.errors import UserError
from glow_app.flows import VAE
from glow_app.model import load
from glow_app.training.begin import make_module
from glow_app.training.checkpoints.format import checkpoints_of
from glow_app.training.clock import Clock
from glow_app.training.trainer import Layout
from glow_app.training.variational.module import VAEModule
from tests.training.runs import SHORTEST, computed, configure, find, train

SHORT = ["max_steps=4", "validate_every=4", "samples_every=4", "checkpoint_every=2", "val_images=4", "test_images=4"]
SMALL = ["model=vae", "model.width=8", "model.n_latents=4", "model.n_layers=2", "model.n_components=2"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of four steps on drawn faces."""
    folder = tmp_path_factory.mktemp("vae")
    cache = f"data.cache_folder={folder / 'cache'}"
    text = train(configure(*SHORTEST, *SHORT, *SMALL, "anneal_steps=3", cache), folder / "run")
    assert "VAE, 4 latents, planar K=2 posterior, conv of width 8, logistic mixture" in text
    assert "nats: reconstruction" in text
    assert (folder / "run" / "samples" / "step_00000004_T0.70.png").exists()
    return folder / "run"


def test_the_bound_is_taken_apart(run: Path) -> None:
    [row] = [row for row in computed(run) if "val/kl_nats" in row]
    nats = row["val/bits_per_dim"] * 3 * 16 * 16 * torch.log(torch.tensor(2.0)).item()
    assert abs(row["val/reconstruction_nats"] + row["val/kl_nats"] - nats) < 1e-3 * nats
    assert any("train/annealed_bits_per_dim" in row for row in computed(run))
    assert 5 < row["val/bits_per_dim"] < 12


def test_a_resumed_run_ends_at_the_same_bits(run: Path, tmp_path: Path) -> None:
    again = tmp_path / "run"
    shutil.copytree(run, again)
    first, last = checkpoints_of(again)
    expected = torch.load(last, weights_only=True)["state_dict"]
    cache = f"data.cache_folder={tmp_path / 'cache'}"
    train(configure(*SHORTEST, *SHORT, *SMALL, "anneal_steps=3", cache), *find(first))
    found = torch.load(checkpoints_of(again)[-1], weights_only=True)["state_dict"]
    assert all(torch.equal(value, found[key]) for key, value in expected.items())


def test_it_is_exported_and_loaded(run: Path) -> None:
    model = load(run)
    assert isinstance(model.flow, VAE)
    faces = model.sample(3, temperature=1.0)
    assert faces.shape == (3, 3, 16, 16)
    latents = model.encode(faces)
    assert [tuple(z.shape) for z in latents] == [(3, 4, 1, 1)]
    assert model.interpolate(faces[0], faces[1], steps=5).shape == (5, 3, 16, 16)
    with pytest.raises(UserError, match="no exact density"):
        model.log_prob(faces)


def batch(n: int = 4) -> Batch:
    images = torch.randint(256, (n, 3, 16, 16), dtype=torch.uint8, generator=torch.manual_seed(0))
    return Batch(images, torch.arange(n), None)


def module(*options: str) -> VAEModule:
    config = configure("data.image_size=16", *SMALL, *options)
    torch.manual_seed(0)
    made = make_module(config.model.build((3, 16, 16), 0), config, Layout(1, 1), Clock(10, None))
    assert isinstance(made, VAEModule)
    return made


def loss_at(module: VAEModule, step: int, monkeypatch: pytest.MonkeyPatch) -> Tensor:
    monkeypatch.setattr(VAEModule, "global_step", step, raising=False)
    return module.bits_per_dim(batch())


def test_the_weight_of_the_joint_density_rises_as_published(monkeypatch: pytest.MonkeyPatch) -> None:
    annealed = module("anneal_steps=1000")
    losses = torch.stack([loss_at(annealed, step, monkeypatch) for step in (0, 500, 990, 5000)])
    betas = torch.tensor([0.01, 0.51, 1.0, 1.0])
    slope = (losses[2] - losses[0]) / 0.99
    assert torch.allclose(losses, losses[0] + (betas[:, None] - 0.01) * slope, rtol=1e-4)
    assert torch.allclose(losses[2], module().bits_per_dim(batch()), rtol=1e-5)
    assert torch.allclose(losses[2], annealed.eval().bits_per_dim(batch()), rtol=1e-5)


def test_noise_is_a_function_of_seed_and_position() -> None:
    made = module().eval()
    with torch.no_grad():
        together, alone = (
            made.bits_per_dim(batch()),
            made.bits_per_dim(Batch(batch().images[2:], torch.arange(2, 4), None)),
        )
        elsewhere = made.bits_per_dim(Batch(batch().images, torch.arange(4) + 1, None))
    assert torch.allclose(together[2:], alone, rtol=1e-5)
    assert (together - elsewhere).abs().min() > 1e-5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["model.likelihood=bernoulli"], r"likelihood=bernoulli is for images of two grey levels: set data.n_bits=1"),
        (["model.posterior=maf"], r"model.posterior=maf is not one of gaussian, planar, radial, iaf, coupling"),
        (["model.posterior=coupling", "model.n_latents=1"], r"n_latents=1: a coupling divides the numbers in two"),
        (["model.n_levels=3", "data.image_size=20"], r"data.image_size=20 is not divisible by 8"),
        (["trainer.precision=bf16"], r"trainer.precision=bf16 is for the networks of couplings"),
        (["trainer.compile=steps"], r"trainer.compile=steps: a VAE has no chain of steps"),
        (["trainer.accelerator=gpu", "trainer.cuda_graph=true"], r"cuda_graph=true: the loss of a VAE is annealed"),
        (["teacher=faces64"], r"model=vae has no exact density, and cannot learn that of a teacher"),
    ],
)  # fmt: skip
def test_what_it_cannot_is_refused(options: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        configure("data.image_size=16", "model=vae", *options)


def test_points_are_refused() -> None:
    with pytest.raises(UserError, match=r"data=two_moons are points in the plane, which model=vae cannot take"):
        configure("data=two_moons", "model=vae")


def test_annealing_is_for_it_and_for_distillation() -> None:
    assert configure("model=vae", "anneal_steps=10").anneal_steps == 10
    with pytest.raises(UserError, match="anneal_steps=10 is for glow-distill"):
        configure("model=tiny", "anneal_steps=10")


def test_binarised_images_have_two_grey_levels() -> None:
    mnist = ["data=mnist", "data.root=/data", "model=vae", "data.binarise=true"]
    with pytest.raises(UserError, match=r"data.binarise=true leaves two grey levels: set data.n_bits=1, not 8"):
        configure(*mnist)
    assert configure(*mnist, "data.n_bits=1", "model.likelihood=bernoulli").data.size == (32, 32)


@pytest.mark.slow
def test_loggers_that_take_pictures_get_samples(tmp_path: Path) -> None:
    cache = f"data.cache_folder={tmp_path / 'cache'}"
    train(configure(*SHORTEST, *SHORT, *SMALL, "logger=tensorboard", cache), tmp_path / "run")
    assert [path.name for path in (tmp_path / "run" / "samples").iterdir()] == ["step_00000004_T0.70.png"]
