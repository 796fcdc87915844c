"""What wandb wrote on disk: its transaction log, record by record."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wandb.proto.wandb_internal_pb2 import Record

BLOCK = 32768
FIRST, LAST, WHOLE = 2, 4, 1


def records(path: Path) -> Iterator[Record]:
    """Those of one ``run-*.wandb`` file, in LevelDB's log format behind a header of seven bytes."""
    content, at, parts = path.read_bytes(), 7, b""
    while at + 7 <= len(content):
        if BLOCK - at % BLOCK < 7:
            at += BLOCK - at % BLOCK
            continue
        length, kind = int.from_bytes(content[at + 4 : at + 6], "little"), content[at + 6]
        parts = (b"" if kind in (WHOLE, FIRST) else parts) + content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (WHOLE, LAST):
            yield Record.FromString(parts)


def all_records(run: Path) -> list[Record]:
    """Of all the times that a run was started or resumed, in their order."""
    return [record for path in sorted(run.glob("wandb/*run-*/*.wandb")) for record in records(path)]


def history(run: Path) -> list[dict[str, Any]]:
    """The rows that a run logged."""
    rows = []
    for record in all_records(run):
        if record.HasField("history"):
            row: dict[str, Any] = {}
            for item in record.history.item:
                key, *inner = item.nested_key or [item.key]
                if inner:
                    row.setdefault(key, {})["/".join(inner)] = json.loads(item.value_json)
                else:
                    row[key] = json.loads(item.value_json)
            rows.append(row)
    return rows


def points(run: Path) -> list[tuple[str, int, Any]]:
    """(metric, step, value) of everything that a run logged; a picture's value is its size."""
    found = []
    for row in history(run):
        for key, value in row.items():
            if "/" in key:
                found.append(
                    (key, int(row["step"]), (value["width"], value["height"]) if isinstance(value, dict) else value)
                )
    return found
