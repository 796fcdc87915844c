"""The pictures of the documents: one command makes all of them, the same again."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL.Image import Image

import glow_app
from benchmarks import pictures
from glow_app.latents.directions import Directions
from glow_app.model import Model

ROOT = Path(__file__).parents[2]
EMBEDDED = re.compile(r"!\[[^\]]*\]\(([^)#:\s]+\.(?:png|gif|jpg))\)")


def test_the_command_knows_every_picture() -> None:
    of_flows = (
        "autoregressive.md",
        "distillation.md",
        "energies.md",
        "equal_terms.md",
        "family.md",
    )  # their pictures are of runs that they tell how to start
    documents = [ROOT / "README.md", *(path for path in (ROOT / "docs").glob("*.md") if path.name not in of_flows)]
    shown = {(path.parent / name).resolve() for path in documents for name in EMBEDDED.findall(path.read_text())}
    names = {path.relative_to(ROOT).as_posix() for path in shown}
    assert {"docs/samples.png", "docs/demo.png"} <= names
    assert {name for name in names if not name.startswith("benchmarks/results/")} <= set(pictures.PICTURES)


@pytest.fixture
def model(run: Path) -> Model:
    return glow_app.load(run)


@pytest.mark.parametrize(
    ("make", "width"),
    [(pictures.samples, 8), (pictures.temperatures, 8), (pictures.interpolation, pictures.STEPS)],
)
def test_the_same_again_is_the_same(model: Model, make: Callable[[Model], Image], width: int) -> None:
    first, second = make(model), make(model)
    assert first.tobytes() == second.tobytes()
    assert first.width > 96 * width


def test_each_attribute_has_a_row(model: Model) -> None:
    names = ("Smiling", "Young", "Bangs")
    units = torch.nn.functional.normalize(torch.randn(3, model.flow.n_dims, generator=torch.manual_seed(0)))
    made = Directions(
        names, units, torch.zeros_like(units), 9 * units, torch.ones(3, dtype=torch.float64),
        tuple(model.flow.latent_shapes), "mean_difference", model.digest, {},
    )  # fmt: skip
    assert pictures.edited(model, made).height == 2 + 13 + 6 + 2 * 98  # of the two of them that are shown
