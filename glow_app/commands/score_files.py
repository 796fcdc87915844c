"""Files of ``glow-score``: rows of scores on disk while they are computed, and the sorted table that is made of them.

Rows are appended to ``<name>.rows`` (float64); ``<name>.rows.json`` has what identifies them and how many are
certain to be on the disk. Memory does not depend on the number of images: rows are sorted
in runs, which are merged from the disk.
"""

import csv
import heapq
import io
import json
import math
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from glow_app.commands.sample_metadata import writing
from glow_app.errors import UserError
from glow_app.runtime.atomic import write_atomically, write_text

FLUSH_SECONDS = 2.0
"""Seconds of work that may be lost if the process is killed."""

RUN = 2**16
"""Rows that are sorted in memory."""

BLOCK = 2**10
"""Entries of a sorted run that are read at once."""

_ENTRY = np.dtype([("value", "<f8"), ("index", "<i8")])


class Rows:
    """Rows of scores on disk, in the order of the images.

    Args:
        path: file of the rows.
        names: names of the columns.
        facts: values that identify these rows, JSON-ready.

    Raises:
        UserError: rows of other images, models or options are there, or the disk refuses.
    """

    def __init__(self, path: Path, names: Sequence[str], facts: dict[str, Any]) -> None:
        self.path, self.names, self.facts = path, tuple(names), facts
        self._state = path.with_name(f"{path.name}.json")
        self._width = 8 * len(names)
        self._saved = time.monotonic()
        self.n = self._found()
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
            os.truncate(path, self.n * self._width)
        self._file: BinaryIO | None = None

    def _found(self) -> int:
        """The number of rows that are there already."""
        if not self._state.exists() or not self.path.exists():
            return 0
        try:
            content = json.loads(self._state.read_text())
            n, facts = int(content["rows"]), dict(content["facts"])
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise UserError(f"{self._state} is damaged ({error}): delete it, or choose output=...") from error
        different = [key for key in self.facts if facts.get(key) != self.facts[key]]
        if different and n:
            held = ", ".join(f"{key}={json.dumps(facts.get(key))}" for key in different[:3])
            raise UserError(
                f"{self.path} holds unfinished scores with another {held}: finish them, choose output=..., or delete it"
            )
        # Rows after these were written after the count, and are computed again.
        return 0 if different else min(max(n, 0), self.path.stat().st_size // self._width)

    def truncate(self, n: int) -> None:
        """Forgets all but the first ``n`` rows."""
        self.n = min(n, self.n)
        with writing(self.path):
            os.truncate(self.path, self.n * self._width)
        self._write_state()

    def add(self, rows: Tensor) -> None:
        """Appends rows, float64 (some, columns)."""
        with writing(self.path):
            if self._file is None:
                self._file = open(self.path, "ab", buffering=0)  # noqa: SIM115  closed by close()
            self._file.write(rows.contiguous().numpy().tobytes())
        self.n += len(rows)
        if time.monotonic() > self._saved + FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Saves everything added so far."""
        with writing(self.path):
            if self._file is not None:
                os.fsync(self._file.fileno())
        self._write_state()
        self._saved = time.monotonic()

    def close(self) -> None:
        """Saves, and closes the file."""
        self.flush()
        if self._file is not None:
            self._file.close()
            self._file = None

    def delete(self) -> None:
        """Deletes the files."""
        self.close()
        self._state.unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)

    def _write_state(self) -> None:
        write_text(self._state, json.dumps({"rows": self.n, "facts": self.facts}, indent=1))

    def blocks(self, size: int = RUN) -> Iterator[Tensor]:
        """Yields the rows in order, up to ``size`` at a time: float64 (some, columns)."""
        with open(self.path, "rb") as file:
            while content := file.read(size * self._width):
                yield torch.frombuffer(bytearray(content), dtype=torch.float64).view(-1, len(self.names))

    def column(self, name: str) -> Tensor:
        """All values of one column, in memory: float64 (n,)."""
        number = self.names.index(name)
        return torch.cat([torch.empty(0, dtype=torch.float64), *(block[:, number] for block in self.blocks())])

    def sorted(self, name: str) -> Iterator[tuple[int, list[float]]]:
        """Yields (index, row) by one column, ascending; ties by index, NaN last."""
        number = self.names.index(name)
        with tempfile.TemporaryFile(dir=self.path.parent) as runs, open(self.path, "rb") as rows:
            sizes: list[int] = []
            for block in self.blocks():
                values = block[:, number].numpy()
                order = np.argsort(values, kind="stable")
                entries = np.empty(len(order), _ENTRY)
                entries["value"], entries["index"] = values[order], order + sum(sizes)
                with writing(self.path):
                    runs.write(entries.tobytes())
                sizes.append(len(order))
            starts = np.cumsum([0, *sizes])
            merged = heapq.merge(*(_entries(runs, start, size) for start, size in zip(starts, sizes, strict=False)))
            for _, _, index in merged:
                rows.seek(index * self._width)
                yield index, np.frombuffer(rows.read(self._width), "<f8").tolist()


def _entries(file: Any, start: int, size: int) -> Iterator[tuple[bool, float, int]]:
    """Yields the entries of one sorted run as tuples that sort as they do."""
    for first in range(int(start), int(start) + size, BLOCK):
        n = min(BLOCK, int(start) + size - first)
        file.seek(first * _ENTRY.itemsize)
        for value, index in np.frombuffer(file.read(n * _ENTRY.itemsize), _ENTRY).tolist():
            yield math.isnan(value), 0.0 if math.isnan(value) else value, index


def write_csv(path: Path, header: Sequence[str], lines: Iterator[Sequence[object]]) -> None:
    """Writes a table line by line, atomically.

    Raises:
        CannotWrite: the disk refuses.
    """

    def write(file: BinaryIO) -> None:
        text = io.TextIOWrapper(file, encoding="utf-8", errors="surrogateescape", newline="")
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(header)
        rows.writerows(lines)
        text.detach()

    write_atomically(path, write)
