"""Rows of scores on disk: sorted without holding them all, found again, and never mixed."""

import json
from pathlib import Path

import pytest
import torch

from glow_app.commands import score_files
from glow_app.commands.score_files import Rows
from glow_app.errors import UserError

FACTS = {"model": "abc", "draws": 1}


def filled(path: Path, values: torch.Tensor) -> Rows:
    rows = Rows(path, ["number", "value"], FACTS)
    rows.add(torch.stack([torch.arange(len(values), dtype=torch.float64), values.double()], 1))
    rows.close()
    return rows


@pytest.mark.parametrize(("run", "block"), [(2**16, 2**10), (7, 2), (3, 5), (1, 1)])
def test_sorting_in_runs_is_sorting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: int, block: int) -> None:
    monkeypatch.setattr(score_files, "RUN", run)
    monkeypatch.setattr(Rows.blocks, "__defaults__", (run,))
    monkeypatch.setattr(score_files, "BLOCK", block)
    values = torch.tensor([3.0, 1.0, torch.nan, -2.0, 1.0, torch.inf, 0.5, torch.nan, 1.0, -torch.inf])
    rows = filled(tmp_path / "r", values)
    order = [index for index, _ in rows.sorted("value")]
    assert order == [9, 3, 6, 1, 4, 8, 0, 5, 2, 7]  # ties by index, NaN last
    assert all(row[0] == index for index, row in rows.sorted("value"))
    assert rows.column("number").tolist() == list(range(10))


def test_rows_are_found_again_as_far_as_they_are_certain(tmp_path: Path) -> None:
    filled(tmp_path / "r", torch.arange(5.0))
    with open(tmp_path / "r", "ab") as file:
        file.write(b"half a row")
    again = Rows(tmp_path / "r", ["number", "value"], FACTS)
    assert again.n == 5
    assert again.column("value").tolist() == [0, 1, 2, 3, 4]
    again.truncate(2)
    assert Rows(tmp_path / "r", ["number", "value"], FACTS).n == 2
    with pytest.raises(UserError, match="holds unfinished scores with another draws=1: finish them"):
        Rows(tmp_path / "r", ["number", "value"], FACTS | {"draws": 2})
    again.delete()
    assert not list(tmp_path.iterdir())


def test_what_is_damaged_is_told(tmp_path: Path) -> None:
    filled(tmp_path / "r", torch.arange(5.0))
    (tmp_path / "r.json").write_text(json.dumps({"rows": 5}))
    with pytest.raises(UserError, match=r"r\.json is damaged .*: delete it, or choose output="):
        Rows(tmp_path / "r", ["number", "value"], FACTS)
