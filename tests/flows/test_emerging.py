"""Emerging convolutions: who sees whom, that the triangle is solved, and a Glow with them."""

import pytest
import torch
from torch import Tensor

from glow_app.flows import AutoregressiveConv, EmergingConv, EmergingGlow, Glow, Reversed, initialize
from glow_app.flows.emerging import convolve, solve
from tests.contracts.bijections import perturb

C, H, W = 3, 3, 4


def trained(layer: torch.nn.Module) -> torch.nn.Module:
    torch.manual_seed(0)
    perturb(layer.double(), 0.3)
    return layer


def matrix(layer: torch.nn.Module) -> Tensor:
    """The Jacobian (N, N), whose rows and columns are numbers in the order of rows, columns and channels."""
    x = torch.randn(1, H, W, C, dtype=torch.float64)

    def in_order(x: Tensor) -> Tensor:
        return layer(x.permute(0, 3, 1, 2))[0].permute(0, 2, 3, 1)

    return torch.autograd.functional.jacobian(in_order, x).reshape(H * W * C, H * W * C)  # type: ignore[arg-type]


def places() -> Tensor:
    """Row, column and channel of every number, in order: (N, 3)."""
    return torch.cartesian_prod(torch.arange(H), torch.arange(W), torch.arange(C))


@pytest.mark.parametrize("kernel_size", [1, 3, 5])
def test_who_sees_whom(kernel_size: int) -> None:
    """By brute force, for all pixels and channels."""
    reach = kernel_size // 2
    row, column, channel = (places()[:, None] - places()).unbind(2)  # of the output, less that of the input
    quarter = (row >= 0) & (row <= reach) & (column >= 0) & (column <= reach)
    expected = quarter & ~((row == 0) & (column == 0) & (channel < 0))
    layer = AutoregressiveConv(C, kernel_size)
    found = matrix(trained(layer)) != 0
    assert torch.equal(found, expected)
    assert not found.triu(1).any()
    assert torch.equal(matrix(Reversed(layer)) != 0, expected.flip(0, 1))
    around = (row.abs() <= reach) & (column.abs() <= reach)
    assert torch.equal(matrix(trained(EmergingConv(C, kernel_size))) != 0, around)


def test_the_diagonal_is_positive_whatever_is_learned() -> None:
    layer = AutoregressiveConv(C).double()
    perturb(layer, 5.0)
    assert torch.allclose(matrix(layer).diagonal(), layer.log_s.exp().repeat(H * W))


@pytest.mark.parametrize(("height", "width", "side"), [(1, 1, 2), (1, 5, 2), (5, 1, 2), (4, 3, 3), (2, 7, 1)])
def test_the_triangle_is_solved(height: int, width: int, side: int) -> None:
    torch.manual_seed(0)
    kernel = torch.randn(C, C, side, side, dtype=torch.float64)
    kernel[:, :, -1, -1] = kernel[:, :, -1, -1].tril(-1) + torch.diag(torch.rand(C, dtype=torch.float64) + 0.5)
    x = torch.randn(2, C, height, width, dtype=torch.float64)
    z = convolve(kernel, x)
    assert z.shape == x.shape
    assert (solve(kernel, z) - x).abs().max() < 1e-9


@torch.no_grad()
def test_a_glow_with_them_starts_near_the_one_without_and_inverts() -> None:
    torch.manual_seed(0)
    x = torch.rand(64, 3, 8, 8, dtype=torch.float64) - 0.5
    glow = EmergingGlow((3, 8, 8), n_levels=2, n_steps=2, width=8).double()
    initialize(glow, x)
    latents, logdet = glow(x[:4])
    assert (glow.inverse(latents) - x[:4]).abs().max() < 1e-10
    assert glow.decodes_in_turn
    _, parts = glow.decompose(x[:4])
    assert (sum(part for level in parts for part in level.values()) - logdet).abs().max() < 1e-9
    assert "AutoregressiveConv" in parts[0]
    plain = Glow((3, 8, 8), n_levels=2, n_steps=2, width=8).double()
    initialize(plain, x)
    assert (glow.log_prob(x[:4]) - plain.log_prob(x[:4])).abs().max() < 0.1 * glow.n_dims
    assert not plain.decodes_in_turn


@pytest.mark.parametrize("kernel_size", [0, 2, 4])
def test_an_even_kernel_is_refused(kernel_size: int) -> None:
    with pytest.raises(ValueError, match=f"kernel_size is {kernel_size}: a masked kernel has a pixel in its middle"):
        EmergingConv(C, kernel_size)
