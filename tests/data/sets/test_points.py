"""Points in the plane: their densities are densities, and the points have them."""

import math
import pickle

import pytest
import torch

from glow_app.data.sets.densities import CENTRES, ENERGIES, Checkerboard, Mixture, plane_density
from glow_app.data.sets.points import DRAWING_VERSION, SPLIT_SIZES, Points
from glow_app.data.stream import InOrder
from glow_app.errors import UserError
from glow_app.evaluation.density import Square

NOISE = {"two_moons": 0.2, "rings": 0.15, "spiral": 0.15, "eight_gaussians": 0.35, "checkerboard": 0.1}
NOISE |= dict.fromkeys(ENERGIES, 0.0)


def points(name: str, split: str = "train", n: int = 2000, seed: int = 0) -> Points:
    return Points(name, split, NOISE[name], seed, n)


def test_all_have_a_noise_here() -> None:
    assert set(NOISE) == {*CENTRES, *ENERGIES, "checkerboard"}


@pytest.mark.parametrize("name", NOISE)
def test_the_density_integrates_to_one(name: str) -> None:
    # Of the order of the noise is fine enough: sums of smooth functions over a grid converge at once.
    square = Square(side=12.0, cells=72)
    total = square.integral(plane_density(name, NOISE[name]).log_density(square.centres()))
    assert total == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("name", NOISE)
def test_points_are_where_the_density_says(name: str) -> None:
    """A histogram of coarse fields, against the density added up over each of them: chi-squared."""
    source = points(name, n=20_000)
    fine = Square(side=12.0, cells=96)
    mass = plane_density(name, NOISE[name]).log_density(fine.centres()).exp().view(12, 8, 12, 8).sum((1, 3)) / 64
    field = ((source.points + 6).clamp(0, 11.99)).long()
    counts = torch.zeros(12, 12, dtype=torch.float64)
    counts.index_put_((field[:, 1], field[:, 0]), torch.ones(len(source), dtype=torch.float64), accumulate=True)
    expected = mass * len(source)
    often = expected > 10
    chi_squared = ((counts - expected).square() / expected)[often].sum().item()
    freedom = int(often.sum())
    assert freedom > 15
    assert chi_squared < freedom + 5 * math.sqrt(2 * freedom)


def test_the_points_of_this_version() -> None:
    """When this fails because the drawing was changed on purpose: raise DRAWING_VERSION and pin the new points."""
    expected = torch.tensor([[-2.932763, 0.292513], [-2.885289, -0.584503], [-0.232302, 1.212256]])
    assert DRAWING_VERSION == 1
    assert torch.allclose(points("two_moons", "test", n=3).points, expected, rtol=0, atol=2e-6)


def test_a_sharp_checkerboard_is_uniform() -> None:
    board = Checkerboard(noise=0.0)
    source = Points("checkerboard", "test", 0.0, n_points=1000)
    assert torch.allclose(board.log_density(source.points), torch.tensor(-math.log(32), dtype=torch.float64))
    assert board.log_density(torch.tensor([[-3.0, -1.0], [5.0, 0.0]])).tolist() == [-math.inf, -math.inf]


def test_one_gaussian_is_the_normal_density() -> None:
    centre = torch.tensor([[1.0, -2.0]], dtype=torch.float64)
    x = torch.tensor([[1.0, -2.0], [2.0, 0.0]])
    normal = torch.distributions.Normal(centre, 0.5)
    assert torch.allclose(Mixture(centre, 0.5).log_density(x), normal.log_prob(x.double()).sum(1))


def test_points_depend_on_seed_and_number_alone() -> None:
    longer, shorter = points("rings", n=100), points("rings", n=10)
    assert torch.equal(longer.points[:10], shorter.points)
    others = [points("rings", seed=1), points("rings", "val"), points("rings", "test")]
    assert len({tuple(source.points[0].tolist()) for source in [longer, *others]}) == 4
    assert torch.equal(pickle.loads(pickle.dumps(longer)).points, longer.points)


def test_it_is_a_source_like_any_other() -> None:
    source = points("spiral", "val", n=5)
    batch = InOrder(source, seed=0).__getitems__([3, 1])
    assert (batch.images.shape, batch.images.dtype, batch.labels) == ((2, 2, 1, 1), torch.float32, None)
    assert torch.equal(batch.images[0], source[3])
    assert source.item_name(3) == "spiral_0_10000003"
    assert source.fingerprint() != points("spiral", "val", n=5, seed=1).fingerprint()
    assert len(Points("spiral", "val", 0.1)) == SPLIT_SIZES["val"]


def test_energies_are_those_of_the_paper() -> None:
    """Table 1 of Rezende & Mohamed 2015, written down again for single points, where the wall is not reached."""

    def table(a: float, b: float) -> list[float]:
        w1 = math.sin(2 * math.pi * a / 4)
        w2 = 3 * math.exp(-0.5 * ((a - 1) / 0.6) ** 2)
        w3 = 3 / (1 + math.exp(-(a - 1) / 0.3))
        of_ring = math.exp(-0.5 * ((a - 2) / 0.6) ** 2) + math.exp(-0.5 * ((a + 2) / 0.6) ** 2)
        return [
            0.5 * ((math.hypot(a, b) - 2) / 0.4) ** 2 - math.log(of_ring),
            0.5 * ((b - w1) / 0.4) ** 2,
            -math.log(math.exp(-0.5 * ((b - w1) / 0.35) ** 2) + math.exp(-0.5 * ((b - w1 + w2) / 0.35) ** 2)),
            -math.log(math.exp(-0.5 * ((b - w1) / 0.4) ** 2) + math.exp(-0.5 * ((b - w1 + w3) / 0.35) ** 2)),
        ]

    for a, b in [(0.0, 0.0), (1.3, -0.7), (-2.1, 0.4), (3.9, -2.5)]:
        x = torch.tensor([[a, b]], dtype=torch.float64)
        found = [energy(x).item() for energy in ENERGIES.values()]
        assert found == pytest.approx(table(a, b), rel=1e-12)


@pytest.mark.parametrize("name", list(ENERGIES))
def test_log_z_is_that_of_another_rule(name: str) -> None:
    """Simpson's, on another square."""
    density = plane_density(name, 0.0)
    at = torch.linspace(-9, 9, 601, dtype=torch.float64)
    weights = torch.tensor([2.0, 4.0], dtype=torch.float64).repeat(301)[:601]
    weights[[0, -1]] = 1.0
    weights *= (at[1] - at[0]) / 3
    z = torch.einsum(
        "i,j,ij->", weights, weights, torch.exp(-ENERGIES[name](torch.cartesian_prod(at, at))).view(601, -1)
    )
    assert density.log_normaliser == pytest.approx(math.log(z), abs=1e-6)


def test_a_curve_needs_noise() -> None:
    with pytest.raises(UserError, match=r"data\.noise=0: without noise rings is a curve or a few points, which"):
        Points("rings", "train", 0.0)
