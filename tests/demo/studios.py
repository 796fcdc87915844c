"""A small model with directions and images, for tests of the demo page."""

from pathlib import Path

import torch

from glow_app.artifacts.weights import export
from glow_app.artifacts.weights import load as load_exported
from glow_app.data.sets.drawn_faces import DrawnFaces
from glow_app.demo.studio import Studio
from glow_app.latents.directions import Directions
from glow_app.model import Model
from tests.artifacts.test_weights import card_of
from tests.flows.models import small_glow

EYES = (0.368, 0.49, 0.632, 0.49)
"""Of drawn faces."""

ATTRIBUTES = ("Rare", "Weak", "Strong")


def small_model(folder: Path, **options: object) -> Model:
    flow = small_glow((3, 16, 16), dtype=torch.float32, **options)
    export(flow, card_of(flow), folder)
    return Model(load_exported(folder))


def some_directions(model: Model) -> Directions:
    """Three attributes; the first is known from so few images that its distance says nothing."""
    torch.manual_seed(0)
    unit = torch.nn.functional.normalize(torch.randn(3, model.flow.n_dims))
    distance = torch.tensor([10.0, 1.0, 3.0])[:, None]
    counts = [{"with": 2, "without": 1000}, {"with": 5000, "without": 5000}, {"with": 5000, "without": 5000}]
    return Directions(
        ATTRIBUTES, unit, torch.zeros_like(unit), distance * unit, torch.ones(3), tuple(model.flow.latent_shapes),
        "balanced", model.digest, {"images": 10_000, "counts": dict(zip(ATTRIBUTES, counts, strict=True))},
    )  # fmt: skip


def small_studio(folder: Path) -> Studio:
    model = small_model(folder)
    return Studio(model, some_directions(model), DrawnFaces("test", image_size=16, n_images=8), seed=0)
