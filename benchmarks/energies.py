"""Flows fitted to the energies U1 to U4 without data: the divergences of planar, radial, NICE and IAF, K = 2, 8, 32.

    python -m benchmarks.energies
    python -m benchmarks.energies --energies u1 --models planar iaf --layers 2 8
    python -m benchmarks.energies --report --write    # those that have ended, into docs/energies.md

Rezende & Mohamed 2015, figure 3. Each model is a run of ``glow-distill`` (experiment=energies) in a folder of its own,
under --runs: the same command again goes on where it was interrupted, and keeps what has ended. energies.json has a row
for each, and energies.png the densities on the square [-4.5, 4.5] x [-4.5, 4.5]. KL(q || p) is given twice, in nats: by
50,000 samples of q, and by the sum over a grid, for which the density of q is found by its inverse. A grid tells
KL(p || q) too, which is large where a mode was missed.
"""

import argparse
import json
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from rich.table import Table

import glow_app
from benchmarks import report
from glow_app.artifacts.card import read_card
from glow_app.data.sets.densities import ENERGIES, plane_density
from glow_app.evaluation.density import Square, log_density
from glow_app.units import with_error

MODELS = ("planar", "radial", "nice", "iaf")

LAYERS = (2, 8, 32)

LEARNING_RATES = {"planar": 0.02, "radial": 0.02, "nice": 0.005, "iaf": 0.002}
"""Layers of a few numbers take larger steps than networks."""

GUIDE = Path(__file__).parents[1] / "docs" / "energies.md"
FIRST_MARK, LAST_MARK = "<!-- table: python -m benchmarks.energies --write -->", "<!-- end of table -->"

ROW = "row.json"
"""File of a run that holds its row of the table."""

FIGURES = {"kl": "kl_nats", "kl_error": "standard_error"} | {
    name: name
    for name in ("free_energy", "log_normaliser", "kl_grid", "kl_grid_error", "reversed_kl_grid", "mass_grid")
}
"""Figure of a row -> what it is called in the card of a model."""

SQUARE = Square(side=9.0, cells=150)

PANEL = 0.92
"""Inches of a panel's side."""


def options_of(model: str, k: int) -> dict[str, Any]:
    """The options of a model with K layers."""
    network = {"n_hidden": 1, "width": 32}
    match model:
        case "nice":
            return {"name": model, "n_couplings": k, "base": "normal", **network}
        case "iaf":
            return {"name": model, "n_layers": k, "normalisation": "actnorm", **network}
    return {"name": model, "n_layers": k}


def fit(energy: str, model: str, k: int, folder: Path, **options: Any) -> dict[str, Any]:
    """Trains a model, or goes on with it, or reads what it has reached.

    Args:
        energy: ``u1`` to ``u4``.
        model: one of ``MODELS``.
        k: its layers.
        folder: folder of the run.
        options: further options of ``glow-distill``.
    """
    saved = folder / ROW
    if saved.exists():
        return json.loads(saved.read_text())
    start = time.process_time()
    fitted = glow_app.train(
        data=energy, model=options_of(model, k), experiment="energies", optim={"lr": LEARNING_RATES[model]},
        output=folder, resume=folder.exists(), quiet=True, **options,
    )  # fmt: skip
    metrics = read_card(folder / "model")[0].metrics
    row = {
        "energy": energy,
        "model": model,
        "layers": k,
        "parameters": sum(p.numel() for p in fitted.flow.parameters()),
        # A card holds no infinite figures; KL(p || q) is one where q is 0 in float32.
        **{ours: metrics.get(f"distillation/{theirs}", math.inf) for ours, theirs in FIGURES.items()},
        "cpu_seconds": round(time.process_time() - start, 1),
    }
    saved.write_text(json.dumps(row))
    return row


def table(rows: Sequence[dict[str, Any]]) -> Table:
    """KL(q || p) by samples, its value on the grid, and KL(p || q), of each model."""
    names = "energy", "model", "K", "parameters", "free energy", "KL(q || p)", "on the grid", "KL(p || q)", "CPU s"
    shown = Table(*names)
    for row in rows:
        shown.add_row(
            row["energy"], row["model"], f"{row['layers']}", f"{row['parameters']:,}", f"{row['free_energy']:.4f}",
            with_error(row["kl"], row["kl_error"]), with_error(row["kl_grid"], row["kl_grid_error"]),
            f"{row['reversed_kl_grid']:.3f}", f"{row['cpu_seconds']:.0f}",
        )  # fmt: skip
    return shown


def draw(rows: Sequence[dict[str, Any]], runs: Path, path: Path) -> None:
    """Draws the densities: a row for each energy, the truth at its left, then each model with each K."""
    energies = list(dict.fromkeys(row["energy"] for row in rows))
    columns = list(dict.fromkeys((row["model"], row["layers"]) for row in rows))
    size = ((1 + len(columns)) * PANEL, len(energies) * PANEL + 0.25)
    figure = Figure(figsize=size, dpi=100, layout="constrained")
    figure.get_layout_engine().set(w_pad=0.01, h_pad=0.01)  # type: ignore[union-attr]
    panels = figure.subplots(len(energies), 1 + len(columns), squeeze=False)
    of = {(row["energy"], row["model"], row["layers"]): row for row in rows}
    for energy, line in zip(energies, panels, strict=True):
        truth = plane_density(energy, 0.0).log_density(SQUARE.centres()).exp()
        shown = [truth]
        for model, k in columns:
            flow = glow_app.load(runs / folder_of(energy, model, k)).flow if (energy, model, k) in of else None
            shown.append(truth * 0 if flow is None else log_density(flow, SQUARE.centres()).exp())
        for number, (panel, density) in enumerate(zip(line, shown, strict=True)):
            image = density.view(SQUARE.cells, -1).numpy()
            panel.imshow(image, origin="lower", vmin=0, vmax=truth.max().item(), cmap="magma")
            panel.set(xticks=[], yticks=[])
            if energy == energies[0]:
                panel.set_title("p" if number == 0 else "{} {}".format(*columns[number - 1]), fontsize=8)
        line[0].set_ylabel(energy.upper(), fontsize=8)
    figure.savefig(path)
    report.CONSOLE.print(f"written: {path}")


def folder_of(energy: str, model: str, k: int) -> str:
    """The name of a run's folder."""
    return f"{energy}_{model}_{k}"


def by_layers(rows: Sequence[dict[str, Any]]) -> list[str]:
    """The table of the guide: KL(q || p) by samples and KL(p || q) by a grid; a row for each model and K."""
    energies = list(dict.fromkeys(row["energy"] for row in rows))
    lines = [f"| | K | parameters | {' | '.join(energies)} |", "|---|---|---|" + "---|" * len(energies)]
    for model in MODELS:
        for k in sorted({row["layers"] for row in rows if row["model"] == model}):
            of = {row["energy"]: row for row in rows if (row["model"], row["layers"]) == (model, k)}
            figures = [_both(of[energy]) if energy in of else "-" for energy in energies]
            n_parameters = next(iter(of.values()))["parameters"]
            lines.append(f"| {model} | {k} | {n_parameters:,} | {' | '.join(figures)} |")
    return lines


def _both(row: dict[str, Any]) -> str:
    other = row["reversed_kl_grid"]
    return f"{with_error(row['kl'], row['kl_error'], 3)}; {other:,.{3 if other < 100 else 0}f}"


def main(arguments: argparse.Namespace) -> None:
    """Fits all, prints the table, and writes energies.json and energies.png."""
    facts = report.start(arguments)
    path = report.file(arguments.output, "energies", arguments.device, ".json")
    rows: list[dict[str, Any]] = []
    cells = [(e, m, k) for k in arguments.layers for e in arguments.energies for m in arguments.models]
    for number, (energy, model, k) in enumerate(cells, 1):
        folder = arguments.runs / folder_of(energy, model, k)
        if arguments.report and not (folder / ROW).exists():
            continue
        row = fit(energy, model, k, folder)
        rows.append(row)
        report.CONSOLE.print(
            f"{number}/{len(cells)} {energy} {model} K={k}: KL(q || p) {with_error(row['kl'], row['kl_error'])} nats"
        )
    order = [(e, m, k) for e in arguments.energies for m in arguments.models for k in arguments.layers]
    rows.sort(key=lambda row: order.index((row["energy"], row["model"], row["layers"])))
    report.CONSOLE.print(table(rows))
    report.write(path, {"machine": facts, "rows": rows})
    if arguments.write:
        GUIDE.write_text(written(GUIDE.read_text(), by_layers(rows)))
    draw(rows, arguments.runs, (GUIDE if arguments.write else path).with_suffix(".png"))


def written(guide: str, lines: Sequence[str], marks: tuple[str, str] = (FIRST_MARK, LAST_MARK)) -> str:
    """The guide with the lines between its marks."""
    before, mark, rest = guide.partition(marks[0] + "\n")
    assert mark, marks[0]
    _, end, after = rest.partition(marks[1])
    return before + mark + "\n".join(lines) + "\n" + end + after


def options() -> argparse.ArgumentParser:
    """The options of this benchmark."""
    known = report.parser(__doc__)
    known.add_argument("--energies", nargs="*", choices=list(ENERGIES), default=list(ENERGIES))
    known.add_argument("--models", nargs="*", choices=MODELS, default=list(MODELS))
    known.add_argument("--layers", nargs="*", type=int, default=list(LAYERS), help="K")
    known.add_argument("--runs", type=Path, default=Path("runs/energies"), help="folder of the runs")
    known.add_argument("--report", action="store_true", help="train nothing: report the runs that have ended")
    known.add_argument("--write", action="store_true", help="change the table and the picture of docs/energies.md")
    return known


if __name__ == "__main__":
    main(options().parse_args())
