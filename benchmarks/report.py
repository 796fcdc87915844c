"""What every benchmark leaves behind: a table on the terminal, a JSON file and a plot, with the machine named."""

import argparse
import json
import math
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib
import torch
from rich.console import Console
from rich.table import Table

from benchmarks import processor
from benchmarks.contest import Contender
from benchmarks.peers import LIBRARIES
from benchmarks.shapes import PUBLISHED, SHAPES, Shape
from benchmarks.timing import Quartiles, Requirement, Timing, ratio
from glow_app.build import forbid_tf32
from glow_app.runtime.malloc import keep_freed_memory

matplotlib.use("agg")
from matplotlib import pyplot as plt  # the backend has to be chosen first

RESULTS = Path(__file__).parent / "results"
CONSOLE = Console(width=None if os.isatty(1) else 160)


def parser(description: str | None) -> argparse.ArgumentParser:
    """The options that all benchmarks have."""
    options = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--device", type=torch.device, default=torch.device("cpu"), help="cpu or cuda")
    options.add_argument("--threads", type=int, default=1, help="of the CPU")
    options.add_argument("--output", type=Path, default=RESULTS, help="folder of the JSON file and the plot")
    return options


def timed_parser(description: str | None, repeats: int, seconds: float) -> argparse.ArgumentParser:
    """The options of those that time shapes: ``repeats`` and ``seconds`` are the defaults."""
    options = parser(description)
    options.add_argument("--programs", type=Path, help="folder with checkouts of programs, see benchmarks/programs.py")
    options.add_argument("--shapes", nargs="*", choices=[*SHAPES, *PUBLISHED], help="default: all that suit the device")
    options.add_argument("--repeats", type=int, default=repeats, help="alternated repetitions")
    options.add_argument(
        "--seconds", type=float, default=seconds, help="a repetition of the slowest takes about so long"
    )
    return options


def start(arguments: argparse.Namespace) -> dict[str, object]:
    """Sets up the process as ``glow-train`` does, says on what machine, and returns that for the JSON file."""
    torch.set_num_threads(arguments.threads)
    forbid_tf32()
    if arguments.device.type == "cpu":
        keep_freed_memory()
    facts = machine(arguments.device)
    describe(facts)
    return facts


def shapes(arguments: argparse.Namespace, usual: Iterable[Shape]) -> list[Shape]:
    """Those that were asked for, or else the usual ones, and on a GPU the published ones as well."""
    if arguments.shapes:
        return [(SHAPES | PUBLISHED)[name] for name in arguments.shapes]
    return [*usual, *(PUBLISHED.values() if arguments.device.type == "cuda" else ())]


def machine(device: torch.device) -> dict[str, object]:
    """Processor and its speed, cores, threads, GPU, and versions of torch and of the peers."""
    return {
        "processor": processor.name(),
        "gflops_per_second": processor.rates() if device.type == "cpu" else None,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "peers": {peer.name: version(peer.package) for peer in LIBRARIES if peer.package},
    }


def version(package: str) -> str | None:
    """Of an installed package."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def describe(facts: Mapping[str, object]) -> None:
    """Says on what machine, and which peers are missing."""
    CONSOLE.print(
        f"{facts['gpu'] or facts['processor']}, {facts['threads']} of {facts['cores']} cores, torch {facts['torch']}"
    )
    rates: Any = facts["gflops_per_second"]
    if rates:
        CONSOLE.print(f"GFLOP/s: {', '.join(f'{what} {rate:,.0f}' for what, rate in rates.items())}")
    peers: Any = facts["peers"]
    missing = [name for name, number in peers.items() if number is None]
    if missing:
        CONSOLE.print(f"not installed, so not measured: {', '.join(missing)} (benchmarks/requirements.txt)")


def file(folder: Path, name: str, device: torch.device, suffix: str) -> Path:
    """``NAME.json`` on a CPU, ``NAME_cuda.json`` on a GPU."""
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{name}{'' if device.type == 'cpu' else '_' + device.type}{suffix}"


def timed_file(folder: Path, name: str, device: torch.device, suffix: str) -> Path:
    """As :func:`file`, on a CPU with its kind: times of different processors are kept side by side."""
    return file(folder, f"{name}_{processor.kind()}" if device.type == "cpu" else name, device, suffix)


def write(path: Path, content: Mapping[str, object]) -> None:
    """JSON, in the house's form."""
    path.write_text(json.dumps(content, indent=1) + "\n")
    CONSOLE.print(f"written: {path}")


@dataclass(frozen=True)
class Row:
    """One implementation in the table of a shape.

    Attributes:
        contender: which, and what it was checked for.
        timings: one for each repetition.
        against: its cost over that of the fastest peer of its precision, or over that of the first of ours if there is
            no such peer.
        images: handled in one run.
    """

    contender: Contender
    timings: list[Timing]
    against: Quartiles
    images: int

    def facts(self) -> dict[str, object]:
        """For the JSON file."""
        return {
            "name": self.contender.implementation.name,
            "precision": self.contender.implementation.precision,
            "settings": self.contender.implementation.settings,
            "layout": self.contender.layout,
            "parameters": self.contender.check.n_parameters,
            "initial_bits_per_dim": self.contender.check.bits,
            "check": self.contender.check.verdict,
            "seconds": asdict(Quartiles.of(timing.cost for timing in self.timings)),
            "wall_seconds": median(timing.wall for timing in self.timings),
            "images_per_second": self.images / median(timing.cost for timing in self.timings),
            "peak_bytes": self.timings[-1].peak_bytes,
            "against_fastest_peer": asdict(self.against),
        }


def rows(
    contenders: Sequence[Contender], timings: Mapping[str, list[Timing]], peers: Mapping[str, str], images: int
) -> list[Row]:
    """One for each contender; ``peers`` maps a precision to the fastest peer of that precision."""
    names = [one.implementation.name for one in contenders]
    return [
        Row(one, timings[name], ratio(timings, name, peers.get(one.implementation.precision, names[0])), images)
        for name, one in zip(names, contenders, strict=True)
    ]


def show(title: str, table_rows: Sequence[Row], device: torch.device) -> None:
    """A shape's table."""
    unit = "ms" if device.type == "cuda" else "CPU ms"
    heads = [
        "",
        "parameters",
        "bits/dim at first",
        "check",
        "layout",
        unit,
        "wall ms",
        "images/s",
        "against the fastest peer",
    ]
    table = Table(*heads, *(["peak MiB"] if device.type == "cuda" else []), box=None, title=title, title_justify="left")
    for row in table_rows:
        facts, timing = row.facts(), Quartiles.of(timing.cost for timing in row.timings)
        cells = [
            row.contender.implementation.name,
            f"{row.contender.check.n_parameters:,}",
            f"{row.contender.check.bits:.2f}",
            row.contender.check.verdict,
            row.contender.layout,
            f"{1000 * timing.middle:,.1f}",
            f"{1000 * facts['wall_seconds']:,.1f}",  # type: ignore[operator]
            f"{facts['images_per_second']:,.1f}",
            str(row.against),
        ]
        peak = row.timings[-1].peak_bytes
        table.add_row(*cells, *([f"{peak / 2**20:,.0f}"] if peak is not None else []))
    CONSOLE.print(table)


def verdicts(found: Sequence[tuple[Requirement, Quartiles]]) -> list[dict[str, object]]:
    """Prints what was required beside what was measured; returns it for the JSON file."""
    if not found:
        return []
    table = Table("", "ratio (quartiles)", "must", "aim", "reached", box=None, title="What must hold")
    for requirement, measured in found:
        bounds = (f"<= {requirement.must:.2f}", f"<= {requirement.aim:.2f}")
        table.add_row(requirement.what, str(measured), *bounds, requirement.verdict(measured))
    CONSOLE.print(table)
    return [
        {**asdict(requirement), "measured": asdict(measured), "reached": requirement.verdict(measured)}
        for requirement, measured in found
    ]


def plot_ratios(path: Path, panels: Mapping[str, Sequence[Row]], label: str) -> None:
    """Bars of cost against the fastest peer, one panel a shape, with quartiles."""
    columns = min(3, len(panels))
    lines = math.ceil(len(panels) / columns)
    figure, axes = plt.subplots(lines, columns, figsize=(4.2 * columns, 2.8 * lines), squeeze=False)
    for axis in axes.flat[len(panels) :]:
        axis.set_axis_off()
    for axis, (title, panel) in zip(axes.flat, panels.items(), strict=False):
        names = [row.contender.implementation.name for row in panel]
        middles = [row.against.middle for row in panel]
        spreads = [
            [row.against.middle - row.against.low for row in panel],
            [row.against.high - row.against.middle for row in panel],
        ]
        colors = ["tab:blue" if name.startswith("glow_app") else "tab:gray" for name in names]
        axis.barh(range(len(names)), middles, xerr=spreads, color=colors, ecolor="black")
        axis.set_yticks(range(len(names)), names, fontsize=7)
        axis.invert_yaxis()
        axis.axvline(1, color="black", linewidth=0.8, linestyle=":")
        axis.set_title(title, fontsize=9)
        axis.set_xlabel(label, fontsize=8)
    save(figure, path)


def save(figure: Any, path: Path) -> None:
    """Writes a figure and forgets it."""
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)
    CONSOLE.print(f"written: {path}")
