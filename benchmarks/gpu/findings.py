"""What commands have left in their folders."""

import csv
import json
from pathlib import Path
from typing import Any


def newest(pattern: str, folder: Path) -> Path:
    """The last of the paths that match.

    Raises:
        FileNotFoundError: there is none.
    """
    found = sorted(folder.glob(pattern))
    if not found:
        raise FileNotFoundError(f"nothing at {folder / pattern}")
    return found[-1]


def curve(run_folder: Path) -> list[tuple[int, float]]:
    """(step, bits/dim) of every validation of a run."""
    with open(run_folder / "metrics.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row.get("val/bits_per_dim")]
    return [(int(row["step"]), float(row["val/bits_per_dim"])) for row in rows]


def card(run_folder: Path) -> dict[str, Any]:
    """What the exported model of a run says of itself."""
    return json.loads((run_folder / "model" / "model.json").read_text())


def evaluation(folder: Path) -> dict[str, Any]:
    """What ``glow-evaluate`` has left, its figures first."""
    found = json.loads((folder / "evaluation.json").read_text())
    keys = [key for key in ("bits_per_dim", "importance_bound") if found.get(key)]
    return {key: found[key]["mean"] for key in keys} | {"images": found["images"], "evaluation": found}
