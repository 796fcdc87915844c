"""Tables of speed and memory for a guide, and of what had to hold, from what the benchmarks wrote to ``results/``.

    python -m benchmarks.summary            # prints them
    python -m benchmarks.summary --write    # puts them between the marks in docs/speed.md and in benchmarks/README.md

Nothing is measured here: a test compares both files with the results.
"""

import argparse
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.report import RESULTS

GUIDE = Path(__file__).parents[1] / "docs" / "speed.md"
DETAILS = Path(__file__).with_name("README.md")
BEGIN, END = "<!-- benchmarks: python -m benchmarks.summary --write -->", "<!-- end of benchmarks -->"
OURS = "glow_app "


def load(name: str) -> dict[str, Any]:
    """What a benchmark wrote."""
    return json.loads((RESULTS / f"{name}.json").read_text())


def of_processors(name: str) -> list[dict[str, Any]]:
    """What a benchmark wrote on each kind of processor."""
    found = [json.loads(path.read_text()) for path in sorted(RESULTS.glob(f"{name}_*.json"))]
    return [one for one in found if one["machine"]["gpu"] is None]


def summary() -> str:
    """Markdown for the guide: time and memory beside the others'."""
    memory = load("memory")
    parts = [
        "CPU time over that of the fastest of the others (1.00): the median of alternated "
        "repetitions, with quartiles for ours. A training step (forward, backward, Adam):",
        *(part for found in of_processors("train_step") for part in (of_machine(found), ratios(found["shapes"]))),
        "Sampling, latents drawn inside:",
        *(part for found in of_processors("sample") for part in (of_machine(found), ratios(found["shapes"]))),
        "What a training step allocates at most, beyond parameters and gradients, at 32x32, L=3, width 128, batch 16, "
        "in MiB, counted from torch's own record of every allocation:",
        depth(memory["points"]),
        f"A training step on {machine(load('train_step_cuda'))}, in images per second, float32 without TF32 (in "
        "brackets: time over that of the fastest of the others):",
        speeds(load("train_step_cuda")["shapes"]),
    ]
    return "\n\n".join(parts)


def details() -> str:
    """Markdown for the benchmarks' own README: what had to hold, what of the machine is used, what compiling buys."""
    parts = [
        verdicts(load("accuracy")),
        "## How much of the machine is used",
        "`python -m benchmarks.ceiling`:",
        *tables("ceiling", lambda found: ceiling(found["rows"])),
        "## What `trainer.compile` buys",
        "Time of a training step against that without, and against the fastest of the peers, which runs in the same "
        "race. The first step generates the code; its seconds are those of the clock (`python -m "
        "benchmarks.compiled`):",
        *tables("compiled", lambda found: compilations(found["shapes"])),
        "## What it buys to keep freed memory",
        "glibc gives large blocks back to the system as soon as they are freed, and every step asks for them again, "
        "page by page. On a CPU every command keeps them (`glow_app/runtime/malloc.py`), and so do all of these "
        "benchmarks, for the peers too. CPU time of a training step in processes that do and do not, in turn (`python "
        "-m benchmarks.heap`):",
        *tables("heap", lambda found: kept_memory(found["shapes"])),
        "## What a run adds to its steps",
        "Loader, guards, averages and figures, which `glow-train` has and the steps timed above have not: time of a "
        "step in runs, and of the step alone, in turn (`python -m benchmarks.whole_run`):",
        *tables("whole_run", lambda found: runs_and_steps(found["shapes"])),
        *on_a_gpu(),
    ]
    return "\n\n".join(parts)


def tables(name: str, table_of: Callable[[dict[str, Any]], str]) -> Iterator[str]:
    """Machine and table of a benchmark, for each kind of processor."""
    for found in of_processors(name):
        yield of_machine(found)
        yield table_of(found)


def of_machine(content: Mapping[str, Any]) -> str:
    """The machine and its speed, in front of a table."""
    rates = content["machine"].get("gflops_per_second")
    speed = "" if rates is None else "; GFLOP/s of a core: " + ", ".join(f"{k} {v:,.0f}" for k, v in rates.items())
    return f"*{machine(content)}; {content['repeats']} repetitions{speed}*{noted(content)}"


def on_a_gpu() -> list[str]:
    """What the same commands found with ``--device cuda``."""
    steps, compiled, samples = load("train_step_cuda"), load("compiled_cuda"), load("sample_cuda")
    ceilings, memory, published = load("ceiling_cuda"), load("memory_cuda"), load("memory_published_cuda")
    modes = [
        [f"memory={mode}", f"{found['peak_bytes'] / 1e9:.2f} GB", f"{found['seconds']:.1f} s"]
        for mode, found in published["modes"].items()
    ]
    return [
        "## On a GPU",
        f"On {machine(steps)}, float32 without TF32; a process launches from one thread. A training step in images per "
        f"second (in brackets: time over that of the fastest of the others, quartiles for ours), {steps['repeats']} "
        f"alternated repetitions{noted(steps)}:",
        speeds(steps["shapes"], quartiles=True),
        "What it allocates at most beyond what stood before, in MiB; what a captured step computes with is in memory "
        "of its own, and not counted:",
        peaks(steps["shapes"]),
        "Bfloat16, captured and compiled; the first step generates code, unless another model of the process has had "
        f"it generated before{noted(compiled)}:",
        compilations(compiled["shapes"]),
        "Sampling, over the time of the fastest of the others (nflows cannot, its inverse mixes devices):",
        ratios(samples["shapes"]),
        f"Share of the machine, training steps captured{noted(ceilings)}:",
        ceiling(ceilings["rows"]),
        "Allocated at most during a forward and backward pass at 32x32, L=3, width 128, batch 16, in MiB, with "
        "weights, gradients, Adam's state and the libraries' workspaces. With `plain` and `checkpoint`, a level's "
        f"weights are laid out for all of its steps at once{noted(memory)}:",
        depth(memory["points"], "peak_allocated_bytes"),
        "The paper's 256x256 model (L6, K32, width 512, additive), one image, float32, not captured; forward, backward "
        "and Adam:",
        table(["", "peak allocated", "a step"], modes),
    ]


def runs_and_steps(shapes: Mapping[str, Any]) -> str:
    """One line a shape."""
    lines = []
    for shape, found in shapes.items():
        alone, run = found["the step alone"], found["in a run"]
        seconds = (f"{1000 * one['seconds']['middle']:,.0f} ms" for one in (alone, run))
        lines.append([f"{shape}, {found['implementation']}", *seconds, shown(run["against_alone"])])
    return table(["", "the step alone", "in a run", "over it"], lines)


def noted(content: Mapping[str, Any]) -> str:
    """What has to be known of a measurement, if anything."""
    return f" ({content['note']})" if "note" in content else ""


def speeds(shapes: Mapping[str, Any], quartiles: bool = False) -> str:
    """One line an implementation, one column a shape: images per second, and time over the fastest peer's."""
    names = list(dict.fromkeys(row["name"] for shape in shapes.values() for row in shape["rows"]))
    found = {(title, row["name"]): row for title, shape in shapes.items() for row in shape["rows"]}
    lines = []
    for name in names:
        rows = [found.get((title, name)) for title in shapes]
        lines.append([name, *("-" if row is None else speed(row, quartiles) for row in rows)])
    return table(["images/s", *shapes], lines)


def speed(row: Mapping[str, Any], quartiles: bool) -> str:
    """Of one implementation."""
    against = row["against_fastest_peer"]
    ours = row["name"].startswith(OURS)
    times = shown(against) if quartiles and ours else f"{against['middle']:.2f}"
    return f"{'**' * ours}{row['images_per_second']:,.0f}{'**' * ours} ({times})"


def peaks(shapes: Mapping[str, Any]) -> str:
    """One line a shape, one column an implementation that is not captured."""
    names = list(dict.fromkeys(row["name"] for shape in shapes.values() for row in shape["rows"]))
    names = [name for name in names if not name.endswith("cuda_graph")]
    lines = []
    for title, shape in shapes.items():
        cells = {row["name"]: f"{row['peak_bytes'] / 2**20:,.0f}" for row in shape["rows"]}
        lines.append([title, *(cells.get(name, "-") for name in names)])
    return table(["", *names], lines)


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
            speed = f"{way['images_per_second']:,.0f}" if "images_per_second" in way else None
            cells = [f"{shape}, {name}", *against, f"{way['first_step_seconds']:.0f} s"]
            lines.append([*cells, *([speed] if speed else [])])
    heads = ["", "against none", "against the fastest peer", "first step"]
    return table([*heads, *(["images/s"] if len(lines[0]) > len(heads) else [])], lines)


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
    if facts["gpu"]:
        return f"one {facts['gpu']}, torch {facts['torch']}"
    return f"{facts['threads']} of {facts['cores']} cores of an {facts['processor']}, torch {facts['torch']}"


def ratios(shapes: Mapping[str, Any]) -> str:
    """One line an implementation, one column a shape."""
    cells = {title: {row["name"]: ratio(row) for row in shape["rows"]} for title, shape in shapes.items()}
    names = dict.fromkeys(name for of_shape in cells.values() for name in of_shape)
    return table(["", *cells], [[name, *(of_shape.get(name, "-") for of_shape in cells.values())] for name in names])


def ratio(row: Mapping[str, Any]) -> str:
    """Of one implementation."""
    found = row["against_fastest_peer"]
    if row["name"].startswith(OURS):
        return f"**{found['middle']:.2f}** ({found['low']:.2f} to {found['high']:.2f})"
    return f"{found['middle']:.2f}"


def depth(points: Mapping[str, Mapping[str, Any]], what: str = "activation_bytes") -> str:
    """Memory against K."""
    depths = list(next(iter(points.values())))
    lines = [[name, *(f"{at[k][what] / 2**20:.1f}" if k in at else "-" for k in depths)] for name, at in points.items()]
    return table(["K", *depths], lines)


def verdicts(accuracy: Mapping[str, Any]) -> str:
    """What was required beside what was measured, on each kind of processor."""
    lines = []
    for name in ("train_step", "compiled", "sample"):
        for found in of_processors(name):
            lines += [[one["what"], processor(found), *verdict(one)] for one in found["required"]]
    lines += [[one["what"], "any", *verdict(one)] for one in load("memory")["required"]]
    moved, errors = accuracy["bits_per_dim_moved_by_bf16"], accuracy["gradient_error"]
    reached = "aim" if abs(moved) <= 0.0005 else "must" if abs(moved) <= 0.002 else "missed"
    lines.append(["bits/dim moved by bfloat16 conditioners, K=32", "any", f"{moved:+.1e}", "0.002", "0.0005", reached])
    share = errors["reversible"] / errors["plain"]
    reached = "aim" if share <= 1 else "must" if share <= 2 else "missed"
    what = "gradient error of `reversible` over that of `plain`, float32, K=32"
    lines.append([what, "any", f"{share:.2f}", "2", "1", reached])
    return table(["", "processor", "measured", "must", "aim", "reached"], lines)


def verdict(one: Mapping[str, Any]) -> list[str]:
    """What was measured, the bounds, and which is reached."""
    return [shown(one["measured"]), f"{one['must']:.3g}", f"{one['aim']:.3g}", one["reached"]]


def processor(content: Mapping[str, Any]) -> str:
    """Its kind, as :func:`benchmarks.processor.name` gives it."""
    return content["machine"]["processor"].rpartition("(")[2].rstrip(")")


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


def put_into(page: str, tables: str) -> str:
    """The page's text with ``tables`` between the marks."""
    before, rest = page.split(BEGIN)
    return f"{before}{BEGIN}\n\n{tables}\n\n{END}{rest.split(END)[1]}"


def main() -> None:
    """Prints, or writes."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--write", action="store_true", help="into both files")
    write = options.parse_args().write
    for file, tables in ((GUIDE, summary()), (DETAILS, details())):
        if write:
            file.write_text(put_into(file.read_text(), tables))
        else:
            print(tables, end="\n\n")


if __name__ == "__main__":
    main()
