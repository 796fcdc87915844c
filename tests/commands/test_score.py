"""``glow-score``: rows that survive, the sorted table, thresholds, and how well other images are told apart."""

import csv
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image

from glow_app.commands import common
from glow_app.commands.evaluate import evaluate
from glow_app.commands.score import score
from glow_app.config.commands import EvaluateConfig, ScoreConfig
from glow_app.errors import UserError
from glow_app.scores import measure
from tests.commands.using import configure, use, written_elsewhere

QUICK = ["draws=1", "mean_images=8", "codecs=[]", "batch_size=8"]


def told(run: Path, folder: Path, *arguments: str) -> str:
    return use(score, configure("score", ScoreConfig, f"checkpoint={run}", f"output={folder}", *arguments))


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "scores.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    """A model that a test may save thresholds with."""
    return shutil.copytree(run / "model", tmp_path / "copy" / "model").parent


def test_everything_that_it_promises(run: Path, tmp_path: Path) -> None:
    arguments = ["n_images=20", "draws=2", "mean_images=16", f"background={run}", "show=3", "by=minus_png"]
    text = told(run, tmp_path, *arguments, "against=[noise,constant]", "group=4")
    rows = table(tmp_path)
    names = ["norm_1", "norm_2", "final_scale", "typicality", "minus_png", "minus_webp", "minus_background"]
    assert list(rows[0]) == ["index", "name", "bits_per_dim", "error", *names]
    assert sorted(int(row["index"]) for row in rows) == list(range(20))
    assert next(row["name"] for row in rows if row["index"] == "0") == "face_0_20000000"
    values = [float(row["minus_png"]) for row in rows]
    assert values == sorted(values)
    content = json.loads((tmp_path / "scores.json").read_text())
    for row in rows:
        bits = float(row["bits_per_dim"])
        assert float(row["minus_background"]) == 0
        assert float(row["typicality"]) == pytest.approx(abs(bits - content["mean_of_training"]["mean"]), abs=2e-6)
    assert content["columns"]["minus_png"]["mean"] == pytest.approx(sum(values) / 20, abs=1e-6)
    found = content["against"]["noise test"]
    assert {*names, "bits_per_dim", "typicality of 4"} == set(found)
    assert found["bits_per_dim"]["auroc"]["value"] > 0.99
    for name in ("ends.png", "histograms.png"):
        with Image.open(tmp_path / name) as picture:
            assert picture.size[0] > 3 * 96
    for word in ("2 draws per image", "16 training images", "sorted by bits - PNG", "20 images of constant test told",
                 "face_0_", "±", "FPR at 95% TPR"):  # fmt: skip
        assert word in text
    assert not list(tmp_path.glob("*.rows*"))


def test_bits_are_those_of_glow_evaluate(run: Path, tmp_path: Path) -> None:
    told(run, tmp_path / "a", "n_images=10", *QUICK)
    how = ["n_images=10", "check_images=1", "gap_images=0", "batch_size=8", f"output={tmp_path / 'b'}"]
    use(evaluate, configure("evaluate", EvaluateConfig, f"checkpoint={run}", *how))
    with (tmp_path / "b" / "per_image.csv").open() as file:
        evaluated = {row["index"]: row["bits_per_dim"] for row in csv.DictReader(file)}
    assert {row["index"]: row["bits_per_dim"] for row in table(tmp_path / "a")} == evaluated


def test_it_resumes_to_the_same_bits(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told(run, tmp_path / "whole", "n_images=45", *QUICK)
    compute, calls = measure.score, []

    def killed(*arguments: object) -> Iterator[torch.Tensor]:
        calls.append(arguments[4])
        for number, some in enumerate(compute(*arguments)):  # type: ignore[arg-type]
            if len(calls) == 1 and number == 1:
                raise KeyboardInterrupt
            yield some

    monkeypatch.setattr(measure, "score", killed)
    with pytest.raises(KeyboardInterrupt):
        told(run, tmp_path / "halves", "n_images=45", *QUICK)
    rows = tmp_path / "halves" / "scores.rows"
    with pytest.raises(UserError, match=r"unfinished scores with another draws=1: finish them, choose output="):
        told(run, tmp_path / "halves", "n_images=45", *QUICK, "draws=2")
    os.truncate(rows, rows.stat().st_size - 9)  # the disk has lost a part of what was written last
    text = told(run, tmp_path / "halves", "n_images=45", *QUICK)
    assert "24 of 45 images of drawn_faces are scored already" in text
    assert calls == [0, 3]
    whole, halves = ((tmp_path / name / "scores.csv").read_bytes() for name in ("whole", "halves"))
    assert whole == halves


def test_files_of_any_size_and_broken_ones(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    (folder / "below").mkdir(parents=True)
    Image.new("L", (40, 33), 128).save(folder / "b.png")
    Image.new("RGB", (16, 16), "red").save(folder / "below" / "a.png")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8 no more")
    text = told(run, tmp_path / "out", f"images=[{folder}]", "draws=1", "mean_images=0")
    rows = table(tmp_path / "out")
    assert [Path(row["name"]).name for row in rows[:2]] in (["b.png", "a.png"], ["a.png", "b.png"])
    assert (Path(rows[2]["name"]).name, rows[2]["bits_per_dim"], rows[2]["minus_png"]) == ("broken.jpg", "", "")
    assert f"1 of 3 images have no scores, not readable or not finite: {folder / 'broken.jpg'}" in text
    assert "of the model's validation images" in text
    assert "nan" not in text


def test_thresholds_and_verdicts(copy: Path, tmp_path: Path) -> None:
    told(copy, tmp_path / "a", "split=val", "calibrate=true", "fpr=0.25", *QUICK)
    saved = json.loads((copy / "model" / "scores.json").read_text())
    assert (saved["fpr"], saved["images"], saved["data"]) == (0.25, 64, "drawn_faces val")
    same = [float(row["final_scale"]) for row in table(tmp_path / "a")]
    assert sum(one > saved["thresholds"]["final_scale"] for one in same) == 64 - 49  # ceil(65 x 0.75) are not above
    text = told(copy, tmp_path / "b", "verdict=true", "by=final_scale", *QUICK)
    rows = table(tmp_path / "b")
    above = [row for row in rows if row["verdict"] == "unusual"]
    assert above == [row for row in rows if float(row["final_scale"]) > saved["thresholds"]["final_scale"]]
    assert f"verdict: {len(above)} of 64" in text
    assert "which 25.0% of images like those of drawn_faces val exceed" in text
    with pytest.raises(UserError, match="the saved thresholds are of draws=1: take the same, or calibrate again"):
        told(copy, tmp_path / "b", "verdict=true", *QUICK, "draws=2")
    with pytest.raises(UserError, match=r"fpr=0\.01 takes at least 99 calibration images, and there are 64"):
        told(copy, tmp_path / "a", "split=val", "calibrate=true", "fpr=0.01", *QUICK)


def test_thresholds_of_other_weights_are_replaced(copy: Path, tmp_path: Path) -> None:
    calibrating = ("split=val", "calibrate=true", "fpr=0.25", *QUICK)
    told(copy, tmp_path / "a", *calibrating)
    path = copy / "model" / "scores.json"
    right = json.loads(path.read_text())
    path.write_text(json.dumps({**right, "digest": "of an earlier training"}))
    told(copy, tmp_path / "b", *QUICK)  # which has no use for them
    with pytest.raises(UserError, match="is of other weights of this model: calibrate again"):
        told(copy, tmp_path / "c", "verdict=true", *QUICK)
    told(copy, tmp_path / "d", *calibrating)
    assert json.loads(path.read_text()) == right


def test_nothing_is_written_into_a_shipped_model(copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(common, "is_shipped", lambda place: True)
    told(copy, tmp_path / "a", "split=val", "calibrate=true", "fpr=0.25", *QUICK)
    assert not (copy / "model" / "scores.json").exists()
    assert (tmp_path / "outputs" / "model" / "scores.json").exists()
    assert "verdict: " in told(copy, tmp_path / "b", "verdict=true", *QUICK)


def test_another_process_writes_there(run: Path, tmp_path: Path) -> None:
    with written_elsewhere(tmp_path / "scores.csv"), pytest.raises(UserError, match="another glow-score is writing"):
        told(run, tmp_path, "n_images=8", *QUICK)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["by=bits_dim"], "by=bits_dim is not one of bits_per_dim, norm_1, .*: did you mean bits_per_dim"),
        (["by=minus_background"], "by=minus_background is not one of"),
        (["codecs=[png]"], "codecs=png is not one of PNG, WebP"),
        (["verdict=true"], "verdict=true needs thresholds: make them with glow-score split=val calibrate=true"),
        (["verdict=true", "calibrate=true"], "calibrate first, on other images"),
        (["against=[nosie]"], "image nosie does not exist: name files, or folders of files"),
        (["against=[mnits:/data]"], "against=mnits is not one of .*: did you mean mnist"),
        (["against=[cifar10]"], "against=cifar10 needs the folder of its files: against=cifar10:/path/to/it"),
        (["against=[cifar10:/nowhere]"], "against=cifar10:/nowhere: there is no /nowhere"),
        (
            ["against=[cifar10:.]"],
            r"^against=cifar10:\. cannot be compared with images of this model, 3x16x16: .*32x32",
        ),
        (["images=[/nowhere]"], "image /nowhere does not exist"),
        (["background=/nowhere"], "no model at /nowhere"),
        (["draws=0"], "draws=0 is too small"),
        (["label=cat", "images=[.]"], "label=cat: this model is not class-conditional; leave it out"),
    ],
)
def test_mistakes(run: Path, tmp_path: Path, arguments: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        told(run, tmp_path, *QUICK, *arguments)
