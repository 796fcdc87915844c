"""metrics.csv: every figure of a run, in a file that opens anywhere, and that a resumed run continues."""

import csv
import os
from argparse import Namespace
from pathlib import Path
from typing import Any

from lightning_fabric.utilities.rank_zero import rank_zero_only
from pytorch_lightning.loggers.logger import Logger


class MetricsCSV(Logger):
    """One row each time that something was measured (training and validation apart), one column per metric.

    Lightning's own CSV logger deletes what it finds in its folder; this one goes on with it, and drops the rows after
    ``resumed_step``, which the resumed run is about to write again.

    Args:
        path: the file.
        resumed_step: step from which the run continues; 0 for a new one.
    """

    def __init__(self, path: Path, resumed_step: int = 0) -> None:
        super().__init__()
        self.path = path
        self._columns = ["step"]
        if path.exists():
            self._rewrite([row for row in read(path) if row["step"] <= resumed_step])

    @property
    def name(self) -> str:
        return ""

    @property
    def version(self) -> str:
        return ""

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Nothing: the configuration is in config.yaml."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        row = {"step": float(step or 0), **{key: float(value) for key, value in metrics.items() if key != "epoch"}}
        if set(row) - set(self._columns):
            rows = read(self.path) if self.path.exists() else []
            self._columns += [key for key in row if key not in self._columns]
            self._rewrite(rows)
        with open(self.path, "a", newline="") as file:
            csv.DictWriter(file, self._columns).writerow(_text(row))

    def _rewrite(self, rows: list[dict[str, float]]) -> None:
        for row in rows:
            self._columns += [key for key in row if key not in self._columns]
        temporary = self.path.with_suffix(".new")
        with open(temporary, "w", newline="") as file:
            writer = csv.DictWriter(file, self._columns)
            writer.writeheader()
            writer.writerows(_text(row) for row in rows)
        os.replace(temporary, self.path)


def read(path: Path) -> list[dict[str, float]]:
    """The rows of a metrics.csv, each with the metrics that it has; a torn last line is left out."""
    rows = []
    with open(path, newline="") as file:
        for row in csv.DictReader(file):
            try:
                rows.append({key: float(value) for key, value in row.items() if value})
            except (TypeError, ValueError):
                continue
    return [row for row in rows if "step" in row]


def _text(row: dict[str, float]) -> dict[str, str]:
    return {key: str(int(value)) if key == "step" else repr(value) for key, value in row.items()}
