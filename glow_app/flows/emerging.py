"""Emerging convolutions: two autoregressive ones, which look in opposite directions, make one that looks around."""

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.grad import conv2d_weight

from glow_app.flows.bijection import Bijection, Chain
from glow_app.flows.glow import FlowStep, Glow
from glow_app.flows.pixel_affine import log_determinant


class AutoregressiveConv(Bijection):
    """A convolution that sees the pixels above and to the left, and at the pixel itself the channels up to its own.

    So its matrix is triangular, in the order of rows, columns and channels. The weights of a number for itself are
    ``exp(log_s)``, never 0, and log|det| per pixel is ``sum(log_s)``. Hoogeboom, van den Berg & Welling 2019, sec. 3.1.
    ``inverse`` solves the triangle exactly, in float64, one diagonal of pixels after the other: H + W - 1 steps.

    Starts near the identity: the other weights are drawn from N(0, 0.02), as in the authors' code.

    Args:
        n_channels: C.
        kernel_size: side of the square, odd, whose upper left quarter the convolution sees: (k + 1) / 2 of its rows
            and columns.

    Raises:
        ValueError: ``kernel_size`` is even or below 1.
    """

    def __init__(self, n_channels: int, kernel_size: int = 3) -> None:
        super().__init__()
        check_odd(kernel_size)
        side = (kernel_size + 1) // 2
        self.weight = nn.Parameter(0.02 * torch.randn(n_channels, n_channels, side, side))
        """(to, from, row, column); of the last row and column, the pixel itself, only the lower triangle is used."""
        self.log_s = nn.Parameter(torch.zeros(n_channels))

    def kernel(self) -> Tensor:
        """Returns the weights of the convolution, (C, C, (k + 1) / 2, (k + 1) / 2)."""
        itself = self.weight[:, :, -1:, -1:]
        triangle = itself[:, :, 0, 0].tril(-1) + torch.diag(self.log_s.exp())
        # A sum, not an assignment, so that it is differentiable.
        return self.weight + F.pad(triangle[:, :, None, None] - itself, (self.weight.shape[3] - 1, 0) * 2)

    def forward(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return convolve(self.kernel(), x), log_determinant(self.log_s.sum(), x)

    def inverse(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        return cast(Tensor, _Solution.apply(self.kernel().double(), z.double())).to(z.dtype)


class Reversed(Bijection):
    """A bijection in the opposite order of rows, columns and channels: ``z.flip = inside(x.flip)``.

    Args:
        inside: a bijection that keeps the shape.
    """

    def __init__(self, inside: Bijection) -> None:
        super().__init__()
        self.inside = inside

    def forward(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        z, logdet = self.inside(turned(x), cond)
        return turned(z), logdet

    def inverse(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        return turned(self.inside.inverse(turned(z), cond))

    def initialize(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        return turned(self.inside.initialize(turned(x), cond))

    def decompose(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        z, parts = self.inside.decompose(turned(x), cond)
        return turned(z), parts


class EmergingConv(Chain):
    """An invertible k x k convolution: an :class:`AutoregressiveConv`, then one in the opposite order.

    Together they see all k x k pixels around, and all channels of these. Hoogeboom, van den Berg & Welling 2019,
    sec. 3.1, who put a 1x1 convolution before it, see :class:`EmergingGlow`.
    Two departures from their code: a diagonal of ``exp(log_s)``, which is free there and may reach 0, and no bias, for
    which there is ActNorm.

    Args:
        n_channels: C.
        kernel_size: k, odd.

    Raises:
        ValueError: ``kernel_size`` is even or below 1.
    """

    def __init__(self, n_channels: int, kernel_size: int = 3) -> None:
        first, second = (AutoregressiveConv(n_channels, kernel_size) for _ in range(2))
        super().__init__([first, Reversed(second)])


class EmergingGlow(Glow):
    """A Glow with an :class:`EmergingConv` of 3x3 after each 1x1 convolution: Hoogeboom et al. 2019, sec. 5.

    It starts near a Glow, since these convolutions start near the identity; ``inverse`` solves their triangles. The
    arguments are those of :class:`glow_app.flows.Glow`; ``permutation`` is what comes before them.
    """

    decodes_in_turn = True

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        for step in [module for module in self.modules() if isinstance(module, FlowStep)]:
            step.coupling = Chain([EmergingConv(len(step.actnorm.bias)), step.coupling])


def check_odd(kernel_size: int) -> None:
    """Raises ValueError for a kernel without a pixel in its middle."""
    if kernel_size < 1 or kernel_size % 2 == 0:
        raise ValueError(f"kernel_size is {kernel_size}: a masked kernel has a pixel in its middle; choose 1, 3, 5 ...")


def turned(x: Tensor) -> Tensor:
    """Returns (B, C, H, W) with rows, columns and channels in the opposite order."""
    return x.flip(1, 2, 3)


def convolve(kernel: Tensor, x: Tensor) -> Tensor:
    """Convolves (B, C, H, W) with a kernel (C, C, s, s) whose last row and column is the pixel itself."""
    return F.conv2d(_padded(x, kernel.shape[-1] - 1), kernel)


def solve(kernel: Tensor, z: Tensor) -> Tensor:
    """Returns the ``x`` with ``convolve(kernel, x) == z``: (B, C, H, W), in the dtype of both.

    All pixels of a diagonal, from lower left to upper right, depend on earlier diagonals alone, and are solved at once.

    Args:
        kernel: (C, C, s, s), whose last row and column is a lower triangular matrix.
        z: (B, C, H, W).
    """
    (n_images, n_channels, height, width), side = z.shape, kernel.shape[-1]
    triangle = kernel[:, :, -1, -1]
    # Of what is seen, (row, column, channel) in one; the last C belong to the pixel itself.
    others = kernel.permute(2, 3, 1, 0).reshape(-1, n_channels)[:-n_channels]
    given = z.permute(0, 2, 3, 1)
    x = z.new_zeros(n_images, height + side - 1, width + side - 1, n_channels)
    steps = torch.arange(side, device=z.device)
    rows_seen, columns_seen = (steps.repeat_interleave(side)[:-1], steps.repeat(side)[:-1])
    for diagonal in range(height + width - 1):
        rows = torch.arange(max(0, diagonal - width + 1), min(height, diagonal + 1), device=z.device)
        columns = diagonal - rows
        seen = x[:, rows[:, None] + rows_seen, columns[:, None] + columns_seen].flatten(2)
        left = given[:, rows, columns] - seen @ others
        found = torch.linalg.solve_triangular(triangle, left.flatten(0, 1).T, upper=False)
        x[:, rows + side - 1, columns + side - 1] = found.T.unflatten(0, (n_images, -1))
    return x[:, side - 1 :, side - 1 :].permute(0, 3, 1, 2)


class _Solution(torch.autograd.Function):
    """:func:`solve`; its gradient solves the transposed triangle, which is one of the opposite order."""

    @staticmethod
    def forward(ctx: Any, kernel: Tensor, z: Tensor) -> Tensor:
        x = solve(kernel, z)
        ctx.save_for_backward(kernel, x)
        return x

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        kernel, x = ctx.saved_tensors
        grad_z = turned(solve(kernel.transpose(0, 1).flip(0, 1), turned(grad)))
        padded = _padded(x, kernel.shape[-1] - 1)
        return -conv2d_weight(padded, kernel.shape, grad_z), grad_z


def _padded(x: Tensor, margin: int) -> Tensor:
    """Returns ``x`` with zeros above and to the left."""
    return F.pad(x, (margin, 0, margin, 0))
