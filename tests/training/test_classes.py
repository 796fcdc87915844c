"""Class-conditional models whose classes are folders."""

import os
from pathlib import Path

from glow_app.artifacts.weights import load
from tests.data.layouts import picture
from tests.forked import call
from tests.training.runs import SMALLEST

FILES = ("train/001/a.png", "train/001/b.png", "train/000/c.png", "val/000/d.png", "test/001/e.png")


def test_from_folders_to_samples_of_a_class(tmp_path: Path) -> None:
    for seed, name in enumerate(FILES):
        path = tmp_path / "pictures" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(seed, 16, 16).save(path)
    settings = [s for s in SMALLEST if s != "data.n_images=32" and s != "init_images=32"]
    data = ["data=folder", "data.root=pictures", "data.cache_folder=cache"]

    def called(script: str, *arguments: str) -> str:
        done = call(tmp_path, script, *arguments)
        return done.stdout if done.returncode == 0 else done.stderr

    called("train", *data, *settings, "init_images=3", "model.class_conditional=true")
    (run,) = (tmp_path / "runs" / "folder").iterdir()
    assert load(run).card.class_names == ("000", "001")

    for label in ("001", "1", "0"):  # a name, and numbers
        called("sample", f"checkpoint={run}", "n=3", f"label={label}", f"output=of_{label}")
    named, same, other = (next((tmp_path / f"of_{of}").glob("*.png")).read_bytes() for of in ("001", "1", "0"))
    assert named == same != other
    assert "label=0_1 is not one of 000, 001" in called("sample", f"checkpoint={run}", "label=0_1")
    assert "per_image.csv" in called("evaluate", f"checkpoint={run}", "gap_images=0")

    for split in ("train", "val"):
        os.rename(tmp_path / "pictures" / split / "000", tmp_path / "pictures" / split / "002")
    assert "the model knows a class 000 where data=folder has 001" in called("evaluate", f"checkpoint={run}")
