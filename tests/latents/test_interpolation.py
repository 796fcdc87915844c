"""Paths between latents, by hand."""

import math

import pytest
import torch
from torch import Tensor

from glow_app.latents.interpolation import between, chain, square


def point(*values: float) -> list[Tensor]:
    """Latents of two levels, the second twice the first."""
    first = torch.tensor(values, dtype=torch.float32).view(1, -1, 1, 1)
    return [first, 2 * first]


def test_a_straight_line_by_hand() -> None:
    fine, coarse = between(point(0, 0), point(1, 4), steps=5, path="linear")
    assert fine[:, :, 0, 0].tolist() == [[0, 0], [0.25, 1], [0.5, 2], [0.75, 3], [1, 4]]
    assert torch.equal(coarse, 2 * fine)


def test_the_spherical_path_by_hand() -> None:
    fine, _ = between(point(1, 0), point(0, 1), steps=3, path="spherical")
    half = math.sqrt(0.5)
    assert torch.allclose(fine[:, :, 0, 0], torch.tensor([[1, 0], [half, half], [0, 1]]))


def test_the_spherical_path_keeps_the_length_of_samples() -> None:
    torch.manual_seed(0)
    a, b = torch.randn(1, 3, 32, 32), torch.randn(1, 3, 32, 32)
    lengths = {path: between([a], [b], 9, path)[0].flatten(1).norm(dim=1) for path in ("linear", "spherical")}
    assert (lengths["spherical"] / a.norm() - 1).abs().max() < 0.05
    assert abs(lengths["linear"][4] / a.norm() - math.sqrt(0.5)) < 0.05


@pytest.mark.parametrize("path", ["linear", "spherical"])
@pytest.mark.parametrize("end", [[-1.0, 0.0], [1.0, 0.0], [0.0, 0.0], [0.3, -0.7]])
def test_end_points_are_exact_and_nothing_is_undefined(path: str, end: list[float]) -> None:
    start = point(1.0, 1e-8)
    for z, first, last in zip(between(start, point(*end), 7, path), start, point(*end), strict=True):
        assert torch.equal(z[:1], first)
        assert torch.equal(z[-1:], last)
        assert torch.isfinite(z).all()


def test_a_chain_has_every_point_once() -> None:
    points = [point(0), point(2), point(-2)]
    fine, _ = chain(points, steps=3, path="linear")
    assert fine.flatten().tolist() == [0, 1, 2, 0, -2]


def test_a_square_has_its_corners_where_they_belong() -> None:
    corners = [point(0, 0), point(1, 0), point(0, 1), point(1, 1)]  # (right, down)
    fine, _ = square(corners, steps=3, path="linear")
    grid = fine[:, :, 0, 0].view(3, 3, 2)
    assert torch.equal(grid[:, :, 0], torch.tensor([0, 0.5, 1]).expand(3, 3))
    assert torch.equal(grid[:, :, 1], torch.tensor([0, 0.5, 1])[:, None].expand(3, 3))


def test_an_unknown_path_is_named() -> None:
    with pytest.raises(ValueError, match="path is 'round'; choose one of linear, spherical"):
        between(point(0), point(1), 2, "round")
