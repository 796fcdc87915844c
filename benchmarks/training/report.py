"""Tables of what ``python -m benchmarks.training`` measured, for docs/recipe.md.

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

from benchmarks.report import RESULTS

LINES = RESULTS / "training.jsonl"
GUIDE = Path(__file__).parents[2] / "docs" / "recipe.md"
MARK = re.compile(r"(<!-- table: (?P<name>\w+) -->\n).*?(<!-- end of table -->)", re.DOTALL)

Line = dict[str, Any]


def load(path: Path = LINES) -> list[Line]:
    """The results, in the order in which they were measured."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def screens(lines: Iterable[Line]) -> str:
    """Recipes on CIFAR-10 after 900 CPU seconds, the best first, with their distance from the preset ``small``."""
    rows = [line for line in lines if line["data"] == "cifar10" and line["limits"].get("seconds") == 900]
    rows.sort(key=lambda line: line["bits"])
    base = next(line["bits"] for line in rows if line["name"] == "small")
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
