"""Curves of edits over the amount, and where they succeed equally often."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from glow_app.data.sets.drawn_faces import DrawnFaces
from glow_app.evaluation.editing.curves import BREAKS, Group, Point, at_success, curve, group
from glow_app.evaluation.editing.editors import Encoded
from glow_app.model import Model, load
from tests.evaluation.test_edits import Brightness


@pytest.fixture
def model(run: Path) -> Model:
    return load(run)


def test_equal_success_by_hand() -> None:
    points = [Point(0.5, 0.2, 0.1, 0.3, 0), Point(1.0, 0.6, 0.3, 0.5, 0.1), Point(2.0, 0.5, 0.9, 0.9, 0.2)]
    assert at_success(points, 0.4) == pytest.approx((0.75, 0.4, 0.2, 0.4, 0.05))
    assert at_success(points, 0.1) == pytest.approx((0.25, 0.1, 0.05, 0.15, 0))
    assert at_success(points, 0.9) is None


def test_a_group_has_both_kinds_and_what_the_judge_sees_rightly(model: Model) -> None:
    faces = DrawnFaces("test", 16, n_images=40)
    judge = Brightness(faces.image_shape, faces.attribute_names, ("mouth_curvature",))
    images = group(model, judge, faces, range(4, 40), "Smiling", 12, seed=0)
    assert images is not None and 0 < len(images.has) <= 12
    assert torch.equal(images.logits[:, 0] > 0, images.has.bool())
    assert len(images.encoded.images) == len(images.has) == len(images.bits)
    torch.testing.assert_close(images.bits, model.bits_per_dim(images.encoded.images).double())


def test_a_curve_by_hand(model: Model) -> None:
    """Brightness is the attribute, so that adding grey levels flips the judge exactly when they suffice."""
    names = ("Smiling", "Male")
    judge = Brightness(model.image_shape, names, ("mouth_curvature",))
    images = torch.stack([torch.full(model.image_shape, level, dtype=torch.uint8) for level in (100, 120, 140, 160)])
    has = torch.tensor([0, 0, 1, 1])
    encoded = Encoded(images, [], None)
    bits = model.bits_per_dim(images).double()
    start = Group("Smiling", encoded, has, judge(images).logits, bits)

    def brighter(encoded: Encoded, name: str, amounts: Tensor) -> tuple[Tensor, Tensor]:
        assert name == "Smiling"
        moved = encoded.images + amounts[:, None, None, None]
        return moved.to(torch.uint8), torch.tensor([True, True, True, amounts[3] > -35])

    near, far, farther = curve(model, judge, brighter, start, (5.0, 30.0, 40.0), seed=0)
    assert (near.success, near.broken, near.drift) == (0, 0, 0)
    assert (far.success, far.broken) == (0.75, 0)  # 100 becomes 130, 120 150, 140 110, but 160 only 130
    assert (farther.success, farther.broken) == (0.75, 0.25)  # 160 would become 120, but is not finite
    moved = torch.stack([images[0] + 5, images[1] + 5, images[2] - 5, images[3] - 5])
    rises = model.bits_per_dim(moved).double() - bits
    assert near.rise == pytest.approx(rises.median().item())


def test_a_picture_that_breaks_down_does_not_succeed(model: Model) -> None:
    judge = Brightness(model.image_shape, ("Smiling", "Male"), ("mouth_curvature",))
    images = torch.full((2, *model.image_shape), 100, dtype=torch.uint8)
    start = Group("Smiling", Encoded(images, [], None), torch.zeros(2).long(), judge(images).logits, torch.zeros(2))
    bright = torch.full_like(images, 200)
    rises = model.bits_per_dim(bright).double() - torch.tensor([0.0, 1e3])

    def edit(encoded: Encoded, name: str, amounts: Tensor) -> tuple[Tensor, Tensor]:
        return bright, torch.ones(2, dtype=torch.bool)

    assert rises[0] > BREAKS
    before = start._replace(bits=torch.tensor([0.0, 1e3]).double())
    (found,) = curve(model, judge, edit, before, (1.0,), seed=0)
    assert (found.success, found.broken) == (0.5, 0.5) and found.rise == pytest.approx(rises[1].item())
