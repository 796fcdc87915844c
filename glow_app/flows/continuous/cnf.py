"""Continuous normalizing flows: one level whose map solves an equation, trained by likelihood or by flow matching."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor

from glow_app import noise
from glow_app.flows.bijection import Bijection, Chain
from glow_app.flows.continuous.field import VectorField
from glow_app.flows.continuous.ode import NeuralODE
from glow_app.flows.continuous.solver import Solver
from glow_app.flows.flow import Flow
from glow_app.flows.pixel_affine import LOGS_FACTOR, log_determinant, standardizing

GOLDEN = -7046029254386353131
"""The golden ratio's fractional part, 0.618..., in units of 2**-64; int64 sums wrap as fractional parts do."""


class Standardisation(Bijection):
    """``y = (x - mean) / std`` per channel, set from data once and not learned; log|det| per pixel is ``-sum log std``.

    Args:
        n_channels: C.
    """

    mean: Tensor
    log_std: Tensor

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(n_channels))
        self.register_buffer("log_std", torch.zeros(n_channels))

    def forward(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        y = (x - self.mean[:, None, None]) * torch.exp(-self.log_std)[:, None, None]
        return y, log_determinant(-self.log_std.sum(), x)

    def inverse(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        return z * torch.exp(self.log_std)[:, None, None] + self.mean[:, None, None]

    def initialize(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        bias, logs = standardizing(x)
        self.mean.copy_(-bias)
        self.log_std.copy_(-LOGS_FACTOR * logs)
        return self(x)[0]


class CNF(Flow):
    """A continuous normalizing flow: x -> :class:`Standardisation` -> :class:`NeuralODE` -> z, as large as x.

    The standardisation is not learned: flow matching compares velocities in its output, which must not shrink.
    Densities are exact up to the solver's tolerance and, where the trace is Hutchinson's, up to its estimate, which is
    unbiased.

    >>> import torch
    >>> from glow_app.flows import CNF, MLPField, initialize
    >>> flow = CNF((2, 1, 1), MLPField(2, width=16, n_hidden=2))
    >>> points = torch.randn(100, 2)[:, :, None, None]
    >>> initialize(flow, points)
    >>> [z], logdet = flow(points)
    >>> torch.allclose(flow.inverse([z]), points, atol=1e-4)
    True

    Args:
        image_shape: (C, H, W); points in the plane are (2, 1, 1).
        field: the vector field, of images of that shape.
        solver: method and tolerances; None: dopri5 at 1e-5.
        trace: ``exact``, which takes D products of the Jacobian, or ``hutchinson``.
        n_probes: vectors of Hutchinson's estimate.
        n_classes: number of classes that the field knows.
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        field: VectorField,
        solver: Solver | None = None,
        trace: str = "exact",
        n_probes: int = 1,
        n_classes: int = 0,
    ) -> None:
        n_channels, height, width = image_shape
        ode = NeuralODE(field, solver or Solver(), trace, n_probes)
        level = Chain([Standardisation(n_channels), ode])
        super().__init__(image_shape, [level], [(n_channels, height, width)], n_classes=n_classes)

    @property
    def standardisation(self) -> Standardisation:
        """The first layer."""
        return cast(Standardisation, cast(Chain, self.levels[0]).steps[0])

    @property
    def ode(self) -> NeuralODE:
        """The layer that solves the equation."""
        return cast(NeuralODE, cast(Chain, self.levels[0]).steps[1])

    @property
    def conditioner_dtype(self) -> torch.dtype | None:
        """The dtype in which the vector field computes; None is that of the trunk."""
        return self.ode.field.compute_dtype

    def set_conditioner_dtype(self, dtype: torch.dtype | None) -> None:
        self.ode.field.compute_dtype = dtype

    def log_prob_with_energies(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Returns log p(x) in nats, (B,), and the energies (B, 2) of :meth:`NeuralODE.forward_with_energies`."""
        self.check_initialized()
        y, logdet = self.standardisation(x)
        z, ode_logdet, energies = self.ode.forward_with_energies(y, cond)
        return self.base.log_prob([z]) + logdet + ode_logdet, energies


def spread_times(seed: int, positions: Tensor) -> Tensor:
    """Returns a time in (0, 1) for each sample, spread evenly over any run of consecutive positions: float64 (B,).

    Position p has the fractional part of ``u + p g``, a random u and the golden ratio's g = 0.618...: a Kronecker
    sequence, in which gaps have at most three lengths.
    """
    nowhere = torch.zeros(1, dtype=torch.int64, device=positions.device)
    fraction = noise.random_bits(seed, noise.Stream.PATH_TIME, nowhere, 1)[0] + positions * GOLDEN
    return (((fraction >> 12) & (2**52 - 1)).to(torch.float64) + 0.5) / 2**52


def flow_matching_loss(
    flow: CNF,
    x: Tensor,
    seed: int,
    positions: Tensor,
    cond: Tensor | None = None,
    start: Tensor | None = None,
) -> Tensor:
    """Computes the loss of conditional flow matching, ``|v(t, (1 - t) x0 + t x1) - (x1 - x0)|^2 / D``: (B,).

    x1 are the standardised images and x0 standard normal numbers, functions of (seed, position); t is spread evenly
    over [0, 1] (:func:`spread_times`). Its minimum is the field ``E[x1 - x0 | x_t]``, whose equation
    moves the normal distribution to that of the data. Lipman et al. 2023, sec. 4.1 (optimal-transport path, with
    sigma_min = 0); Liu et al. 2023, eq. 1.

    Args:
        flow: the flow whose field is trained.
        x: (B, C, H, W) dequantized images.
        seed: seed of x0 and t.
        positions: int64 (B,), each image's position in the stream.
        cond: int64 (B,) class labels of a conditional flow.
        start: x0, (B, C, H, W), where it goes with x, as a flow's latents with its samples; None: independent of x.
    """
    flow.check_initialized()
    x1, _ = flow.standardisation(x)
    x0 = start
    if x0 is None:
        x0 = noise.normal(seed, noise.Stream.PATH_START, positions, flow.n_dims).to(x.dtype).view(x.shape)
    t = spread_times(seed, positions).to(x.dtype)
    at = t[:, None, None, None]
    velocity = flow.ode.field(t, (1 - at) * x0 + at * x1, cond)
    return (velocity - (x1 - x0)).square().flatten(1).mean(1)
