"""What edits do, with a judge whose verdicts are known beforehand."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from glow_app.data.sets.drawn_faces import DrawnFaces
from glow_app.evaluation import edits
from glow_app.evaluation.edits import decode, measure
from glow_app.evaluation.effects import Flips, drift, flips, outside
from glow_app.evaluation.judge import Judge, Verdict
from glow_app.latents.directions import Directions
from glow_app.model import Model, load

N = 12


class Brightness(Judge):
    """Says Smiling of what is bright, and of the other attributes always the same; sees brightness in the factor."""

    def forward(self, images: Tensor) -> Verdict:
        bright = images.float().mean((1, 2, 3)) - 128
        logits = torch.zeros(len(images), len(self.attributes))
        logits[:, 0] = bright
        return Verdict(logits, bright[:, None])


@pytest.fixture
def faces() -> DrawnFaces:
    return DrawnFaces("test", 16, n_images=N)


@pytest.fixture
def judge(faces: DrawnFaces) -> Judge:
    return Brightness(faces.image_shape, faces.attribute_names, ("mouth_curvature",))


@pytest.fixture
def model(run: Path) -> Model:
    return load(run)


def directions(model: Model, method: str, size: float) -> Directions:
    torch.manual_seed(0)
    n = sum(torch.Size(shape).numel() for shape in model.flow.latent_shapes)
    unit = torch.randn(1, n)
    unit /= unit.norm()
    shapes = tuple(model.flow.latent_shapes)
    return Directions(("Smiling",), unit, 0 * unit, size * unit, torch.ones(1), shapes, method, model.digest, {})


def test_flips_by_hand() -> None:
    labels = torch.tensor([0, 0, 0, 1, 1])
    before = torch.tensor([-1.0, -1.0, 1.0, 1.0, 1.0])  # the third is not what its label says
    after = torch.tensor([1.0, -1.0, 1.0, -1.0, -0.1])
    assert flips(labels, before, after) == Flips(4, 0.75, 0.5, 1.0)
    assert flips(labels[:3], before[:3], after[:3]) == Flips(2, 0.5, 0.5, None)
    assert flips(labels[:0], before[:0], after[:0]) == Flips(0, None, None, None)


def test_drift_by_hand() -> None:
    before = torch.tensor([[0.1, 0.5, 0.9], [0.2, 0.5, 0.9]])
    after = torch.tensor([[0.9, 0.7, 0.8], [0.9, 0.2, 0.8]])
    found = drift(before, after, edited=0)
    assert found[0].isnan()
    assert found[1:].tolist() == pytest.approx([0.25, 0.1])


def test_outside_by_hand() -> None:
    before = torch.full((3, 1, 2, 2), 100, dtype=torch.uint8)
    after = before.clone()
    after[:2, 0, 0, 0] = 130
    after[:2, 0, 1, 1] = 90
    regions = torch.zeros(3, 2, 2, dtype=torch.bool)
    regions[0, 0, 0] = regions[2, 0, 0] = True
    found = outside(before, after, regions)
    assert found[0].item() == pytest.approx(10 / 40)
    assert found[1:].isnan().all()  # no region; no change


def test_an_edit_of_nothing_turns_nothing(model: Model, judge: Judge, faces: DrawnFaces) -> None:
    measured = measure(model, judge, [directions(model, "balanced", 0.0)], faces, range(N), ["Smiling"], 1.0, 5)
    (one,) = measured.edits["balanced"]
    assert measured.exact == 1.0
    assert (measured.largest_error, measured.not_finite) == (0, 0)
    assert (one.images, one.not_finite, one.success, one.drift) == (N, 0, 0.0, 0.0)
    assert one.outside is None  # nothing changes
    assert one.followed is None  # and so nothing follows


def test_figures_follow_the_images(model: Model, judge: Judge, faces: DrawnFaces) -> None:
    one = directions(model, "balanced", 40.0)
    measured = measure(model, judge, [one], faces, range(2, N), ["Smiling"], 0.5, 4)
    (figures,) = measured.edits["balanced"]
    index = torch.arange(2, N)
    images = faces.fetch(index.tolist())
    labels = faces.attributes[index, 0]
    latents = model.encode(images)
    up, down = (model.decode(one.edit(latents, {"Smiling": sign * 0.5})) for sign in (1, -1))
    edited = torch.where(labels[:, None, None, None].bool(), down, up)
    expected = flips(labels, judge(images).logits[:, 0], judge(edited).logits[:, 0])
    assert (figures.judged, figures.success, figures.adding, figures.removing) == expected
    assert figures.images == len(index)
    assert figures.drift == 0.0
    assert figures.outside is not None and figures.outside_area is not None
    assert 0 < figures.outside <= 1
    sweep = [(judge(model.decode(one.edit(latents, {"Smiling": a / 2}))).factors[:, 0]) for a in (-1, -0.5, 0, 0.5, 1)]
    changes = torch.cat([seen - sweep[2] for seen in sweep])
    amounts = torch.tensor([-1, -0.5, 0, 0.5, 1]).repeat_interleave(len(index))
    assert figures.followed == pytest.approx(torch.corrcoef(torch.stack([amounts, changes]))[0, 1].item(), abs=1e-5)
    truth = faces.factors[index, faces.factor_names.index("mouth_curvature")]
    projections = one.measure(latents)[:, 0].float()
    assert figures.measured == pytest.approx(torch.corrcoef(torch.stack([projections, truth]))[0, 1].item(), abs=1e-5)


def test_the_size_of_the_batch_does_not_matter(model: Model, judge: Judge, faces: DrawnFaces) -> None:
    methods = [directions(model, "balanced", 20.0), directions(model, "mean_difference", 30.0)]
    told: list[tuple[int, int]] = []

    def progress(done: int, total: int) -> None:
        told.append((done, total))

    a, b = (measure(model, judge, methods, faces, range(N), ["Smiling"], 1.0, size, progress) for size in (N, 5))
    assert told[-3:] == [(5, N), (10, N), (N, N)]
    for method in a.edits:
        first, second = a.edits[method][0], b.edits[method][0]
        assert first.success == second.success
        assert first.outside == pytest.approx(second.outside, rel=1e-2)


def test_images_that_are_not_finite_are_counted_and_left_out(
    model: Model, judge: Judge, faces: DrawnFaces, monkeypatch: pytest.MonkeyPatch
) -> None:
    def third_is_lost(
        model: Model, latents: Sequence[Tensor], labels: Tensor | None, decode=decode
    ) -> tuple[Tensor, Tensor]:
        images, finite = decode(model, latents, labels)
        finite[2] = False
        return images, finite

    monkeypatch.setattr(edits, "decode", third_is_lost)
    measured = measure(model, judge, [directions(model, "balanced", 9.0)], faces, range(N), ["Smiling"], 1.0, N)
    (one,) = measured.edits["balanced"]
    assert (one.images, one.not_finite, measured.not_finite) == (N - 1, 1, 1)
    assert measured.exact == pytest.approx((N - 1) / N)


def test_a_latent_that_is_not_finite_comes_out_grey(model: Model, faces: DrawnFaces) -> None:
    latents = model.encode(faces.fetch([0, 1]))
    latents[0][1] = torch.inf
    images, finite = decode(model, latents, None)
    assert finite.tolist() == [True, False]
    assert torch.equal(images[0], faces[0])
    assert (images[1] == 128).all()
