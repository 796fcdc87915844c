"""Continuous flows in the plane: how far their densities are from the entropy, and the CPU time of their training.

    python -m benchmarks.continuous
    python -m benchmarks.continuous --data rings --matching 15000 --likelihood 600

Each distribution is learned by flow matching, and from there by likelihood, with averaged weights: the losses, fields
and solvers of ``glow-train``, in a plain loop on one thread. Results go to results/continuous_*.json, one for each
distribution; the exit status is 1 if a bound is missed.
"""

import argparse
import copy
import json
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.report import RESULTS, machine
from glow_app.data.sets.densities import PlaneDensity, plane_density
from glow_app.flows import CNF, MLPField, Solver, initialize
from glow_app.flows.continuous.cnf import flow_matching_loss

BOUNDS = {"two_moons": (0.2, 0.02), "rings": (0.15, 0.05)}
"""Noise of a distribution, and the nats above its entropy that are allowed."""

WIDTH, N_HIDDEN, BATCH, N_TEST = 128, 3, 512, 10_000
POOL = 100_000
"""Training points, as many as a data set of glow-train has."""


def drawn(density: PlaneDensity, n: int, seed: int) -> Tensor:
    """Points as images, (n, 2, 1, 1)."""
    generator = torch.Generator().manual_seed(seed)
    u = torch.rand(n, 3, generator=generator, dtype=torch.float64)
    return density.points(u, torch.randn(n, 2, generator=generator, dtype=torch.float64)).float()[:, :, None, None]


def excess(flow: CNF, density: PlaneDensity) -> tuple[float, float]:
    """Nats of test points above those by the true density, and the standard error; by dopri5 at 1e-5."""
    points = drawn(density, N_TEST, seed=1)
    flow.ode.solver = Solver("dopri5", 1e-5, 1e-5)
    with torch.no_grad():
        nats = torch.cat([flow.log_prob(part) for part in points.split(1000)]).double()
    above = density.log_density(points.flatten(1)) - nats
    return above.mean().item(), (above.std() / N_TEST**0.5).item()


def optimize(
    flow: CNF, loss: Callable[[Tensor, Tensor], Tensor], points: Tensor, n_steps: int, lr: float, decay: float
) -> CNF:
    """Trains by Adam with a one-cycle learning rate; returns the flow of averaged weights."""
    average = copy.deepcopy(flow)
    optimizer = torch.optim.Adam(flow.parameters(), lr=lr)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=n_steps, pct_start=0.05)
    order = torch.Generator().manual_seed(0)
    for step in range(n_steps):
        batch = points[torch.randint(len(points), (BATCH,), generator=order)]
        optimizer.zero_grad()
        loss(batch, torch.arange(BATCH) + step * BATCH).mean().backward()
        torch.nn.utils.clip_grad_norm_(flow.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        for mean, new in zip(average.parameters(), flow.parameters(), strict=True):
            mean.data.lerp_(new.data, 1 - min(decay, (step + 1) / (step + 10)))
    return average


def measure(data: str, matching: int, likelihood: int) -> dict[str, dict[str, float]]:
    """Trains on one distribution; returns the figures of both ways."""
    noise, _ = BOUNDS[data]
    density = plane_density(data, noise)
    torch.manual_seed(0)
    flow = CNF((2, 1, 1), MLPField(2, WIDTH, N_HIDDEN))
    points = drawn(density, POOL, seed=0)
    initialize(flow, points[:2048])
    found: dict[str, dict[str, float]] = {}
    seconds = 0.0

    def report(how: str, n_steps: int, start: float) -> None:
        nonlocal seconds
        seconds += time.process_time() - start
        nats, error = excess(flow, density)
        found[how] = {"above_entropy": nats, "standard_error": error, "cpu_seconds": seconds, "steps": n_steps}
        print(
            f"{data}, {how}: {nats:.4f} ± {error:.4f} nats above the entropy, {seconds:.0f} s of CPU time", flush=True
        )

    start = time.process_time()
    trained = flow
    flow = optimize(trained, lambda x, at: flow_matching_loss(trained, x, 0, at), points, matching, 4e-3, 0.999)
    report("flow_matching", matching, start)
    if likelihood:
        start, tuned = time.process_time(), flow
        tuned.ode.solver = Solver("rk4", n_steps=12)
        flow = optimize(tuned, lambda x, at: -tuned.log_prob(x), points, likelihood, 1e-3, 0.98)
        report("likelihood", likelihood, start)
    return found


def main() -> int:
    """Trains, measures, writes; returns the exit status."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--data", nargs="*", choices=list(BOUNDS), default=list(BOUNDS))
    options.add_argument("--matching", type=int, default=15_000, help="updates by flow matching")
    options.add_argument("--likelihood", type=int, default=600, help="updates by likelihood")
    given = options.parse_args()
    torch.set_num_threads(1)
    missed = 0
    for data in given.data:
        found = measure(data, given.matching, given.likelihood)
        best = min(one["above_entropy"] for one in found.values())
        if best > BOUNDS[data][1]:
            missed += 1
            print(f"{data}: more than {BOUNDS[data][1]} above the entropy")
        content = {"machine": machine(torch.device("cpu")), **found}
        (RESULTS / f"continuous_{data}.json").write_text(json.dumps(content, indent=1) + "\n")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
