"""``glow-score clean=true``: a folder in which something is wrong with nearly every picture."""

import csv
from pathlib import Path

import pytest
import torch
from PIL import Image

from glow_app import figures
from glow_app.commands.score import score
from glow_app.config.commands import ScoreConfig
from glow_app.data.sets.drawn_faces import DrawnFaces
from tests.commands.using import configure, use

FACES = 24


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures" / "train"
    folder.mkdir(parents=True)
    faces = DrawnFaces("train", 16, n_images=FACES)
    for number in range(FACES):
        figures.to_picture(faces[number]).save(folder / f"{number:02d}.png")
    (folder / "30_broken.png").write_bytes(b"\x89PNG no more")
    Image.new("RGB", (16, 16), (5, 90, 200)).save(folder / "31_constant.png")
    framed = faces[3].clone()
    framed[:, :2] = framed[:, -2:] = 0
    figures.to_picture(framed).save(folder / "32_framed.png")
    figures.to_picture(faces[5]).save(folder / "33_same_as_05.png")
    near = (faces[7].int() + torch.tensor([1, -1]).repeat(8)).clamp(0, 255).to(torch.uint8)
    figures.to_picture(near).save(folder / "34_near_07.png")
    return folder.parent


def told(run: Path, folder: Path, pictures: Path, *arguments: str) -> str:
    options = [f"checkpoint={run}", "data=folder", f"data.root={pictures}", "split=train", "clean=true", "draws=1"]
    options += ["codecs=[]", "mean_images=0", "data.cache=false", "show=2", f"output={folder}", "batch_size=8"]
    return use(score, configure("score", ScoreConfig, *options, *arguments))


def found(folder: Path) -> dict[str, list[dict[str, str]]]:
    with (folder / "clean.csv").open() as file:
        rows = list(csv.DictReader(file))
    return {name: [row for row in rows if row["finding"] == name] for name in dict.fromkeys(r["finding"] for r in rows)}


def names(rows: list[dict[str, str]], key: str = "name") -> list[str]:
    return [Path(row[key]).name for row in rows]


def test_every_defect_is_found_and_named(run: Path, pictures: Path, tmp_path: Path) -> None:
    text = told(run, tmp_path, pictures)
    by = found(tmp_path)
    assert names(by["broken"]) == ["30_broken.png"]
    assert names(by["constant"]) == ["31_constant.png"]
    assert names(by["border"])[0] == "32_framed.png"
    assert (names(by["duplicate"]), names(by["duplicate"], "other")) == (
        ["33_same_as_05.png"],
        [by["duplicate"][0]["other"]],
    )
    assert names(by["duplicate"], "other_name") == ["05.png"]
    near = by["near-duplicate"][0]
    assert (Path(near["name"]).name, Path(near["other_name"]).name) == ("34_near_07.png", "07.png")
    assert float(near["value"]) == pytest.approx(1, abs=0.1)  # grey level
    assert len(by["least bits/dim"]) == len(by["largest bits/dim"]) == 2
    for words in (
        "what may not belong",
        "30_broken.png",
        "33_same_as_05.png (of ",
        "groups of duplicates",
        "clean.csv",
    ):
        assert words in text
    with Image.open(tmp_path / "clean.png") as sheet:
        assert sheet.height > 6 * 96
    with (tmp_path / "scores.csv").open() as file:
        head = next(csv.reader(file))
    assert head[-2:] == ["contrast", "border"]
    assert "signature" not in (tmp_path / "scores.json").read_text()


def test_borders_that_are_usual_are_not_told_of(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pictures" / "train"
    folder.mkdir(parents=True)
    faces = DrawnFaces("train", 16, n_images=6)
    for number in range(6):
        framed = faces[number].clone()
        framed[:, :3] = 0
        figures.to_picture(framed).save(folder / f"{number}.png")
    text = told(run, tmp_path / "out", folder.parent)
    assert "border" not in found(tmp_path / "out")
    assert "borders of one colour are usual here, 100% of the images have them" in text


def test_a_folder_of_files_can_be_cleaned_too(run: Path, pictures: Path, tmp_path: Path) -> None:
    told(run, tmp_path, pictures, f"images=[{pictures}]")
    assert names(found(tmp_path)["broken"]) == ["30_broken.png"]
    assert names(found(tmp_path)["duplicate"]) == ["33_same_as_05.png"]
