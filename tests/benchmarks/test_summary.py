"""The tables in the guide to speed and in the README of the benchmarks are those that the results give."""

import json
from pathlib import Path

import pytest

from benchmarks import summary


@pytest.mark.parametrize("file", [summary.GUIDE, summary.DETAILS], ids=["guide", "benchmarks"])
def test_the_tables_are_those_of_the_results(file: Path) -> None:
    tables = summary.summary() if file == summary.GUIDE else summary.details()
    text = file.read_text()
    assert summary.put_into(text, tables) == text, "run python -m benchmarks.summary --write"


def test_a_changed_result_changes_the_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = summary.summary()
    for result in summary.RESULTS.glob("*.json"):
        (tmp_path / result.name).write_text(result.read_text())
    content = json.loads((tmp_path / "memory.json").read_text())
    content["points"]["glow_app reversible"]["64"]["activation_bytes"] = 123 * 2**20
    (tmp_path / "memory.json").write_text(json.dumps(content))
    monkeypatch.setattr(summary, "RESULTS", tmp_path)
    assert "| 123.0 |" in summary.summary() and "| 123.0 |" not in before
