"""``glow-judge``, from directions to the report."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from glow_app.commands.directions import directions
from glow_app.commands.judge import judge
from glow_app.config.editing import DirectionsConfig, JudgeConfig
from glow_app.data.faces.factors import FACE_ATTRIBUTES
from glow_app.errors import UserError
from tests.commands.using import configure, use

FEW = ("judge_examples=128", "n_images=20", "curve_images=0")


@pytest.fixture(scope="module")
def vectors(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("directions")
    use(directions, configure("directions", DirectionsConfig, f"checkpoint={run}", f"output={folder}"))
    return folder


def judged(run: Path, vectors: Path, folder: Path, *arguments: str) -> tuple[str, dict[str, Any]]:
    chosen = [f"checkpoint={run}", f"directions={vectors}", f"output={folder}", *FEW, *arguments]
    text = use(judge, configure("judge", JudgeConfig, *chosen))
    return text, json.loads((folder / "judge.json").read_text())


def test_everything_that_it_promises(run: Path, vectors: Path, tmp_path: Path) -> None:
    text, account = judged(run, vectors, tmp_path, "amount=1.5")
    names = json.loads((vectors / "directions.json").read_text())["names"]
    assert list(account["methods"]) == ["mean_difference", "balanced", "discriminant"]
    for method in account["methods"].values():
        assert [one["attribute"] for one in method["attributes"]] == names
        successes = [one["success"] for one in method["attributes"] if one["success"] is not None]
        assert method["means"]["success"] == pytest.approx(sum(successes) / len(successes))
        assert all(one["images"] == 20 and one["not_finite"] == 0 for one in method["attributes"])
    assert account["reconstruction"]["exact"] == 1.0
    assert [one["attribute"] for one in account["judge"]["attributes"]] == list(FACE_ATTRIBUTES)
    assert account["judge"]["examples"] == 128
    assert (account["judge"]["split"], account["judge"]["images"]) == ("val", 64)
    assert (account["split"], account["first"], account["images"], account["amount"]) == ("test", 0, 20, 1.5)
    assert account["directions"]["split"] == "train"
    assert account["digest"] == json.loads((run / "model" / "model.json").read_text())["sha256"]
    with Image.open(tmp_path / "flips.png") as picture:
        assert picture.size[0] > 9 * 96
        assert picture.size[1] > 6 * 96
    for word in ("balanced", "mean_difference", "discriminant", "means over the attributes", "success", "adding",
                 "removing", "drift", "drifts most", "outside", "amount 0", "look at", str(tmp_path / "flips.png"),
                 str(tmp_path / "judge.json")):  # fmt: skip
        assert word in text
    assert "…" not in text


def test_the_same_seed_gives_the_same_figures(run: Path, vectors: Path, tmp_path: Path) -> None:
    few = ("attributes=[smiling]", "methods=[balanced]")
    first, second, other = (
        judged(run, vectors, tmp_path / name, *few, f"seed={seed}")[1] for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    assert first == second
    assert [one["attribute"] for one in first["methods"]["balanced"]["attributes"]] == ["Smiling"]
    assert not math.isclose(
        first["methods"]["balanced"]["means"]["drift"], other["methods"]["balanced"]["means"]["drift"]
    )


def test_methods_and_controls_at_equal_success(run: Path, vectors: Path, tmp_path: Path) -> None:
    few = ("curve_images=8", "curve_attributes=[male,Smiling]", "success=0.4", "methods=[balanced,mean_difference]")
    text, account = judged(run, vectors, tmp_path, *few)
    compared = account["compared"]
    ways = ["balanced", "mean_difference", "random", "another's", "pixels"]
    assert list(compared["curves"]) == list(compared["equal"]) == ways
    assert list(compared["told"]) == ["none", *ways] and all(0 <= share <= 1 for share in compared["told"].values())
    for way in ways:
        assert list(compared["curves"][way]) == ["Male", "Smiling"]
        for name, points in compared["curves"][way].items():
            assert [point[0] for point in points] == [0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0]
            reached = compared["equal"][way][name]
            assert (reached is None) == (max(point[1] for point in points) < 0.4)
            assert reached is None or reached[1] == pytest.approx(0.4)
    assert compared["images"] == 20
    with Image.open(tmp_path / "curves.png") as picture:
        assert picture.size[0] > 600
    for word in (
        "where 40% of the edits succeed",
        "another's",
        "told",
        str(tmp_path / "curves.png"),
    ):
        assert word in text


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            ("judge_split=test",),
            "the judge's images and the edited images share the images 0 to 19 of drawn_faces test",
        ),
        (
            ("judge_split=test",),
            "change judge_split, judge_first or judge_images, or edit_split, edit_first or n_images",
        ),
        (("judge_split=train",), "the judge's images and the images of the directions share the images 0 to 63"),
        (("edit_split=train", "edit_first=60"), "the edited images and the images of the directions share"),
        (("edit_split=train", "edit_first=60"), "or first or n_images of glow-directions"),
        (("attributes=[Smilling]",), "attribute Smilling is unknown: did you mean Smiling?"),
        (("attributes=[]",), "attributes names none"),
        (("methods=[]",), "methods has no value"),
        (("curve_images=8", "curve_attributes=[Yung]"), "attribute Yung is unknown: did you mean Young?"),
        (("curve_images=8", "curve_attributes=[]"), "curve_attributes names none"),
        (("methods=[balance]",), "methods=balance is not one of"),
        (("edit_first=64",), "edit_first=64: drawn_faces test has the images 0 to 63"),
        (("judge_images=63",), "would learn from 63 images of drawn_faces val"),
    ],
)
def test_mistakes_are_told(run: Path, vectors: Path, tmp_path: Path, arguments: tuple[str, ...], expected: str) -> None:
    with pytest.raises(UserError) as error:
        judged(run, vectors, tmp_path, *arguments)
    assert expected in str(error.value)
    assert "\n" not in str(error.value)


def test_directions_that_do_not_say_where_they_are_from(run: Path, vectors: Path, tmp_path: Path) -> None:
    account = json.loads((vectors / "directions.json").read_text())
    del account["account"]["fingerprint"]
    (tmp_path / "directions.json").write_text(json.dumps(account))
    (tmp_path / "directions.safetensors").write_bytes((vectors / "directions.safetensors").read_bytes())
    with pytest.raises(UserError, match=r"do not name the images they were made from \(no fingerprint\)"):
        judged(run, tmp_path, tmp_path)


def test_directions_of_another_model(run: Path, vectors: Path, tmp_path: Path) -> None:
    account = json.loads((vectors / "directions.json").read_text())
    (tmp_path / "directions.json").write_text(json.dumps(account | {"model": "0" * 64}))
    (tmp_path / "directions.safetensors").write_bytes((vectors / "directions.safetensors").read_bytes())
    with pytest.raises(UserError, match="belong to another model"):
        judged(run, tmp_path, tmp_path)


def test_no_directions(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no directions at"):
        judged(run, tmp_path / "nowhere", tmp_path)


def test_pictures_without_attributes(run: Path, vectors: Path, tmp_path: Path) -> None:
    for split in ("val", "test"):
        (tmp_path / "pictures" / split).mkdir(parents=True)
        Image.new("RGB", (16, 16)).save(tmp_path / "pictures" / split / "a.png")
    data = ("data=folder", f"data.root={tmp_path / 'pictures'}", f"data.cache_folder={tmp_path / 'cache'}")
    with pytest.raises(UserError, match="data=folder has no attributes to judge"):
        judged(run, vectors, tmp_path, *data)
