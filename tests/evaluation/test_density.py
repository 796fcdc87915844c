"""What can be seen of a flow in the plane is true of it."""

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from glow_app.data.sets.points import Points
from glow_app.evaluation import density_figures
from glow_app.evaluation.density import (
    Entropies,
    Square,
    as_images,
    decoded,
    drawn_latents,
    entropies,
    grid,
    log_density,
    portrait,
    stages,
)
from glow_app.flows import IAF, MAF, Gaussianization, MarginalGaussianization, PlanarFlow, Plane, RadialFlow, initialize
from tests.contracts.bijections import perturb


def flow(trained: bool = True, coupling: str = "affine", permutation: str = "lu", base: str = "normal") -> Plane:
    """Initialised on two moons; as if it were trained, if wanted."""
    torch.manual_seed(0)
    made = Plane(4, 16, coupling=coupling, permutation=permutation, base=base)
    initialize(made, as_images(Points("two_moons", "train", 0.2, n_points=500).points))
    if trained:
        perturb(made)
    return made.eval()


@pytest.mark.parametrize("how", [{"trained": False}, {}, {"coupling": "additive"}, {"permutation": "reverse"}])
def test_the_density_integrates_to_one(how: dict) -> None:
    made = flow(**how)
    square = Square(side=40.0, cells=400)
    assert square.integral(log_density(made, square.centres())) == pytest.approx(1, abs=0.01)


def test_integral_and_samples_outside_complete_each_other() -> None:
    made, square = flow(base="logistic"), Square(side=4.0, cells=200)
    integral = square.integral(log_density(made, square.centres()))
    outside = square.without(decoded(made, drawn_latents(made, 20_000, 1.0, seed=0)))
    assert 0.1 < outside < 0.9
    assert integral + outside == pytest.approx(1, abs=0.015)


def test_cells_are_in_the_order_of_a_picture_from_below() -> None:
    centres = Square(side=4.0, cells=2).centres()
    assert centres.tolist() == [[-1, -1], [1, -1], [-1, 1], [1, 1]]


def test_what_is_decoded_are_the_samples() -> None:
    made = flow()
    samples = decoded(made, drawn_latents(made, 50, 0.7, seed=3))
    assert torch.allclose(samples, made.sample(50, 0.7, seed=3).flatten(1))
    assert not decoded(made, drawn_latents(made, 5, 0.0, seed=3)).diff(dim=0).any()


def straight(before: Tensor, after: Tensor) -> bool:
    """Whether all points have moved along parallel lines."""
    return torch.linalg.svdvals(after - before)[1].item() < 1e-4


@pytest.mark.parametrize("kind", [MAF, IAF])
def test_stages_of_autoregressive_layers(kind: type[MAF]) -> None:
    torch.manual_seed(0)
    made = kind((2, 1, 1), n_layers=3, n_hidden=1, width=16)
    initialize(made, as_images(Points("two_moons", "train", 0.2, n_points=500).points))
    perturb(made)
    latents = drawn_latents(made.eval(), 200, 1.0, seed=0)
    found = stages(made, latents)
    assert found.shape == (4, 200, 2)
    assert torch.allclose(found[-1], decoded(made, latents), atol=1e-5)
    assert (found.diff(dim=0).abs().amax((1, 2)) > 0.01).all()


@pytest.mark.parametrize("direction", ["generating", "normalising"])
@pytest.mark.parametrize("kind", [PlanarFlow, RadialFlow])
def test_stages_of_planar_and_radial_layers(kind: type[PlanarFlow], direction: str) -> None:
    torch.manual_seed(0)
    made = kind((2, 1, 1), n_layers=3, direction=direction)
    initialize(made, as_images(Points("two_moons", "train", 0.2, n_points=500).points))
    perturb(made, 0.5)
    latents = drawn_latents(made.eval(), 200, 1.0, seed=0)
    found = stages(made, latents)
    assert found.shape == (4, 200, 2)
    assert torch.allclose(found[-1], decoded(made, latents), atol=1e-5)


def test_stages_of_a_gaussianization_become_normal_from_the_end() -> None:
    """Read backwards, each stage is the points after one more marginal layer, rotated back."""
    torch.manual_seed(0)
    points = Points("two_moons", "train", 0.2, n_points=500).points
    made = Gaussianization((2, 1, 1), n_layers=3, n_components=16).double()
    initialize(made, as_images(points).double())
    with torch.no_grad():
        latents = made(as_images(points).double())[0][0].flatten(1)
    found = stages(made, latents)
    assert (found[-1] - points).abs().max() < 1e-9
    first = next(layer for layer in made.modules() if isinstance(layer, MarginalGaussianization))
    assert (found[-2] - first(as_images(points).double())[0].flatten(1)).abs().max() < 1e-9
    assert (found[0].norm(dim=1) - latents.norm(dim=1)).abs().max() < 1e-9  # the latents, rotated


def test_stages_lead_from_an_affine_map_of_the_latents_to_the_points() -> None:
    made = flow()
    latents = drawn_latents(made, 200, 1.0, seed=0)
    found = stages(made, latents)
    assert found.shape == (5, 200, 2)
    assert torch.allclose(found[-1], decoded(made, latents), atol=1e-5)
    with_one = torch.cat([latents, torch.ones(200, 1)], 1)
    assert torch.allclose(with_one @ torch.linalg.lstsq(with_one, found[0]).solution, found[0], atol=1e-4)
    for before, after in pairwise(found):
        assert straight(before, after)
    assert not straight(found[0], found[-1])


def test_the_grid_has_upright_and_level_lines() -> None:
    lines = grid(3, reach=2.0, n_points=5)
    assert lines.shape == (6, 5, 2)
    assert lines[0, :, 0].tolist() == [-2.0] * 5
    assert lines[5, :, 1].tolist() == [2.0] * 5
    assert lines[5, :, 0].tolist() == [-2, -1, 0, 1, 2]


def test_entropies_are_compared_point_by_point() -> None:
    source = Points("eight_gaussians", "test", 0.35, n_points=400)
    true = -source.density.log_density(source.points)
    worse = entropies(source, (true + 0.25).float())
    assert worse.difference == pytest.approx(0.25, abs=1e-6)
    assert worse.error == pytest.approx(0, abs=1e-6)
    assert worse.flow - worse.data == pytest.approx(0.25, abs=1e-6)
    assert worse.text().startswith(f"entropy of the data: {worse.data:.4f} nats; the flow: {worse.flow:.4f} nats")


def test_a_portrait_is_the_same_each_time() -> None:
    made, data = flow(), Points("two_moons", "test", 0.2, n_points=60).points
    first, second = (
        density_figures.portrait(portrait(made, data, Square(10.0, 20), 50, n_lines=3), "log", "samples") for _ in "ab"
    )
    assert first.size == second.size == (960, 259)
    assert first.tobytes() == second.tobytes()


def test_a_film_has_a_frame_for_each_stage_and_some_between() -> None:
    made = flow()
    latents, lines = drawn_latents(made, 20, 1.0, seed=0), grid(2, n_points=3)
    warped = stages(made, lines.flatten(0, 1)).unflatten(1, lines.shape[:2])
    frames = density_figures.film(stages(made, latents), warped, latents, Square(10.0, 10), between=2)
    assert frames.shape == (9, 3, 345, 320)
    assert frames.dtype == torch.uint8
    assert (frames[0] != frames[-1]).any()


def test_of_one_point_no_error_is_told() -> None:
    assert Entropies(2.0, 2.5, 0.5, float("nan")).text().endswith("better by 0.5000")
    assert Entropies(2.0, 2.5, 0.5, 0.25).text().endswith("better by 0.5000 ± 0.2500")
