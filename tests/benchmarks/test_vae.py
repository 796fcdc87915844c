"""``benchmarks.vae``: test images that are held out, rows that are kept, and the table of the guide."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import vae
from benchmarks.energies import written
from glow_app.data.sets.mnist import Mnist
from tests.data.layouts import idx


def digits(folder: Path, n: int) -> Path:
    """The idx files of training images alone."""
    random = np.random.default_rng(0)
    folder.mkdir()
    (folder / "train-images-idx3-ubyte").write_bytes(idx(random.integers(0, 256, (n, 28, 28), dtype=np.uint8)))
    labels = random.integers(0, 10, n, dtype=np.uint8)
    labels[:8] = (5, 0, 4, 1, 9, 2, 1, 3)  # by which MNIST is known
    (folder / "train-labels-idx1-ubyte").write_bytes(idx(labels))
    return folder


def row(kind: str, k: int, seed: int, bound: float) -> dict[str, Any]:
    figures = {"bound": bound, "estimate": bound - 3, "kl": 20.0, "parameters": 1234, "cpu_seconds": 30.0}
    return {"posterior": kind, "layers": k, "seed": seed, **figures}


def test_the_table_has_means_over_seeds() -> None:
    rows = [row("gaussian", 0, 0, 100.0), row("gaussian", 0, 1, 102.0), row("planar", 10, 0, 99.0)]
    assert vae.by_layers(rows) == [
        "| posterior | K | parameters | seeds | bound | estimate | KL | CPU s |",
        "|---|---|---|---|---|---|---|---|",
        "| gaussian | 0 | 1,234 | 2 | 101.00 ± 1.41 | 98.00 ± 1.41 | 20.00 ± 0.00 | 30 |",
        "| planar | 10 | 1,234 | 1 | 99.00 | 96.00 | 20.00 | 30 |",
    ]
    assert vae.table(vae.by_layers(rows)).row_count == 2
    assert vae.cells(["gaussian", "iaf"], [1, 2]) == [("gaussian", 0), ("iaf", 1), ("iaf", 2)]
    assert written(vae.GUIDE.read_text(), [], (vae.FIRST_MARK, vae.LAST_MARK))


def test_the_last_training_images_stand_in_for_test_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vae, "HELD_OUT", 5)
    root = digits(tmp_path / "given", 20)
    made = vae.with_test_images(root, tmp_path / "made")
    train, test = Mnist(made, "train", validation=0), Mnist(made, "test")
    given = Mnist(root, "train", validation=0)
    assert (len(train), len(test)) == (15, 5)
    assert (test[4] == given[19]).all()
    assert (train[14] == given[14]).all()
    assert vae.with_test_images(made, tmp_path / "again") == made


@pytest.mark.slow
def test_what_has_ended_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vae, "HELD_OUT", 20)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = vae.with_test_images(digits(tmp_path / "given", 6000), tmp_path / "made")
    few = vae.options().parse_args(
        [str(root), "--steps", "4", "--width", "16", "--images", "10", "--samples", "20"]
    )  # fmt: skip
    reached = vae.fit("planar", 2, 0, root, tmp_path / "run", few)
    assert reached["estimate"] < reached["bound"]
    assert vae.fit("planar", 2, 0, root, tmp_path / "run", few) == reached
    (tmp_path / "run" / vae.ROW).unlink()  # interrupted at the very end
    again = vae.fit("planar", 2, 0, root, tmp_path / "run", few)
    assert {**again, "cpu_seconds": 0} == {**reached, "cpu_seconds": 0}
