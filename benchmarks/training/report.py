"""Tables of what ``benchmarks.training`` and ``benchmarks.training.family`` measured, for two guides.

    python -m benchmarks.training.report            # prints the tables
    python -m benchmarks.training.report --write    # puts them between the marks in the guides, and draws

Nothing is measured here: a test compares the documents with the results.
"""

import argparse
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from matplotlib.figure import Figure

from benchmarks.report import RESULTS
from benchmarks.training import family as relatives

LINES = RESULTS / "training.jsonl"
GUIDES = [Path(__file__).parents[2] / "docs" / name for name in ("recipe.md", "equal_terms.md")]
FAMILY_DATA = ("drawn_faces", "mnist", "cifar10")
PICTURE = RESULTS / "training_programs.png"
LONGEST = 250_000
OURS = {
    "muon_k10_6_4": "glow_app, model=glow_plus optim=muon", "muon": "glow_app, model=small optim=muon",
}  # fmt: skip
BETTER, BASELINES = "muon_k10_6_4", ("small", "adam_2e-3")
"""The recipe, and the preset ``small`` with its learning rate or, where it diverges with that, with half of it."""
MARK = re.compile(r"(<!-- table: (?P<name>\w+) -->\n).*?(<!-- end of table -->)", re.DOTALL)

Line = dict[str, Any]


def load(path: Path) -> list[Line]:
    """The results, in the order in which they were measured."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def screens(lines: Iterable[Line]) -> str:
    """Recipes on CIFAR-10 after 900 CPU seconds, the best first, with their distance from the preset ``small``."""
    rows = [line for line in lines if _is_screen(line) and line["data"] == "cifar10" and line["seed"] == 0]
    base = next(line["bits"] for line in rows if line["name"] == "small")
    return _table(
        ("recipe", "parameters", "images", "bits/dim", "minus `small`"),
        [(*_of(line), f"{line['bits'] - base:+.3f}") for line in sorted(rows, key=lambda line: line["bits"])],
    )


def pairs(lines: Iterable[Line]) -> str:
    """The recipe beside ``small`` after 900 CPU seconds, by data set and seed."""
    rows = [line for line in lines if _is_screen(line)]
    rows.sort(key=lambda line: (line["data"], line["seed"]))
    found = []
    for better in (line for line in rows if line["name"] == BETTER):
        same = (better["data"], better["seed"])
        base = next(one for one in rows if one["name"] in BASELINES and (one["data"], one["seed"]) == same)
        found.append((
            f"{better['data']}, seed {better['seed']}", *(f"{one['bits']:.3f}" for one in (base, better)),
            *(f"{one['images']:,}" for one in (base, better)), f"{better['bits'] - base['bits']:+.3f}",
        ))  # fmt: skip
    return _table(("data", "`small`", f"`{BETTER}`", "images of the first", "of the second", "difference"), found)


def _is_screen(line: Line) -> bool:
    return line["limits"].get("seconds") == 900


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


def family(lines: Iterable[Line]) -> str:
    """Glow's relatives: images seen, bits/dim over the seeds at the chosen rate, and ms for an image of drawn faces."""
    found = [line for line in lines if "bits" in line]
    rows = []
    for name in dict.fromkeys(line["name"] for line in found):
        rate = relatives.rate_of(name, found)
        faces, digits, photographs = (
            [line for line in found if (line["name"], line["data"], line["rate"]) == (name, data, rate)]
            for data in FAMILY_DATA
        )
        rows.append((
            f"`{name}`", f"{faces[0]['parameters'] / 1e6:.2f}M", f"{mean(line['images'] for line in faces):,.0f}",
            *(_over_seeds([line["bits"] for line in data]) for data in (faces, digits, photographs)),
            *(f"{min(line['milliseconds'][way] for line in faces):.1f}" for way in ("forward", "inverse")),
        ))  # fmt: skip
    head = ("model", "parameters", "images", *(f"`{data}`" for data in FAMILY_DATA), "forward, ms", "inverse, ms")
    return _table(head, rows)


def _over_seeds(bits: Sequence[float]) -> str:
    return f"{mean(bits):.3f} ± {stdev(bits):.3f}"


def _of(line: Line) -> tuple[str, ...]:
    return f"`{line['name']}`", f"{line['parameters'] / 1e6:.2f}M", f"{line['images']:,}", f"{line['bits']:.3f}"


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """A table whose first column is text, and the next three are numbers."""
    marks = [":" if i and rows[0][i].strip("+-± .0123456789,M") == "" else "" for i in range(len(head))]
    lines = [head, tuple(f"---{mark}" for mark in marks), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def tables() -> dict[str, str]:
    """Every table, by the name at its mark."""
    races = load(LINES)
    return {
        "screens": screens(races), "pairs": pairs(races), "programs": programs(races),
        "family": family(load(relatives.LINES)),
    }  # fmt: skip


def written(text: str, tables: dict[str, str]) -> str:
    """A document with its tables between the marks."""
    return MARK.sub(lambda found: f"{found[1]}{tables[found['name']]}\n{found[3]}", text)


def main() -> None:
    """Prints or writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="change the guides")
    made = tables()
    if parser.parse_args().write:
        for guide in GUIDES:
            guide.write_text(written(guide.read_text(), made))
        curves(load(LINES), PICTURE)
        return
    for name, table in made.items():
        print(f"{name}\n{table}\n")


if __name__ == "__main__":
    main()
