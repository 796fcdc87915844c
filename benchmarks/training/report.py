"""Tables of what ``python -m benchmarks.training`` measured, for docs/recipe.md.

    python -m benchmarks.training.report            # prints the tables
    python -m benchmarks.training.report --write    # puts them between the marks in docs/recipe.md, and draws

Nothing is measured here: a test compares the document with the results.
"""

import argparse
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from benchmarks.report import RESULTS

LINES = RESULTS / "training.jsonl"
GUIDE = Path(__file__).parents[2] / "docs" / "recipe.md"
PICTURE = RESULTS / "training_programs.png"
LONGEST = 250_000
OURS = {"muon": "glow_app, optim=muon", "small": "glow_app, optim=adam"}
MARK = re.compile(r"(<!-- table: (?P<name>\w+) -->\n).*?(<!-- end of table -->)", re.DOTALL)

Line = dict[str, Any]


def load(path: Path = LINES) -> list[Line]:
    """The results, in the order in which they were measured."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def screens(lines: Iterable[Line]) -> str:
    """Recipes on CIFAR-10 after 900 CPU seconds, the best first, with their distance from the preset ``small``."""
    rows = [line for line in lines if line["data"] == "cifar10" and line["limits"].get("seconds") == 900]
    base = next(line["bits"] for line in rows if line["name"] == "small")
    return _table(
        ("recipe", "parameters", "images", "bits/dim", "minus `small`"),
        [(*_of(line), f"{line['bits'] - base:+.3f}") for line in sorted(rows, key=lambda line: line["bits"])],
    )


def long(lines: Iterable[Line]) -> str:
    """Recipes after 3,600 CPU seconds, by data set and seed."""
    rows = [line for line in lines if line["limits"].get("seconds") == 3600]
    rows.sort(key=lambda line: (line["data"], line["seed"], line["bits"]))
    return _table(
        ("recipe", "parameters", "images", "bits/dim", "data", "seed"),
        [(*_of(line), line["data"], str(line["seed"])) for line in rows],
    )


def programs(lines: Iterable[Line]) -> str:
    """Programs on CIFAR-10 after equally many images, each with its own settings."""
    rows = [line for line in lines if line["data"] == "cifar10" and "images" in line["limits"]]
    rows.sort(key=lambda line: (line["limits"]["images"], line["bits"]))
    return _table(
        ("program", "parameters", "images", "bits/dim", "CPU seconds"),
        [(*_of(line), f"{line['seconds']:,.0f}") for line in rows],
    )


def curves(lines: Iterable[Line], path: Path) -> None:
    """Draws bits/dim of the validation images against images and against CPU seconds, of the longest races."""
    rows = [line for line in lines if line["data"] == "cifar10" and line["limits"].get("images") == LONGEST]
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for line in rows:
        images, seconds, bits = zip(*line["curve"], strict=True)
        left.plot(images, bits, marker=".", label=OURS.get(line["name"], line["name"]))
        right.plot(seconds, bits, marker=".")
    left.set(xlabel="images", ylabel="bits/dim, 5,000 validation images")
    right.set(xlabel="CPU seconds of training")
    left.legend()
    figure.savefig(path, dpi=110)


def _of(line: Line) -> tuple[str, ...]:
    return f"`{line['name']}`", f"{line['parameters'] / 1e6:.2f}M", f"{line['images']:,}", f"{line['bits']:.3f}"


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """A table whose first column is text, and the next three are numbers."""
    marks = [":" if i and rows[0][i].strip("+-.0123456789,M") == "" else "" for i in range(len(head))]
    lines = [head, tuple(f"---{mark}" for mark in marks), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


TABLES = {"screens": screens, "long": long, "programs": programs}


def written(text: str, lines: list[Line]) -> str:
    """A document with its tables between the marks."""
    return MARK.sub(lambda found: f"{found[1]}{TABLES[found['name']](lines)}\n{found[3]}", text)


def main() -> None:
    """Prints or writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="change docs/recipe.md")
    lines = load()
    if parser.parse_args().write:
        GUIDE.write_text(written(GUIDE.read_text(), lines))
        curves(lines, PICTURE)
        return
    for name, table in TABLES.items():
        print(f"{name}\n{table(lines)}\n")


if __name__ == "__main__":
    main()
