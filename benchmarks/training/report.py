"""Tables and curves of what ``python -m benchmarks.training`` measured, for docs/recipe.md.

    python -m benchmarks.training.report            # prints the tables
    python -m benchmarks.training.report --write    # puts them between the marks in docs/recipe.md

Nothing is measured here: a test compares the document with the results.
"""

import argparse
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from matplotlib import pyplot as plt

from benchmarks.report import RESULTS

LINES = RESULTS / "training.jsonl"
GUIDE = Path(__file__).parents[2] / "docs" / "recipe.md"
MARK = re.compile(r"(<!-- table: (?P<name>\w+) -->\n).*?(<!-- end of table -->)", re.DOTALL)

Line = dict[str, Any]


def load(path: Path = LINES) -> list[Line]:
    """The results, in the order in which they were measured."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def screens(lines: Iterable[Line], seconds: float = 900, data: str = "cifar10", baseline: str = "small") -> str:
    """Recipes of one seed at equal time, the best first, with their distance from the preset ``small``."""
    rows = [line for line in lines if line["data"] == data and line["limits"].get("seconds") == seconds]
    rows.sort(key=lambda line: line["bits"])
    base = next(line["bits"] for line in rows if line["name"] == baseline)
    head = ["| recipe | parameters | images | bits/dim | minus `small` |", "| --- | ---: | ---: | ---: | ---: |"]
    return "\n".join(
        [
            *head,
            *(
                f"| `{line['name']}` | {line['parameters'] / 1e6:.2f}M | {line['images']:,} | {line['bits']:.3f} | "
                f"{line['bits'] - base:+.3f} |"
                for line in rows
            ),
        ]
    )


TABLES = {"screens": screens}


def written(text: str, lines: list[Line]) -> str:
    """A document with its tables between the marks."""
    return MARK.sub(lambda found: f"{found[1]}{TABLES[found['name']](lines)}\n{found[3]}", text)


def curves(lines: Iterable[Line], path: Path) -> None:
    """Validation bits/dim against images and against CPU seconds, a line for each."""
    figure, axes = plt.subplots(1, 2, figsize=(11, 4), sharey=True)
    for line in lines:
        images, seconds, bits = zip(*line["curve"], strict=True)
        for axis, x in zip(axes, (images, seconds), strict=True):
            axis.plot(x, bits, marker=".", label=line["name"])
    for axis, label in zip(axes, ("images", "CPU seconds"), strict=True):
        axis.set_xlabel(label)
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("bits/dim, validation")
    axes[1].legend()
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def main() -> None:
    """Prints or writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="change docs/recipe.md")
    lines = load()
    if parser.parse_args().write:
        GUIDE.write_text(written(GUIDE.read_text(), lines))
        return
    for name, table in TABLES.items():
        print(f"{name}\n{table(lines)}\n")


if __name__ == "__main__":
    main()
