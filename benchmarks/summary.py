"""Tables of speed and memory for the README, and of what had to hold, from what the benchmarks wrote to ``results/``.

    python -m benchmarks.summary            # prints them
    python -m benchmarks.summary --write    # puts them between the marks in README.md and in benchmarks/README.md

Nothing is measured here: a test compares both files with the results.
"""

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.report import RESULTS

README = Path(__file__).parents[1] / "README.md"
DETAILS = Path(__file__).with_name("README.md")
BEGIN, END = "<!-- benchmarks: python -m benchmarks.summary --write -->", "<!-- end of benchmarks -->"
OURS = "glow_app "


def load(name: str) -> dict[str, Any]:
    """What a benchmark wrote."""
    return json.loads((RESULTS / f"{name}.json").read_text())


def summary() -> str:
    """Markdown for the README: time and memory beside the others'."""
    steps, samples, memory = load("train_step"), load("sample"), load("memory")
    parts = [
        f"CPU time on {machine(steps)}, over that of the fastest of the others (1.00): the median of "
        f"{steps['repeats']} alternated repetitions, with quartiles for ours. Not measured on a GPU.\n\n"
        "A training step (forward, backward, Adam):",
        ratios(steps["shapes"]),
        "Sampling, latents drawn inside:",
        ratios(samples["shapes"]),
        "What a training step allocates at most, beyond parameters and gradients, at 32x32, L=3, width 128, batch 16, "
        "in MiB, counted from torch's own record of every allocation:",
        depth(memory["points"]),
    ]
    return "\n\n".join(parts)


def details() -> str:
    """Markdown for the benchmarks' own README: what had to hold, what of the machine is used, what compiling buys."""
    required = [one for name in ("train_step", "compiled", "sample", "memory") for one in load(name)["required"]]
    ceilings, compiled, heap = load("ceiling"), load("compiled"), load("heap")
    parts = [
        verdicts(required, load("accuracy")),
        "## How much of the machine is used",
        f"On {machine(ceilings)}; {ceilings['repeats']} alternated repetitions (`python -m benchmarks.ceiling`):",
        ceiling(ceilings["rows"]),
        "## What `trainer.compile` buys",
        f"Time of a training step against that without, and against the fastest of the peers, which runs in the same "
        f"race, on {machine(compiled)}; {compiled['repeats']} alternated repetitions. The first step generates the "
        "code; its seconds are those of the clock (`python -m benchmarks.compiled`):",
        compilations(compiled["shapes"]),
        "## What it buys to keep freed memory",
        "glibc gives large blocks back to the system as soon as they are freed, and every step asks for them again, "
        "page by page. On a CPU every command keeps them (`glow_app/heap.py`), and so do all of these benchmarks, "
        f"for the peers too. CPU time of a training step in processes that do and do not, on {machine(heap)}; "
        f"{heap['repeats']} processes of each kind in turn (`python -m benchmarks.heap`):",
        kept_memory(heap["shapes"]),
    ]
    return "\n\n".join(parts)


def ceiling(rows: list[Mapping[str, Any]]) -> str:
    """Achieved speed, and its share of the machine's own."""
    lines = []
    for row in rows:
        speed, (product, convolution) = row["gflops_per_second"], row["shares"]
        spread = f"{speed['middle']:,.0f} ({speed['low']:,.0f} to {speed['high']:,.0f})"
        lines.append([row["what"], row["precision"], spread, f"{product:.0%}", f"{convolution:.0%}"])
    return table(["", "precision", "GFLOP/s", "of the product", "of the convolution"], lines)


def compilations(shapes: Mapping[str, Any]) -> str:
    """One line a shape and way of compiling."""
    lines = []
    for shape, found in shapes.items():
        for name, way in found["ways"].items():
            against = [shown(way[f"against_{other}"]) for other in ("none", "fastest_peer")]
            lines.append([f"{shape}, {name}", *against, f"{way['first_step_seconds']:.0f} s"])
    return table(["", "against none", "against the fastest peer", "first step"], lines)


def kept_memory(shapes: Mapping[str, Any]) -> str:
    """One line a shape."""
    lines = []
    for shape, found in shapes.items():
        faults = [f"{one['page_faults']:,.0f}" for one in found.values()]
        lines.append([shape, shown(found["kept"]["against_given_back"]), *faults])
    return table(["", "time, kept over given back", "page faults, given back", "page faults, kept"], lines)


def machine(content: Mapping[str, Any]) -> str:
    """The machine that a result names."""
    facts = content["machine"]
    return f"{facts['threads']} of {facts['cores']} cores of an {facts['processor']}, torch {facts['torch']}"


def ratios(shapes: Mapping[str, Any]) -> str:
    """One line a shape, one column an implementation."""
    names = list(dict.fromkeys(row["name"] for shape in shapes.values() for row in shape["rows"]))
    lines = []
    for title, shape in shapes.items():
        cells = {row["name"]: ratio(row) for row in shape["rows"]}
        lines.append([title, *(cells.get(name, "-") for name in names)])
    return table(["", *names], lines)


def ratio(row: Mapping[str, Any]) -> str:
    """Of one implementation."""
    found = row["against_fastest_peer"]
    if row["name"].startswith(OURS):
        return f"**{found['middle']:.2f}** ({found['low']:.2f} to {found['high']:.2f})"
    return f"{found['middle']:.2f}"


def depth(points: Mapping[str, Mapping[str, Any]]) -> str:
    """Activations against K."""
    depths = list(next(iter(points.values())))
    lines = [
        [name, *(f"{at[k]['activation_bytes'] / 2**20:.1f}" if k in at else "-" for k in depths)]
        for name, at in points.items()
    ]
    return table(["K", *depths], lines)


def verdicts(required: list[Mapping[str, Any]], accuracy: Mapping[str, Any]) -> str:
    """What was required beside what was measured."""
    lines = [
        [one["what"], shown(one["measured"]), f"{one['must']:.3g}", f"{one['aim']:.3g}", one["reached"]]
        for one in required
    ]
    moved, errors = accuracy["bits_per_dim_moved_by_bf16"], accuracy["gradient_error"]
    reached = "aim" if abs(moved) <= 0.0005 else "must" if abs(moved) <= 0.002 else "missed"
    lines.append(["bits/dim moved by bfloat16 conditioners, K=32", f"{moved:+.1e}", "0.002", "0.0005", reached])
    share = errors["reversible"] / errors["plain"]
    reached = "aim" if share <= 1 else "must" if share <= 2 else "missed"
    lines.append(
        ["gradient error of `reversible` over that of `plain`, float32, K=32", f"{share:.2f}", "2", "1", reached]
    )
    return table(["", "measured", "must", "aim", "reached"], lines)


def shown(found: Mapping[str, float]) -> str:
    """Median and quartiles, or the one value where nothing varies."""
    if found["low"] == found["high"]:
        return f"{found['middle']:.3g}"
    return f"{found['middle']:.2f} ({found['low']:.2f} to {found['high']:.2f})"


def table(heads: list[str], lines: list[list[str]]) -> str:
    """Markdown."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in _with_rule(heads, lines))


def _with_rule(heads: list[str], lines: list[list[str]]) -> Iterator[list[str]]:
    yield heads
    yield ["---"] * len(heads)
    yield from lines


def put_into(readme: str, tables: str) -> str:
    """The README's text with ``tables`` between the marks."""
    before, rest = readme.split(BEGIN)
    return f"{before}{BEGIN}\n\n{tables}\n\n{END}{rest.split(END)[1]}"


def main() -> None:
    """Prints, or writes."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--write", action="store_true", help="into both files")
    write = options.parse_args().write
    for file, tables in ((README, summary()), (DETAILS, details())):
        if write:
            file.write_text(put_into(file.read_text(), tables))
        else:
            print(tables, end="\n\n")


if __name__ == "__main__":
    main()
