"""VAEs on binarised MNIST: the bound and the estimate of -log p against the layers K of the posterior, three seeds.

    python -m benchmarks.vae /data/mnist
    python -m benchmarks.vae /data/mnist --posteriors gaussian planar iaf --layers 10 --seeds 0
    python -m benchmarks.vae /data/mnist --steps 1500 --width 200 --images 500 --samples 1000
    python -m benchmarks.vae /data/mnist --report --write    # those that have ended, into docs/vae.md

Rezende & Mohamed 2015, table 2, in shape. Each model is a run of ``glow-train experiment=vae`` in a folder of its own,
under --runs: the same command again resumes where it was interrupted, and keeps what has ended. A folder without the
t10k files has its last 10,000 training images as test images, and its first 50,000 as training images. vae.json has a
row for each run: nats per image of the first test images, by one sample of the posterior (the bound) and by --samples
(the estimate).
"""

import argparse
import gzip
import json
import math
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
from rich.table import Table

import glow_app
from benchmarks import report
from benchmarks.energies import written
from glow_app.config.models.vae import VAEConfig
from glow_app.data.sets.mnist import Mnist
from glow_app.evaluation.likelihood import Likelihood, measure_likelihood
from glow_app.evaluation.variational.elbo import importance_estimate
from glow_app.flows import VAE
from glow_app.units import with_error

POSTERIORS = ("gaussian", "planar", "radial", "iaf", "coupling")

LAYERS = (10, 40)

SEEDS = (0, 1, 2)

HELD_OUT = 10_000
"""Training images that stand in for test images, the last ones."""

GUIDE = Path(__file__).parents[1] / "docs" / "vae.md"
FIRST_MARK, LAST_MARK = "<!-- table: python -m benchmarks.vae --write -->", "<!-- end of table -->"

ROW = "row.json"
"""File of a run that holds its row of the table."""

BATCH = 100


def with_test_images(root: Path, folder: Path) -> Path:
    """Returns a folder with the idx files of both parts: ``root``, or ``folder``, into which they are divided."""
    if any(root.glob("t10k-images*")):
        return root
    folder.mkdir(parents=True, exist_ok=True)
    for kind in ("images", "labels"):
        [path] = root.glob(f"train-{kind}?idx?-ubyte*")
        content = path.read_bytes()
        content = gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content
        n_dims = content[3]
        shape = [int.from_bytes(content[4 * k : 4 * k + 4], "big") for k in range(1, n_dims + 1)]
        values = np.frombuffer(content, np.uint8, offset=4 + 4 * n_dims).reshape(shape)
        for part, rows in (("train", values[:-HELD_OUT]), ("t10k", values[-HELD_OUT:])):
            header = content[:4] + b"".join(side.to_bytes(4, "big") for side in rows.shape)
            (folder / f"{part}-{kind}-idx{n_dims}-ubyte").write_bytes(header + rows.tobytes())
    return folder


def cells(posteriors: Sequence[str], layers: Sequence[int]) -> list[tuple[str, int]]:
    """The posteriors with their K, each with all; gaussian, which has no layers, once with 0."""
    return [(kind, k) for kind in posteriors for k in ([0] if kind == "gaussian" else layers)]


def fit(kind: str, k: int, seed: int, root: Path, folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Trains a model and measures it, or resumes it, or reads what it has reached.

    Args:
        kind: one of ``POSTERIORS``.
        k: its layers.
        seed: seed of the run.
        root: folder of the idx files, of both parts.
        folder: folder of the run.
        arguments: ``steps``, ``width``, ``images`` and ``samples``.
    """
    saved = folder / ROW
    if saved.exists():
        return json.loads(saved.read_text())
    start = time.process_time()
    model = glow_app.train(
        data={"name": "mnist", "root": str(root)},
        model={"name": "vae", "posterior": kind, "n_layers": max(1, k), "width": arguments.width},
        experiment="vae", seed=seed, max_steps=arguments.steps, anneal_steps=arguments.steps // 20,
        validate_every=arguments.steps, samples_every=arguments.steps, checkpoint_every=max(1, arguments.steps // 4),
        output=folder, resume=folder.exists(), quiet=True, test_images=1, val_images=1000,
    )  # fmt: skip
    trained = time.process_time() - start
    vae, options = model.flow, model.card.model
    assert isinstance(vae, VAE)
    assert isinstance(options, VAEConfig)
    test = Mnist(root, "test", side=28, binarised=True)
    of = (test, range(min(arguments.images, len(test))), 1, 0, BATCH)
    bound, estimate = measure_likelihood(vae, *of), importance_estimate(vae, *of, arguments.samples)
    row = {
        "posterior": kind,
        "layers": k,
        "seed": seed,
        "steps": arguments.steps,
        "width": arguments.width,
        "parameters": sum(p.numel() for p in vae.parameters()),
        "images": len(bound.per_image),
        "samples": arguments.samples,
        **{f"bound{key}": value for key, value in _nats(bound, vae).items()},
        **{f"estimate{key}": value for key, value in _nats(estimate, vae).items()},
        "kl": bound.parts["KL"].mean().item() * vae.n_dims * math.log(2),
        "cpu_seconds": round(trained, 1),
    }
    saved.write_text(json.dumps(row))
    return row


def _nats(likelihood: Likelihood, vae: VAE) -> dict[str, float]:
    unit = vae.n_dims * math.log(2)
    return {"": likelihood.mean * unit, "_error": likelihood.standard_error * unit}


def by_layers(rows: Sequence[dict[str, Any]]) -> list[str]:
    """The table of the guide: -log p in nats per image, means over seeds with their standard deviation."""
    lines = [
        "| posterior | K | parameters | seeds | bound | estimate | KL | CPU s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for kind, k in dict.fromkeys((row["posterior"], row["layers"]) for row in rows):
        of = [row for row in rows if (row["posterior"], row["layers"]) == (kind, k)]
        figures = [_over_seeds([row[key] for row in of]) for key in ("bound", "estimate", "kl")]
        seconds = mean(row["cpu_seconds"] for row in of)
        cells = [kind, str(k), f"{of[0]['parameters']:,}", str(len(of)), *figures, f"{seconds:.0f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _over_seeds(values: Sequence[float]) -> str:
    return with_error(mean(values), stdev(values) if len(values) > 1 else math.nan, 2)


def table(lines: Sequence[str]) -> Table:
    """The same table for a terminal."""
    head, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    shown = Table(*head)
    for row in rows:
        shown.add_row(*row)
    return shown


def main(arguments: argparse.Namespace) -> None:
    """Trains all, prints the table, and writes vae.json."""
    facts = report.start(arguments)
    path = report.file(arguments.output, "vae", arguments.device, ".json")
    root = with_test_images(arguments.root, arguments.runs / "mnist")
    rows: list[dict[str, Any]] = []
    # Seed by seed: interrupted, there is a whole table of fewer seeds.
    jobs = [(kind, k, seed) for seed in arguments.seeds for kind, k in cells(arguments.posteriors, arguments.layers)]
    for number, (kind, k, seed) in enumerate(jobs, 1):
        folder = arguments.runs / f"{kind}_{k}_{seed}"
        if arguments.report and not (folder / ROW).exists():
            continue
        row = fit(kind, k, seed, root, folder, arguments)
        rows.append(row)
        report.CONSOLE.print(
            f"{number}/{len(jobs)} {kind} K={k} seed {seed}: bound {with_error(row['bound'], row['bound_error'], 2)}, "
            f"estimate {with_error(row['estimate'], row['estimate_error'], 2)} nats, {row['cpu_seconds']:.0f} CPU s"
        )
    lines = by_layers(rows)
    report.CONSOLE.print(table(lines))
    report.write(path, {"machine": facts, "rows": rows})
    if arguments.write:
        GUIDE.write_text(written(GUIDE.read_text(), lines, (FIRST_MARK, LAST_MARK)))


def options() -> argparse.ArgumentParser:
    """The options of this benchmark."""
    known = report.parser(__doc__)
    known.add_argument("root", type=Path, help="folder of MNIST's idx files")
    known.add_argument("--posteriors", nargs="*", choices=POSTERIORS, default=["gaussian", "planar"])
    known.add_argument("--layers", nargs="*", type=int, default=list(LAYERS), help="K")
    known.add_argument("--seeds", nargs="*", type=int, default=list(SEEDS))
    known.add_argument("--steps", type=int, default=10_000, help="updates of 100 images")
    known.add_argument("--width", type=int, default=400, help="units of the hidden layers")
    known.add_argument("--images", type=int, default=1000, help="test images")
    known.add_argument("--samples", type=int, default=5000, help="importance samples of each")
    known.add_argument("--runs", type=Path, default=Path("runs/vae_table"), help="folder of the runs")
    known.add_argument("--report", action="store_true", help="train nothing: report the runs that have ended")
    known.add_argument("--write", action="store_true", help="change the table of docs/vae.md")
    return known


if __name__ == "__main__":
    main(options().parse_args())
