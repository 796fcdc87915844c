"""Edits along directions and in the pixels."""

from pathlib import Path

import pytest
import torch

from glow_app.data.sets.drawn_faces import DrawnFaces
from glow_app.evaluation.editing.editors import (
    Encoded,
    along,
    exchanged_directions,
    in_pixels,
    pixel_differences,
    random_directions,
)
from glow_app.latents.directions import Directions
from glow_app.model import Model, load


@pytest.fixture
def model(run: Path) -> Model:
    return load(run)


@pytest.fixture
def directions(model: Model) -> Directions:
    n = sum(torch.Size(shape).numel() for shape in model.flow.latent_shapes)
    generator = torch.Generator().manual_seed(7)
    units = torch.randn(3, n, generator=generator)
    units /= units.norm(dim=1, keepdim=True)
    lengths = torch.tensor([[1.0], [2.0], [3.0]])
    names, shapes = ("Smiling", "Male", "Young"), tuple(model.flow.latent_shapes)
    return Directions(names, units, 0 * units, lengths * units, torch.ones(3), shapes, "balanced", model.digest, {})


def test_controls_are_as_long_as_what_they_replace(directions: Directions) -> None:
    for control in (random_directions(directions, 0), exchanged_directions(directions)):
        assert control.vectors.norm(dim=1).tolist() == pytest.approx([1, 2, 3], rel=1e-5)
    unlike = random_directions(directions, 0)
    assert (unlike.units * directions.units).sum(1).abs().max() < 0.3
    assert not torch.equal(unlike.units, random_directions(directions, 1).units)
    torch.testing.assert_close(exchanged_directions(directions).units, directions.units[[1, 2, 0]])


def test_pixel_differences_by_hand() -> None:
    faces = DrawnFaces("test", 16, n_images=40)
    images = faces.fetch(list(range(10, 40))).double()
    for name in ("Male", "Smiling"):
        has = faces.attributes[10:40, faces.attribute_names.index(name)].bool()
        expected = images[has].mean(0) - images[~has].mean(0)
        torch.testing.assert_close(pixel_differences(faces, range(10, 40), [name], batch_size=7)[0], expected)


def test_pixels_move_by_amount_and_gain_and_stay_grey_levels(model: Model) -> None:
    difference = torch.zeros(1, *model.image_shape, dtype=torch.float64)
    difference[0, :, 0] = 40
    edit = in_pixels(model, ["Male"], difference, torch.tensor([2.0]))
    images = torch.full((2, *model.image_shape), 200, dtype=torch.uint8)
    edited, finite = edit(Encoded(images, [], None), "Male", torch.tensor([0.5, -1.0]))
    assert edited.dtype == torch.uint8 and finite.all()
    assert edited[0, :, 0].unique().tolist() == [240] and edited[1, :, 0].unique().tolist() == [120]
    assert torch.equal(edited[:, :, 1:], images[:, :, 1:])
    assert edit(Encoded(images, [], None), "Male", torch.tensor([5.0, 5.0]))[0].max() == 255


def test_latents_move_along_directions(model: Model, directions: Directions) -> None:
    images = model.sample(2, seed=1)
    encoded = Encoded(images, model.encode(images), None)
    assert torch.equal(along(model, directions)(encoded, "Male", torch.zeros(2))[0], images)
    edited, finite = along(model, directions)(encoded, "Male", torch.tensor([0.0, 3.0]))
    assert finite.all() and torch.equal(edited[0], images[0]) and not torch.equal(edited[1], images[1])
