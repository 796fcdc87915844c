"""metrics.csv: every metric of a run, in a plain file that a resumed run continues."""

import csv
import io
import os
from argparse import Namespace
from contextlib import suppress
from pathlib import Path
from typing import Any

from lightning_fabric.utilities.rank_zero import rank_zero_only
from pytorch_lightning.loggers.logger import Logger


class MetricsCSV(Logger):
    """Writes one row per measurement (training and validation apart), with one column per metric.

    Lightning's own CSV logger deletes what it finds in its folder; this one continues the file, and drops the rows
    after ``resumed_step``, which the resumed run writes again. Rows that a full disk refuses wait for the next row.

    Args:
        path: the file.
        resumed_step: step from which the run resumes; 0 for a new one.
    """

    def __init__(self, path: Path, resumed_step: int = 0) -> None:
        super().__init__()
        self.path = path
        self._columns = ["step"]
        self._latest: dict[frozenset[str], float] = {}  # last step of each kind of row
        self._waiting: list[dict[str, float]] = []
        if path.exists():
            rows = [row for row in read(path) if row["step"] <= resumed_step]
            self._latest = {frozenset(row): row["step"] for row in rows}
            self._rewrite(rows)

    @property
    def name(self) -> str:
        return ""

    @property
    def version(self) -> str:
        return ""

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Does nothing: the configuration is in config.yaml."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        row = {"step": float(step or 0), **{key: float(value) for key, value in metrics.items() if key != "epoch"}}
        if self._latest.get(frozenset(row), -1.0) >= row["step"]:
            return  # Lightning repeats the last metrics when a run ends, and a finished run repeats its validation
        self._latest[frozenset(row)] = row["step"]
        self._waiting.append(row)
        with suppress(OSError):
            self._write_waiting()

    @rank_zero_only
    def sync(self) -> None:
        """Makes the rows so far survive a power failure, if the disk has room for them."""
        with suppress(OSError):
            self._write_waiting()
            with open(self.path, "rb") as file:
                os.fsync(file.fileno())

    def _write_waiting(self) -> None:
        if not self.path.exists() or any(set(row) - set(self._columns) for row in self._waiting):
            self._rewrite([*(read(self.path) if self.path.exists() else []), *self._waiting])
        else:
            text = io.StringIO(newline="")
            csv.DictWriter(text, self._columns).writerows(_text(row) for row in self._waiting)
            with open(self.path, "ab", buffering=0) as file:
                end = file.tell()
                lines = text.getvalue().encode()
                try:
                    while lines:
                        lines = lines[file.write(lines) :]
                except OSError:
                    os.truncate(self.path, end)  # half a row might be read as a whole one
                    raise
        self._waiting = []

    def _rewrite(self, rows: list[dict[str, float]]) -> None:
        columns = list(dict.fromkeys([*self._columns, *(key for row in rows for key in row)]))
        temporary = self.path.with_suffix(".new")
        with open(temporary, "w", newline="") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(_text(row) for row in rows)
        os.replace(temporary, self.path)
        self._columns = columns


def read(path: Path) -> list[dict[str, float]]:
    """Reads the rows of a metrics.csv, each with the metrics that it has; drops a torn last line."""
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
