"""Continuous flows in the plane: how far their densities are from the entropy, and the CPU time of their training.

python -m benchmarks.continuous --runs /tmp/continuous

Each distribution is learned by flow matching, and from there by likelihood. Results go to results/continuous.json;
the exit status is 1 if a bound is missed.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

import torch

import glow_app
from benchmarks.report import RESULTS
from glow_app.cli import train as glow_train
from glow_app.data.sets.densities import plane_density
from glow_app.flows import CNF, Solver

BOUNDS = {"two_moons": (0.2, 0.02), "rings": (0.15, 0.05)}
"""Noise of a distribution, and the nats above its entropy that are allowed."""

MATCHING = ["model=flow_matching", "max_steps=15000", "optim.lr=4e-3"]
LIKELIHOOD = ["model=cnf", "max_steps=600", "optim.lr=1e-3", "optim.ema_decay=0.98"]
LIKELIHOOD += ["model.solver=rk4", "model.n_steps=16"]
COMMON = ["experiment=plane", "model.width=128", "validate_every=1000000", "samples_every=1000000"]
COMMON += ["val_images=1000", "test_images=1000"]

N_POINTS = 20_000


def excess(run: Path, data: str) -> tuple[float, float]:
    """Nats of points by a run's model above those by the true density, and the standard error; by dopri5 at 1e-6."""
    flow = glow_app.load(run).flow
    assert isinstance(flow, CNF)
    flow.ode.solver = Solver("dopri5", 1e-6, 1e-6)
    density = plane_density(data, BOUNDS[data][0])
    generator = torch.Generator().manual_seed(1)
    u = torch.rand(N_POINTS, 3, generator=generator, dtype=torch.float64)
    points = density.points(u, torch.randn(N_POINTS, 2, generator=generator, dtype=torch.float64)).float()
    with torch.no_grad():
        nats = torch.cat([flow.log_prob(part[:, :, None, None]) for part in points.split(2000)]).double()
    above = density.log_density(points) - nats
    return above.mean().item(), (above.std() / N_POINTS**0.5).item()


def trained(runs: Path, name: str, options: list[str]) -> tuple[Path, float]:
    """Trains as ``glow-train`` does, or takes the run that is there; returns its folder and CPU seconds."""
    start = time.process_time()
    here = Path.cwd()
    os.chdir(runs)
    try:
        sys.argv = ["glow-train", *COMMON, f"name={name}", *options]
        glow_train()
    except SystemExit as end:
        if end.code:
            raise
    finally:
        os.chdir(here)
    return max((runs / "runs" / name).iterdir()), time.process_time() - start


def main() -> int:
    """Trains, measures, writes; returns the exit status."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--runs", type=Path, required=True, help="folder of the runs")
    options.add_argument("--data", nargs="*", choices=list(BOUNDS), default=list(BOUNDS))
    given = options.parse_args()
    torch.set_num_threads(1)
    given.runs.mkdir(parents=True, exist_ok=True)
    found, missed = {}, 0
    for data in given.data:
        start, seconds = None, 0.0
        for how, more in (("flow_matching", MATCHING), ("likelihood", LIKELIHOOD)):
            begin = [] if start is None else [f"init_from={start}"]
            start, taken = trained(given.runs.resolve(), f"{data}_{how}", [f"data={data}", *more, *begin])
            seconds += taken
            nats, error = excess(start, data)
            found[f"{data} {how}"] = {"above_entropy": nats, "standard_error": error, "cpu_seconds": seconds}
            print(f"{data}, {how}: {nats:.4f} ± {error:.4f} nats above the entropy, {seconds:.0f} s of CPU time so far")
        bound = BOUNDS[data][1]
        if nats > bound:
            missed += 1
            print(f"{data}: more than {bound}")
    (RESULTS / "continuous.json").write_text(json.dumps(found, indent=1) + "\n")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
