"""``benchmarks.energies``: rows that are kept, the table of the guide, and the picture."""

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from benchmarks import energies


def row(energy: str, model: str, layers: int, kl: float) -> dict[str, Any]:
    figures = dict.fromkeys(energies.FIGURES, 0.25) | {"kl": kl, "kl_error": 0.001}
    return {"energy": energy, "model": model, "layers": layers, "parameters": 1234, **figures, "cpu_seconds": 3.0}


def test_the_table_has_a_row_for_each_model_and_depth() -> None:
    rows = [row("u1", "planar", 8, 0.2), row("u1", "planar", 2, 0.5), row("u2", "planar", 2, 0.75)]
    assert energies.by_layers(rows) == [
        "| | K | parameters | u1 | u2 |",
        "|---|---|---|---|---|",
        "| planar | 2 | 1,234 | 0.500 ± 0.001; 0.250 | 0.750 ± 0.001; 0.250 |",
        "| planar | 8 | 1,234 | 0.200 ± 0.001; 0.250 | - |",
    ]
    guide = f"a\n{energies.FIRST_MARK}\nold\n{energies.LAST_MARK}\nb\n"
    assert energies.written(guide, ["new"]) == guide.replace("old", "new")
    assert energies.written(energies.GUIDE.read_text(), [])


@pytest.mark.slow
def test_what_has_ended_is_kept_and_drawn(tmp_path: Path) -> None:
    few = {"max_steps": 2, "anneal_steps": 0, "val_images": 10, "test_images": 10, "validate_every": 2}
    rows = []
    for model in energies.MODELS:
        folder = tmp_path / energies.folder_of("u1", model, 2)
        rows.append(energies.fit("u1", model, 2, folder, **few))
        assert energies.fit("u1", model, 2, folder) == rows[-1]
        (folder / energies.ROW).unlink()  # interrupted at the very end
        again = energies.fit("u1", model, 2, folder, **few)
        assert {**again, "cpu_seconds": 0} == {**rows[-1], "cpu_seconds": 0}
    energies.draw(rows, tmp_path, tmp_path / "energies.png")
    with Image.open(tmp_path / "energies.png") as picture:
        assert picture.width > 400
    assert energies.table(rows).row_count == 4
