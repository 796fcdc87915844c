"""A Glow and a continuous flow by flow matching with as many parameters, after as many seconds of training on faces.

    python -m benchmarks.which_flow --root FOLDER/celeba64_faces --folder RUNS
    python -m benchmarks.which_flow --data cifar10 --root FOLDER --seconds 900 --folder OTHER_RUNS

Both are trained, evaluated, compared by the quality of samples, sampled and edited by the product's own commands, one
after the other, on one thread. A command that is done is not repeated: the same command line goes on after an end.
The continuous flow has a solver for densities and a cheaper one for the rest. Results go to results/which_flow.json and
into docs/which_flow.md.
"""

import argparse
import csv
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from PIL import Image

import glow_app
from benchmarks.energies import written
from benchmarks.report import RESULTS, machine
from glow_app.config.models.continuous import method_and_number
from glow_app.evaluation.likelihood import standard_error
from glow_app.flows import CNF, Solver
from glow_app.units import with_error

ROOT = Path(__file__).parents[1]

FILE = RESULTS / "which_flow.json"
GUIDE = ROOT / "docs" / "which_flow.md"
FIRST_MARK, LAST_MARK = "<!-- table: python -m benchmarks.which_flow -->", "<!-- end of table -->"

MODELS = {
    "glow": ["model=glow_plus", "optim=muon"],
    "flow_matching": ["experiment=flow_matching", "val_images=8", "test_images=8"],
}
DENSITY, CHEAP = "dopri5:1e-4", "midpoint:10"
"""Solvers of densities, and of samples, latents and edits."""

SLOW = 64
"""Images whose density a continuous flow computes, the first ones."""

BATCH = 32

GAP = 12
"""Pixels between the sheets of samples."""

EDITS = "[Smiling,Eyeglasses]"
WAY = "mean_difference"
"""Of edits: a continuous flow has too many latents in its one level for a covariance."""

DATA = {
    # Squares of 64 pixels, whole; people of the validation are in no other part.
    "celeba64": [
        "data=celeba", "data.crop=null", "data.eyes=[0.383,0.507,0.621,0.505]", "data.validation_identities=10",
    ],
    "cifar10": ["data=cifar10"],
}  # fmt: skip
DEEPER = {
    "celeba64": ["model.n_levels=4", "model.n_steps=[10,6,4,4]"],
    "cifar10": ["model.n_steps=[14,10,8]"],
}
"""Levels and steps with which a Glow has as many parameters as the continuous flow."""


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
        done = self.results.setdefault("commands", {})
        if key in done:
            return
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        program = [sys.executable, str(ROOT / "scripts" / f"{script}.py"), *options]
        print("$", " ".join(program[1:]), flush=True)
        subprocess.run(program, cwd=self.folder, env=environment, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        done[key] = {"cpu_seconds": round(cpu, 1), "seconds": round(time.monotonic() - began, 1)}

    @property
    def run(self) -> Path:
        """The run's folder."""
        return sorted((self.folder / "runs" / self.name).iterdir())[-1]


def measure(bench: Bench, data: list[str], own: list[str], seconds: float, samples: int) -> None:
    """Trains and measures one model.

    Args:
        bench: its commands.
        data: options of the data.
        own: options of the model besides ``MODELS``.
        seconds: of training.
        samples: samples of which the quality is measured.
    """
    flow_matching = bench.name == "flow_matching"
    bench.command(
        "train", "train", f"name={bench.name}", "resume=auto", *data, *MODELS[bench.name], *own,
        "trainer.precision=bf16", f"trainer.batch_size={BATCH}", f"max_seconds={seconds}", "validate_every=100000",
        "samples_every=100000", "checkpoint_every=100000", "checkpoint_minutes=5",
    )  # fmt: skip
    of = [f"checkpoint={bench.run}", *data]
    exact = [f"solver={DENSITY}", f"n_images={SLOW}"] if flow_matching else ["n_images=500"]
    cheap = [f"solver={CHEAP}"] if flow_matching else []
    bench.command(
        "evaluate", "evaluate", *of, "split=val", *exact, "check_images=32", "gap_images=0", f"output={bench.run}/bits"
    )  # fmt: skip
    bench.command(
        "quality", "evaluate", *of, "split=val", *cheap, f"n_images={2 * samples}", "check_images=8", "gap_images=0",
        "quality=true", f"quality.samples={samples}", "quality.examples=20000", "quality.temperature=1.0",
        f"output={bench.run}/quality",
    )  # fmt: skip
    bench.command("sample", "sample", f"checkpoint={bench.run}", "n=32", "temperature=1.0", *cheap)
    if "data=celeba" not in data:
        return
    bench.command("directions", "directions", *of, *cheap, "n_images=1000", "calibration=0")
    bench.command(
        "judge", "judge", *of, *cheap, f"attributes={EDITS}", f"methods=[{WAY}]", "edit_split=val",
        "judge_images=1000", "edit_first=1000", "n_images=50", "curve_images=16", "judge_examples=20000",
    )  # fmt: skip


def speed(run: Path, n: int = 16) -> dict[str, float]:
    """CPU seconds for a sample, drawn 16 at a time (by the cheaper solver), and the number of parameters."""
    model = glow_app.load(run)
    if isinstance(model.flow, CNF):
        method, steps = method_and_number(CHEAP)
        model.flow.ode.solver = Solver(method, n_steps=int(steps))
    model.sample(n)
    began = time.process_time()
    model.sample(n, seed=1)
    seconds = (time.process_time() - began) / n
    return {"seconds_a_sample": seconds, "parameters": sum(p.numel() for p in model.flow.parameters())}


def figures(run: Path) -> dict[str, Any]:
    """What the commands found out about a model, from the files of its run."""
    bits, quality = (json.loads((run / name / "evaluation.json").read_text()) for name in ("bits", "quality"))
    judge = run / "judge" / "judge.json"
    edits = json.loads(judge.read_text())["compared"] if judge.exists() else {}
    steps, images = (
        list(csv.DictReader((run / name).read_text().splitlines())) for name in ("metrics.csv", "bits/per_image.csv")
    )
    same = torch.tensor([float(image["bits_per_dim"]) for image in images[:SLOW]], dtype=torch.float64)
    return {
        "steps": int(steps[-1]["step"]),
        "bits_per_dim": bits["bits_per_dim"],
        "same_images": {"mean": same.mean().item(), "standard_error": standard_error(same), "images": len(same)},
        "accuracy": bits["accuracy"],
        "reconstruction": bits["reconstruction"],
        "quality": quality["quality"]["sets"],
        "curves": edits.get("curves"),
    }


def table(results: dict[str, dict[str, dict[str, Any]]]) -> list[str]:
    """The table of docs/which_flow.md, a column for each model of each data set."""
    columns = [(data, name) for data in results for name in MODELS]
    titles = (f"{name.replace('_', ' ')}, {data}" for data, name in columns)
    lines = [f"| | {' | '.join(titles)} |", "|---" * (1 + len(columns)) + "|"]

    def line(title: str, cell: Callable[[dict[str, Any]], str]) -> None:
        lines.append(f"| {title} | {' | '.join(cell(results[data][name]) for data, name in columns)} |")

    def bits(measured: dict[str, Any]) -> str:
        return f"{with_error(measured['mean'], measured['standard_error'], 3)} ({measured['images']} images)"

    def local_kid(found: dict[str, Any], of: str) -> str:
        [one] = (one for name, one in found["quality"].items() if name.startswith(of))
        return with_error(one["local KID"], one["local KID spread"], 2)

    def edit(found: dict[str, Any], way: str, name: str) -> str:
        if found["curves"] is None:
            return ""
        _, success, drift, rise, _ = max(found["curves"][way][name], key=lambda point: point[1])
        return f"{success:.0%}, {drift:.3f}, {rise:+.3f}"

    line("parameters", lambda found: f"{found['parameters']:,}")
    line("images seen in training", lambda found: f"{BATCH * found['steps']:,}")
    line("CPU seconds of `glow-train`", lambda found: f"{found['commands']['train']['cpu_seconds']:,.0f}")
    line("bits/dim, validation", lambda found: bits(found["bits_per_dim"]))
    line("of the same images", lambda found: bits(found["same_images"]))
    line("error of the solver in it, at most", lambda found: f"{found['accuracy']['largest_error']:.1g}"
         if found["accuracy"] else "none")  # fmt: skip
    line("images that come back exactly", lambda found: f"{found['reconstruction']['exact']:.0%}")
    line("local KID of samples, temperature 1", lambda found: local_kid(found, "samples"))
    line("of as many other real images", lambda found: local_kid(found, "real: other"))
    line("CPU seconds a sample", lambda found: f"{found['seconds_a_sample']:.3f}")
    for way, title in ((WAY, "edits"), ("pixels", "mean pixels added")):
        for name in EDITS.strip("[]").split(","):
            line(
                f"{title}, {name}: success at most, drift and rise there",
                lambda found, way=way, name=name: edit(found, way, name),
            )
    return lines


def picture(data: str, folder: Path) -> None:
    """Puts the samples of both models beside each other, the Glow's on the left."""
    sheets = [Image.open(Bench(name, folder, {}).run / "sample" / "T1.00_seed0.png") for name in MODELS]
    both = Image.new("RGB", (sum(sheet.width for sheet in sheets) + GAP, sheets[0].height), "white")
    for sheet, x in zip(sheets, (0, sheets[0].width + GAP), strict=True):
        both.paste(sheet, (x, 0))
    both.save(RESULTS / f"which_flow_{data}.png", optimize=True)


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=DATA, default="celeba64")
    parser.add_argument("--root", type=Path, required=True, help="as data.root of glow-train")
    parser.add_argument("--seconds", type=float, default=2100.0, help="of training, of each")
    parser.add_argument("--samples", type=int, default=150, help="of which the quality is measured")
    parser.add_argument("--folder", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    folder = arguments.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    data = [*DATA[arguments.data], f"data.root={arguments.root.resolve()}"]
    for name in arguments.models:
        path = folder / f"{name}.json"
        results = json.loads(path.read_text()) if path.exists() else {}
        bench = Bench(name, folder, results)
        own = DEEPER[arguments.data] if name == "glow" else []
        try:
            measure(bench, data, own, arguments.seconds, arguments.samples)
            results |= figures(bench.run) | speed(bench.run)
        finally:
            results["machine"] = machine(torch.device("cpu"))
            path.write_text(json.dumps(results, indent=1))
    paths = {name: folder / f"{name}.json" for name in MODELS}
    if all(path.exists() for path in paths.values()):
        known = json.loads(FILE.read_text()) if FILE.exists() else {}
        known[arguments.data] = {name: json.loads(path.read_text()) for name, path in paths.items()}
        FILE.write_text(json.dumps(known, indent=1) + "\n")
        picture(arguments.data, folder)
        GUIDE.write_text(written(GUIDE.read_text(), table(known), (FIRST_MARK, LAST_MARK)))


if __name__ == "__main__":
    main()
