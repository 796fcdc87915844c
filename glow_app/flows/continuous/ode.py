"""The bijection of a continuous flow: an equation solved from the data to the base, with its log-determinant."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from glow_app import noise
from glow_app.flows.bijection import Bijection
from glow_app.flows.continuous.field import VectorField
from glow_app.flows.continuous.solver import Solver

TRACES = ("exact", "hutchinson")

Velocity = Callable[[Tensor], Tensor]
"""A vector field at one time: (B, C, H, W) -> (B, C, H, W)."""


def probes(x: Tensor, n: int, seed: int = 0) -> Tensor:
    """Draws numbers -1 or 1 with equal probability, (n, B, C, H, W), for each sample a function of (seed, its values).

    So a sample's estimate depends neither on its batch nor on a generator's state, and those of two samples, or of one
    with another draw of the dequantization noise, are independent.

    Args:
        x: (B, C, H, W).
        n: number of probes.
        seed: seed.
    """
    # The 32 bits of float32 values, with odd random factors so that their order counts.
    words = x.detach().float().contiguous().view(torch.int32).flatten(1).long()
    factors = noise.random_bits(
        0, noise.Stream.PROBE, torch.zeros(1, dtype=torch.int64, device=x.device), words.shape[1]
    )
    bits = noise.random_bits(seed, noise.Stream.PROBE, (words * (factors | 1)).sum(1), n * words.shape[1])
    return (1 - 2 * (bits & 1)).to(x.dtype).view(len(x), n, *x.shape[1:]).transpose(0, 1)


def along(velocity: Velocity, x: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
    """Returns ``v(x)``, (B, C, H, W), and ``u^T J`` for each direction u, (n, B, C, H, W), by backward differentiation.

    Args:
        velocity: the field at one time.
        x: (B, C, H, W).
        directions: (n, B, C, H, W).
    """
    differentiable = torch.is_grad_enabled()
    with torch.enable_grad():
        if not (differentiable and x.requires_grad):
            x = x.detach().requires_grad_()
        value = velocity(x)
        products = [
            torch.autograd.grad(
                value, x, u, create_graph=differentiable, retain_graph=differentiable or i + 1 < len(directions)
            )[0]
            for i, u in enumerate(directions)
        ]
    return (value, torch.stack(products)) if differentiable else (value.detach(), torch.stack(products))


class NeuralODE(Bijection):
    """``z = x(0)`` of the equation ``dx/dt = v(t, x)`` with ``x(1) = x``; Chen et al. 2018, Grathwohl et al. 2019.

    ``log|det dz/dx| = - int_0^1 tr(dv/dx) dt`` (Chen et al. 2018, theorem 1). ``inverse`` solves from 0 to 1. Both
    are exact up to the solver's tolerance.

    The trace is ``exact``, by D products of unit vectors and the Jacobian, or Hutchinson's estimate, the mean of
    ``u^T J u`` over ``n_probes`` vectors u of random signs, which stay the same for a whole solve (Grathwohl et al.
    2019, sec. 3.1): the log-determinant is then unbiased, and its variance is a part of the result.

    Args:
        field: the vector field.
        solver: method and tolerances.
        trace: ``exact`` or ``hutchinson``.
        n_probes: vectors of Hutchinson's estimate.

    Attributes:
        solver: method and tolerances; may be replaced at any time.
        probe_seed: seed of the vectors of Hutchinson's estimate.
        n_evaluations: evaluations of the field in the last solve.

    Raises:
        ValueError: there is no such trace.
    """

    def __init__(self, field: VectorField, solver: Solver, trace: str = "exact", n_probes: int = 1) -> None:
        super().__init__()
        if trace not in TRACES:
            raise ValueError(f"trace is {trace!r}; choose one of {', '.join(TRACES)}")
        self.field = field
        self.solver = solver
        self.trace, self.n_probes = trace, n_probes
        self.probe_seed = 0
        self.n_evaluations = 0

    def settings(self) -> dict[str, str | int | float]:
        """Returns how densities are computed, for reports and files."""
        solver = self.solver
        steps = {"rtol": solver.rtol, "atol": solver.atol} if solver.is_adaptive else {"n_steps": solver.n_steps}
        probes = {"n_probes": self.n_probes, "probe_seed": self.probe_seed} if self.trace == "hutchinson" else {}
        return {"method": solver.method, **steps, "trace": self.trace, **probes}

    def forward(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        z, logdet, _ = self._solve_with_integrals(x, cond, (1.0, 0.0), energies=False)
        return z, logdet

    def forward_with_energies(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Returns ``z``, the log-determinant (B,) and, (B, 2), the energies of Finlay et al. 2020, sec. 3, over D.

        These are ``int |v|^2 dt``, the kinetic energy, and ``int |dv/dx|_F^2 dt``, that of the Jacobian, which is
        estimated by the same vectors as the trace. Small ones let a solver take large steps.
        """
        return self._solve_with_integrals(x, cond, (1.0, 0.0), energies=True)

    def inverse(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        return self.solve(z, (0.0, 1.0), cond)

    def inverse_with_logdet(self, z: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x, logdet, _ = self._solve_with_integrals(z, cond, (0.0, 1.0), energies=False)
        return x, logdet

    def initialize(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        # A new field is zero whatever the time, and moves nothing: one evaluation tells, where a solve takes dozens.
        return self.solve(x, (1.0, 0.0), cond) if self.field(x.new_tensor(0.5), x, cond).any() else x

    def solve(self, x: Tensor, times: tuple[float, float], cond: Tensor | None = None) -> Tensor:
        """Returns the state at the second time, given that at the first, (B, C, H, W), without a log-determinant."""

        def derivative(t: Tensor, state: Tensor) -> Tensor:
            return self.field(t, state.view(x.shape), cond).flatten(1)

        state, self.n_evaluations = self.solver.solve(
            derivative, x.flatten(1), times, x[0].numel(), self.field.parameters()
        )
        return state.view(x.shape)

    def _solve_with_integrals(
        self, x: Tensor, cond: Tensor | None, times: tuple[float, float], energies: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        n_dims = x[0].numel()
        directions = self._directions(x)
        sign = -1.0 if times[1] < times[0] else 1.0

        def derivative(t: Tensor, state: Tensor) -> Tensor:
            here = state[:, :n_dims].view(x.shape)
            value, products = along(lambda x: self.field(t, x, cond), here, directions)
            trace = self._mean((directions * products).flatten(2).sum(2))
            integrands = [trace]
            if energies:
                squares = self._mean(products.square().flatten(2).sum(2))
                integrands += [sign * value.flatten(1).square().mean(1), sign * squares / n_dims]
            return torch.cat([value.flatten(1), torch.stack(integrands, 1)], 1)

        start = torch.cat([x.flatten(1), x.new_zeros(len(x), 3 if energies else 1)], 1)
        state, self.n_evaluations = self.solver.solve(derivative, start, times, n_dims, self.field.parameters())
        return state[:, :n_dims].view(x.shape), state[:, n_dims], state[:, n_dims + 1 :]

    def _directions(self, x: Tensor) -> Tensor:
        """Returns all unit vectors, (D, B, C, H, W), or the probes of Hutchinson's estimate."""
        if self.trace == "hutchinson":
            return probes(x, self.n_probes, self.probe_seed)
        n_dims = math.prod(x.shape[1:])
        units = torch.eye(n_dims, dtype=x.dtype, device=x.device).view(n_dims, 1, *x.shape[1:])
        return units.expand(n_dims, *x.shape)

    def _mean(self, products: Tensor) -> Tensor:
        """Sums (n, B) over unit vectors, or averages over probes."""
        return products.mean(0) if self.trace == "hutchinson" else products.sum(0)
