"""A Glow and a continuous flow by flow matching with as many parameters, after as many seconds of training on faces.

    python -m benchmarks.which_flow --root FOLDER/celeba64_faces --seconds 1800 --folder RUNS

Both are trained, evaluated, compared by the quality of samples, sampled and edited by the product's own commands, one
after the other, on one thread. A command that is done is not repeated: the same command line goes on after an end.
Results go to results/which_flow.json. The continuous flow has a solver for densities and a cheaper one for the rest.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

import glow_app
from benchmarks.report import RESULTS, machine
from glow_app.flows import CNF, Solver

ROOT = Path(__file__).parents[1]

MODELS = {
    "glow": ["model=glow_plus", "model.n_levels=4", "model.n_steps=[10,6,4,4]", "optim=muon"],
    "flow_matching": ["model=flow_matching", "model.width=24", "model.n_blocks=2", "val_images=8", "test_images=8"],
}
DENSITY, CHEAP = "dopri5:1e-4", "midpoint:10"
"""Solvers of densities, and of samples, latents and edits."""

EDITS = "[Smiling,Eyeglasses]"


def options_of_data(root: Path) -> list[str]:
    """CelebA 64 as published on the web, whole: people of the validation are in no other part."""
    return [
        "data=celeba", f"data.root={root}", "data.crop=null", "data.eyes=[0.383,0.507,0.621,0.505]",
        "data.validation_identities=10",
    ]  # fmt: skip


class Bench:
    """The commands of one model, each done once.

    Args:
        name: of the model.
        folder: of its run and of what commands write.
        results: what is known of it already, to which this adds.
    """

    def __init__(self, name: str, folder: Path, results: dict[str, Any]) -> None:
        self.name, self.folder, self.results = name, folder, results

    def command(self, key: str, script: str, *options: str) -> None:
        """Runs a script, and keeps its CPU and wall-clock seconds."""
        if key in self.results:
            return
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        program = [sys.executable, str(ROOT / "scripts" / f"{script}.py"), *options]
        print("$", " ".join(program[1:]), flush=True)
        subprocess.run(program, cwd=self.folder, env=environment, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        self.results[key] = {"cpu_seconds": round(cpu, 1), "seconds": round(time.monotonic() - began, 1)}

    @property
    def run(self) -> Path:
        """The run's folder."""
        return sorted((self.folder / "runs" / self.name).iterdir())[-1]


def measure(bench: Bench, data: list[str], seconds: float, samples: int) -> None:
    """Trains and measures one model."""
    flow_matching = bench.name == "flow_matching"
    bench.command(
        "train", "train", f"name={bench.name}", "resume=auto", *data, *MODELS[bench.name], "trainer.precision=bf16",
        "trainer.batch_size=32", f"max_seconds={seconds}", "validate_every=100000", "samples_every=100000",
        "checkpoint_every=100000", "checkpoint_minutes=5",
    )  # fmt: skip
    of = [f"checkpoint={bench.run}", *data]
    exact = [f"solver={DENSITY}", "n_images=64"] if flow_matching else ["n_images=500"]
    cheap = [f"solver={CHEAP}"] if flow_matching else []
    bench.command(
        "evaluate", "evaluate", *of, "split=val", *exact, "check_images=32", "gap_images=0", f"output={bench.run}/bits"
    )  # fmt: skip
    bench.command(
        "quality", "evaluate", *of, "split=val", *cheap, f"n_images={2 * samples}", "check_images=0", "gap_images=0",
        "quality=true", f"quality.samples={samples}", "quality.examples=20000", "quality.temperature=1.0",
        f"output={bench.run}/quality",
    )  # fmt: skip
    bench.command("sample", "sample", f"checkpoint={bench.run}", "n=32", "temperature=1.0", *cheap)
    bench.command("directions", "directions", *of, *cheap, "n_images=1000", "calibration=0")
    bench.command(
        "judge", "judge", *of, *cheap, f"attributes={EDITS}", "methods=[discriminant]", "edit_split=val",
        "judge_images=1000", "edit_first=1000", "n_images=50", "curve_images=16", "judge_examples=20000",
    )  # fmt: skip


def seconds_a_sample(run: Path, n: int = 16) -> float:
    """CPU seconds of one thread for a sample, drawn 16 at a time; of a continuous flow by the cheaper solver."""
    model = glow_app.load(run)
    if isinstance(model.flow, CNF):
        method, steps = CHEAP.split(":")
        model.flow.ode.solver = Solver(method, n_steps=int(steps))
    model.sample(n)
    began = time.process_time()
    model.sample(n, seed=1)
    return (time.process_time() - began) / n


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="celeba64_faces, as data.root of glow-train")
    parser.add_argument("--seconds", type=float, default=1800.0, help="of training, of each")
    parser.add_argument("--samples", type=int, default=150, help="of which the quality is measured")
    parser.add_argument("--folder", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    folder = arguments.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    for name in arguments.models:
        path = folder / f"{name}.json"
        results = json.loads(path.read_text()) if path.exists() else {}
        bench = Bench(name, folder, results)
        try:
            measure(bench, options_of_data(arguments.root.resolve()), arguments.seconds, arguments.samples)
            results["seconds_a_sample"] = seconds_a_sample(bench.run)
        finally:
            results["machine"] = machine(torch.device("cpu"))
            path.write_text(json.dumps(results, indent=1))
    done = {name: json.loads(path.read_text()) for name in MODELS if (path := folder / f"{name}.json").exists()}
    (RESULTS / "which_flow.json").write_text(json.dumps(done, indent=1))


if __name__ == "__main__":
    main()
