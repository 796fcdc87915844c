"""Every model in ``checkpoints/``: it loads, it is as good as its card says, and its directions point the right way."""

import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

import glow_app
from glow_app import figures
from glow_app.artifacts import shipped
from glow_app.commands.export import COLUMNS, N_SAMPLES
from glow_app.commands.reports.model_card import SPLITS, TERMS
from glow_app.config.data import CelebAConfig, DrawnFacesConfig
from glow_app.data.source import ImageSource
from glow_app.evaluation.likelihood import Likelihood
from glow_app.likelihood import seen
from glow_app.model import Model
from tests.data.layouts import real_data
from tests.guards.command_lines import composed

N = 32
"""Images, evenly spaced in their split: photographs that lie side by side are alike."""

N_PHOTOGRAPHS = 400
"""Photographs whose attributes are measured; few of the first 32 have glasses."""

MOST_BYTES = 16_000_000

NAMES = sorted(path.name for path in shipped.folder("checkpoints").iterdir() if path.is_dir())


def test_there_are_those_that_commands_and_guides_name() -> None:
    assert set(NAMES) == set(shipped.models()) == {"celeba64", "faces64"}


@pytest.fixture(scope="module", params=NAMES)
def model(request: pytest.FixtureRequest) -> Model:
    return glow_app.load(request.param)


def made_first(name: str) -> pytest.MarkDecorator | tuple[()]:
    """Slow, where the images are not the program's own."""
    return () if glow_app.load(name).card.data["name"] == "drawn_faces" else pytest.mark.slow


@pytest.fixture(scope="module", params=[pytest.param(name, marks=made_first(name)) for name in NAMES])
def measured(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Model, ImageSource]:
    """A model, and images that it was not trained on: drawn ones, or those of its data set where that is present."""
    model = glow_app.load(request.param)
    data = model.card.data
    if data["name"] == "drawn_faces":
        return model, DrawnFacesConfig(**data).open("test")
    script, place = real_data("make_celeba64_faces.py"), tmp_path_factory.mktemp("celeba")
    subprocess.run([sys.executable, str(script), str(place)], check=True)
    return model, CelebAConfig(**data | {"root": str(place / "celeba64_faces"), "cache": False}).open("val")


def test_it_is_as_good_as_its_card_says(measured: tuple[Model, ImageSource]) -> None:
    model, faces = measured
    words = dict(SPLITS)[faces.split]
    told = {key: model.card.metrics[f"{faces.split}/{key}"] for key in ("bits_per_dim", "standard_error", "images")}
    assert f"| bits/dim, {words} | {told['bits_per_dim']:.4f} ± {told['standard_error']:.4f} " in card(model)
    images = faces.fetch(evenly_spaced(faces, N))
    reached = Likelihood(model.bits_per_dim(images).double())
    # Three standard errors of the mean of N images, with the spread that the card's own error implies.
    error = told["standard_error"] * (told["images"] / N) ** 0.5
    assert abs(reached.mean - told["bits_per_dim"]) < 3 * error
    assert error / 2 < reached.standard_error < 2 * error
    assert torch.equal(model.decode(model.encode(images)), seen(images, model.n_bits))


def test_its_samples_are_those_of_its_card(model: Model) -> None:
    with Image.open(model.folder / "samples.png") as file:
        shown = file.convert("RGB")
    again = figures.grid(model.sample(N_SAMPLES, temperature=0.7, seed=0), COLUMNS)
    assert again.size == shown.size
    difference = abs(np.asarray(again, dtype=float) - np.asarray(shown, dtype=float))
    assert difference.mean() < 0.5  # another processor rounds otherwise


def test_its_card_says_what_it_is(model: Model) -> None:
    text, options = card(model), model.card.model
    for part in (
        f"# {model.folder.name}\n",
        f"\n{TERMS[model.card.data['name']]}\n",
        f"`{model.card.data['name']}`: {model.card.preprocessing}",
        f"| architecture | {options.shape} |",
        "](samples.png)",
    ):
        assert part in text
    assert (model.folder / "samples.png").read_bytes().startswith(b"\x89PNG")
    commands = re.findall(r"```sh\n(glow-train .*)\n```", text)
    assert commands == [model.card.command]
    config, _ = composed(commands[0])
    shape = {key: config.model[key] for key in ("n_levels", "n_steps", "width", "coupling", "permutation", "scale")}
    assert shape == {key: getattr(options, key) for key in shape}
    assert (config.data.name, config.data.image_size) == (model.card.data["name"], model.image_shape[1])
    assert config.max_steps == model.card.step
    assert sum(path.stat().st_size for path in model.folder.rglob("*")) < MOST_BYTES


def test_its_directions_point_the_right_way(measured: tuple[Model, ImageSource]) -> None:
    model, faces = measured
    assert faces.attributes is not None
    drawn = model.card.data["name"] == "drawn_faces"
    chosen = evenly_spaced(faces, N if drawn else N_PHOTOGRAPHS)
    latents = model.encode(faces.fetch(chosen))
    for method in ("mean_difference", "balanced", "discriminant"):
        directions = glow_app.load_directions(model.folder.name, method)
        directions.require(model.digest)
        assert set(directions.names) == set(faces.attribute_names)
        measured = directions.measure(latents)
        for name in ("Smiling", "Eyeglasses", "Male", "Young"):
            has = faces.attributes[chosen, faces.attribute_names.index(name)].bool()
            amounts = measured[:, directions.column(name)]
            with_it, without = amounts[has], amounts[~has]
            error = (with_it.var() / len(with_it) + without.var() / len(without)).sqrt()
            # Directions of 6,000 photographs fit these very ones in part, and others lie less far apart along them.
            assert with_it.mean() - without.mean() > (0.5 if drawn else 3 * error), (method, name)
            assert f"| {name} | " in card(model)


def evenly_spaced(faces: ImageSource, n: int) -> list[int]:
    return torch.linspace(0, len(faces) - 1, n).long().tolist()


def card(model: Model) -> str:
    return (model.folder / "README.md").read_text()
