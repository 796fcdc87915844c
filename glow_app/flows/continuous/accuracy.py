"""The accuracy of a continuous flow's densities: errors of its solver and of Hutchinson's estimate."""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from glow_app.flows.continuous.cnf import CNF
from glow_app.flows.continuous.solver import Solver

REFERENCE_TOLERANCE = 1e-6
"""Tolerance of the solve that others are compared with: float32 carries no more."""


@dataclass(frozen=True)
class Accuracy:
    """The cost of a solver and the errors of its densities.

    Attributes:
        n_evaluations: evaluations of the field for the densities of the last batch.
        solver_errors: ``log p`` minus that of another method at a tolerance of 1e-6, in nats: (N,).
        probe_deviation: standard deviation of ``log p`` of one sample over the probes of Hutchinson's estimate, in
            nats, by the root mean square over samples; 0 for an exact trace.
    """

    n_evaluations: int
    solver_errors: Tensor
    probe_deviation: float


@torch.no_grad()
def accuracy(flow: CNF, x: Tensor, cond: Tensor | None = None, n_draws: int = 4) -> Accuracy:
    """Compares densities with those of dopri8 (of dopri5, if the flow's own is dopri8) and of other probes.

    Args:
        flow: the flow.
        x: (B, C, H, W) dequantized images.
        cond: int64 (B,) class labels of a conditional flow.
        n_draws: draws of the probes.
    """
    ode, own = flow.ode, flow.log_prob(x, cond)
    n_evaluations = ode.n_evaluations
    other = "dopri5" if ode.solver.method == "dopri8" else "dopri8"
    reference = dataclasses.replace(ode.solver, method=other, rtol=REFERENCE_TOLERANCE, atol=REFERENCE_TOLERANCE)
    with _replaced(flow, reference, ode.probe_seed):
        errors = own - flow.log_prob(x, cond)
    deviation = 0.0
    if ode.trace == "hutchinson":
        draws = [own]
        for draw in range(1, n_draws):
            with _replaced(flow, ode.solver, ode.probe_seed + draw):
                draws.append(flow.log_prob(x, cond))
        deviation = torch.stack(draws).double().var(0).mean().sqrt().item()
    return Accuracy(n_evaluations, errors.double().cpu(), deviation)


@contextmanager
def _replaced(flow: CNF, solver: Solver, probe_seed: int) -> Iterator[None]:
    ode = flow.ode
    before = ode.solver, ode.probe_seed
    ode.solver, ode.probe_seed = solver, probe_seed
    try:
        yield
    finally:
        ode.solver, ode.probe_seed = before
