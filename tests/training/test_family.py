"""Glow's relatives in runs and in the commands that use a model: whatever works with Glow works with them."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from glow_app.artifacts.card import read_card
from glow_app.commands.evaluate import evaluate
from glow_app.commands.export import export
from glow_app.commands.interpolate import interpolate
from glow_app.commands.sample import sample
from glow_app.config.commands import EvaluateConfig, ExportConfig, SampleConfig
from glow_app.config.editing import InterpolateConfig
from glow_app.data.sets.drawn_faces import DrawnFaces
from glow_app.errors import UserError
from glow_app.flows import search
from glow_app.model import load
from glow_app.training.checkpoints.format import checkpoints_of
from tests.commands.using import configure as configure_use
from tests.commands.using import use
from tests.data.sets.test_mnist import write
from tests.training.runs import FAMILY, QUIET, SHORTEST, configure, find, smallest_of, train

SHORT = ["max_steps=4", "validate_every=4", "samples_every=4", "checkpoint_every=2"]


@pytest.fixture(scope="module", params=FAMILY)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of four steps on drawn faces."""
    folder = tmp_path_factory.mktemp(request.param)
    text = train(smallest_of(request.param, folder, *SHORT), folder / "run")
    assert f"model     {request.param.replace('_', ' ')}, " in text.lower()
    return folder / "run"


def test_commands_take_it(run: Path, tmp_path: Path) -> None:
    of = [f"checkpoint={run}", f"output={tmp_path}"]
    told = use(evaluate, configure_use("evaluate", EvaluateConfig, *of, "n_images=8", "gap_images=0"))
    assert "bits/dim" in told
    # What the figure consists of.
    layers = (
        "DiagonalScaling",
        "PlanarLayer",
        "MarginalGaussianization",
        "MaskedCoupling",
        "MaskedAutoregressive",
        "Inverse",
        "Mint",
        "NeuralODE",
    )
    assert any(layer in told for layer in layers)
    told = use(sample, configure_use("sample", SampleConfig, *of, "n=4", "temperature=[0.0,0.7]"))
    assert ("steps of search in each of 4 layers" in told) == (load(run).card.model.name == "mintnet")
    told = use(interpolate, configure_use("interpolate", InterpolateConfig, *of, "images=[0,1]", "steps=3"))
    assert "2 of 2 reconstructed exactly" in told


def test_it_is_loaded_as_it_was_trained(run: Path) -> None:
    model = load(run)
    faces = torch.stack([DrawnFaces("test", 16, n_images=2)[i] for i in range(2)])
    assert torch.equal(model.decode(model.encode(faces)), faces)
    assert torch.equal(model.sample(2, seed=1)[1], model.sample(1, seed=1, first=1)[0])
    card, _ = read_card(run / "model")
    assert card.model == model.card.model
    assert card.weights == "averaged"


@pytest.mark.slow
def test_a_resumed_run_ends_at_the_same_bits(run: Path, tmp_path: Path) -> None:
    """Running averages, and the average of these, included."""
    again = tmp_path / "run"
    shutil.copytree(run, again)
    first, last = checkpoints_of(again)
    expected = torch.load(last, weights_only=True)
    name = load(run).card.model.name
    train(smallest_of(name, tmp_path, *SHORT), *find(first))
    found = torch.load(checkpoints_of(again)[-1], weights_only=True)
    assert all(torch.equal(value, found["state_dict"][key]) for key, value in expected["state_dict"].items())
    assert (again / "model" / "model.safetensors").read_bytes() == (run / "model" / "model.safetensors").read_bytes()


@pytest.mark.slow
def test_its_decoder_is_exported(run: Path, tmp_path: Path) -> None:
    config = configure_use("export", ExportConfig, f"checkpoint={run}", f"output={tmp_path}", "format=torch")
    refused = {
        "cnf": "this CNF decodes by a solver, which a file cannot hold: leave out format=",
        "gaussianization": "this Gaussianization decodes by a search, which a file cannot hold: leave out format=",
        "mintnet": "this MintNet decodes by a search, which a file cannot hold",
        "maf": "this MAF decodes 768 numbers one after the other",
    }
    if (name := load(run).card.model.name) in refused:
        with pytest.raises(UserError, match=refused[name]):
            export(config, None, QUIET)
        return
    assert "differs from the model by at most" in use(lambda config, console: export(config, None, console), config)


@pytest.mark.slow
def test_labels_condition_it_and_mnist_is_read(tmp_path: Path) -> None:
    write(tmp_path / "mnist")
    options = [option for option in SHORTEST if not option.startswith("data.")]
    data = [f"data.root={tmp_path / 'mnist'}", "data.validation=4", f"data.cache_folder={tmp_path / 'cache'}"]
    small = [
        *options,
        *SHORT,
        "max_steps=2",
        "trainer.batch_size=4",
        "data=mnist",
        *data,
        "model.class_conditional=true",
    ]
    for name, model in FAMILY.items():
        text = train(configure(*small, "data=mnist", *data, *model), tmp_path / name)
        assert "test: " in text
        assert load(tmp_path / name).sample(2, label=3).shape == (2, 1, 32, 32)


def test_batch_normalisation_refuses_what_it_cannot() -> None:
    for option in ("model.memory=reversible", "trainer.cuda_graph=true"):
        with pytest.raises(UserError, match=r"normalisation=actnorm"):
            configure(*FAMILY["real_nvp"], option, "trainer.accelerator=gpu", "data.image_size=16")


def test_keys_are_those_of_the_model() -> None:
    with pytest.raises(UserError, match=r"unknown key model.n_couplings"):
        configure("model=real_nvp", "+model.n_couplings=3")
    with pytest.raises(UserError, match=r"is not divisible by 8, which model.n_levels=4 needs: choose 32"):
        configure("model=real_nvp", "data.image_size=30")
    with pytest.raises(UserError, match=r"model.name=nise is not one of"):
        configure("model.name=nise")
    with pytest.raises(
        UserError, match=r"model.kernel_size=4: a masked kernel has a pixel in its middle; choose 3 or 5"
    ):
        configure("model=mintnet", "model.kernel_size=4")
    with pytest.raises(UserError, match=r"model.memory=reversible is not one of plain, checkpoint"):
        configure("model=mintnet", "model.memory=reversible")
    with pytest.raises(UserError, match=r"data=two_moons are points, which have no levels: set model.n_levels=1"):
        configure("model=mintnet", "data=two_moons")


def test_an_unknown_architecture_is_told(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run / "model", tmp_path / "model")
    path = tmp_path / "model" / "model.json"
    content = json.loads(path.read_text())
    content["model"]["name"] = "flow++"
    path.write_text(json.dumps(content))
    known = "cnf, gaussianization, glow, iaf, maf, mintnet, nice, own, planar, plane, radial, real_nvp"
    with pytest.raises(UserError, match=rf"model.name=flow\+\+ is not one of {known}"):
        load(tmp_path)


def test_a_glow_of_emerging_convolutions_is_trained_and_drawn_from(tmp_path: Path) -> None:
    glow = ["model.permutation=emerging", "model.n_levels=2", "model.n_steps=1", "model.width=8"]
    config = configure(*SHORTEST, *SHORT, *glow, f"data.cache_folder={tmp_path / 'cache'}")
    assert "emerging permutation" in train(config, tmp_path / "run")
    of = [f"checkpoint={tmp_path / 'run'}", f"output={tmp_path}"]
    assert "AutoregressiveConv" in use(evaluate, configure_use("evaluate", EvaluateConfig, *of, "gap_images=0"))
    use(sample, configure_use("sample", SampleConfig, *of, "n=4"))
    with pytest.raises(UserError, match="this EmergingGlow decodes 768 numbers one after the other"):
        export(configure_use("export", ExportConfig, *of, "format=torch"), None, QUIET)


def test_a_search_that_fails_ends_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told, and images count as not reconstructed; a command that needs the inverse ends in one line."""
    monkeypatch.setattr(search, "MOST_STEPS", (1, 1))
    said = train(smallest_of("mintnet", tmp_path, *SHORT), tmp_path / "run")
    assert "a picture is not drawn: the inverse of a masked convolution was not found for" in said
    assert "reconstructed exactly 0%" in said
    of = [f"checkpoint={tmp_path / 'run'}", f"output={tmp_path}"]
    assert "test" in use(evaluate, configure_use("evaluate", EvaluateConfig, *of, "n_images=4", "gap_images=0"))
    with pytest.raises(UserError, match=r"not found for \d+ of \d+ samples within 2 steps .* lower temperature"):
        use(sample, configure_use("sample", SampleConfig, *of, "n=4"))
