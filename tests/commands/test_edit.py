"""``glow-directions`` and ``glow-edit``."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import glow_app
from glow_app import figures
from glow_app.commands import directions as directions_command
from glow_app.commands.common import directions_folder
from glow_app.commands.directions import directions
from glow_app.commands.edit import edit, name_of_edit
from glow_app.config.editing import DirectionsConfig, EditConfig
from glow_app.data.image import decode_image, to_tensor
from glow_app.data.sets.drawn_faces import DrawnFaces
from glow_app.errors import UserError
from glow_app.evaluation.limits import Limits
from glow_app.latents.directions import load, save
from glow_app.model import load as load_model
from tests.commands.using import configure, use


def find(run: Path, folder: Path, *arguments: str) -> str:
    return use(
        directions, configure("directions", DirectionsConfig, f"checkpoint={run}", f"output={folder}", *arguments)
    )


def told(run: Path, folder: Path, *arguments: str) -> str:
    shared = (f"checkpoint={run}", f"output={folder}", "zoom=1")
    return use(edit, configure("edit", EditConfig, *shared, *arguments))


@pytest.fixture(scope="module")
def found(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("directions")
    find(run, folder)
    return folder


def test_directions_and_their_account(run: Path, tmp_path: Path) -> None:
    text = find(run, tmp_path, "batch_size=10")
    account = json.loads((tmp_path / "directions.json").read_text())
    assert account["model"] == json.loads((run / "model" / "model.json").read_text())["sha256"]
    assert account["account"]["images"] == 64
    assert (account["account"]["split"], account["account"]["first"]) == ("train", 0)
    labels = DrawnFaces("train", image_size=16, n_images=64).attributes
    smiling = account["account"]["counts"]["Smiling"]
    assert smiling == {"with": int(labels[:, 0].sum()), "without": int(64 - labels[:, 0].sum())}
    assert set(account["account"]["methods"]) == {"mean_difference", "balanced", "discriminant"}
    assert "left out, too few images with or without it:" in text
    assert "glow-edit checkpoint=" in text


def test_neither_batches_nor_workers_matter(run: Path, found: Path, tmp_path: Path) -> None:
    find(run, tmp_path, "batch_size=7", "data.workers=2")
    for method in ("mean_difference", "balanced", "discriminant"):
        assert torch.allclose(load(tmp_path, method).vectors, load(found, method).vectors, atol=1e-4)


def test_an_interrupted_pass_goes_on(run: Path, found: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dequantize_midpoints, calls = directions_command.dequantize_midpoints, []

    def interrupted(images: torch.Tensor, n_bits: int) -> torch.Tensor:
        calls.append(len(images))
        if len(calls) == 4:
            raise KeyboardInterrupt
        return dequantize_midpoints(images, n_bits)

    monkeypatch.setattr(directions_command, "dequantize_midpoints", interrupted)
    with pytest.raises(KeyboardInterrupt):
        find(run, tmp_path, "batch_size=16")
    assert not (tmp_path / "directions.json").exists()
    assert "resuming after 48 images" in find(run, tmp_path, "batch_size=16")
    assert sum(calls[4:]) == 16
    assert torch.allclose(load(tmp_path).vectors, load(found).vectors, atol=1e-4)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["directions.json", "directions.safetensors"]


def test_what_another_pass_has_left_is_not_used(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directions_command, "SAVE_EVERY", 0.0)
    dequantize_midpoints, calls = directions_command.dequantize_midpoints, []

    def killed(images: torch.Tensor, n_bits: int) -> torch.Tensor:
        calls.append(len(images))
        if len(calls) == 3:
            raise RuntimeError("killed")
        return dequantize_midpoints(images, n_bits)

    monkeypatch.setattr(directions_command, "dequantize_midpoints", killed)
    with pytest.raises(RuntimeError, match="killed"):
        find(run, tmp_path, "batch_size=16", "n_images=60")
    assert list(tmp_path.glob("unfinished*"))
    assert "going on" not in find(run, tmp_path, "batch_size=16", "n_images=61")
    assert json.loads((tmp_path / "directions.json").read_text())["account"]["images"] == 61


def test_a_part_of_the_images(run: Path, tmp_path: Path) -> None:
    find(run, tmp_path, "first=10", "n_images=40")
    account = json.loads((tmp_path / "directions.json").read_text())["account"]
    assert (account["first"], account["images"]) == (10, 40)
    with pytest.raises(UserError, match="first=64: drawn_faces train has the images 0 to 63"):
        find(run, tmp_path, "first=64")


def test_data_without_attributes(run: Path, tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    for number in range(4):
        Image.new("RGB", (20, 20)).save(tmp_path / "pictures" / f"{number}.png")
    with pytest.raises(UserError, match="data=folder has no attributes to find directions for"):
        find(run, tmp_path, "data=folder", f"data.root={tmp_path / 'pictures'}", "data.cache=false")


def test_an_edit_leaves_the_image_and_its_before_and_after(run: Path, found: Path, tmp_path: Path) -> None:
    text = told(run, tmp_path, f"directions={found}", "images=[0,1]", "edit={Smiling: 0.0}")
    assert "unedited images: 2 of 2 reconstructed exactly" in text
    faces = DrawnFaces("test", image_size=16, n_images=64)
    for number in (0, 1):
        assert torch.equal(decode_image(tmp_path / f"test_{number}_Smiling+0.png"), faces[number])
        assert (tmp_path / f"test_{number}_Smiling+0_before_after.png").exists()
    told(run, tmp_path, f"directions={found}", "images=[0]", "edit={Smiling: 1.0, Male: -0.5}")
    assert not torch.equal(decode_image(tmp_path / "test_0_Smiling+1_Male-0.5.png"), faces[0])


def test_a_sample_is_edited(run: Path, found: Path, tmp_path: Path) -> None:
    told(run, tmp_path, f"directions={found}", "images=[sample:1]", "edit={Smiling: 0.0}")
    assert torch.equal(decode_image(tmp_path / "sample_1_Smiling+0.png"), load_model(run).sample(2, 0.7)[1])


def test_sweeps_grids_animations_and_measures(run: Path, found: Path, tmp_path: Path) -> None:
    arguments = ["images=[5]", "sweep=[Smiling,Male]", "grid=[Smiling,Male]", "amounts=[-1,0,1]", "gif=true"]
    text = told(run, tmp_path, f"directions={found}", *arguments, "measure=true")
    with Image.open(tmp_path / "test_5_sweep_Smiling_Male_-1to+1.png") as picture:
        assert picture.size[0] > 3 * 96 > picture.size[1]
    with Image.open(tmp_path / "test_5_grid_Smiling_Male_-1to+1.png") as picture:
        assert min(picture.size) > 3 * 96
    for name in ("Smiling", "Male"):
        with Image.open(tmp_path / f"test_5_sweep_{name}_-1to+1.gif") as film:
            assert film.n_frames == 4  # type: ignore[attr-defined]
    assert any(line.startswith("Smiling ") and ("+" in line or "-" in line) for line in text.splitlines())


def test_results_are_shown_four_times_larger(run: Path, found: Path, tmp_path: Path) -> None:
    arguments = [f"checkpoint={run}", f"output={tmp_path}", f"directions={found}", "images=[5]", "edit={Smiling: 0.0}"]
    arguments += ["sweep=[Smiling]", "amounts=[0,1]", "gif=true"]
    use(edit, configure("edit", EditConfig, *arguments))
    face = figures.to_picture(DrawnFaces("test", image_size=16, n_images=64)[5])
    large = to_tensor(face.resize((64, 64), Image.Resampling.LANCZOS))
    assert torch.equal(decode_image(tmp_path / "test_5_Smiling+0.png"), large)
    assert torch.equal(decode_image(tmp_path / "test_5_Smiling+0_before_after.png")[:, 2:66, -66:-2], large)
    with Image.open(tmp_path / "test_5_sweep_Smiling_+0to+1.gif") as film:
        assert film.size == (64, 64)


def test_a_folder_of_pictures(run: Path, found: Path, tmp_path: Path) -> None:
    (tmp_path / "people").mkdir()
    for name in ("a.png", "b.jpg"):
        Image.new("RGB", (30, 40), "red").save(tmp_path / "people" / name)
    told(run, tmp_path / "out", f"directions={found}", f"images=[{tmp_path / 'people'}]", "edit={Smiling: 1}")
    assert {path.name for path in (tmp_path / "out").glob("*+1.png")} == {"a_Smiling+1.png", "b_Smiling+1.png"}


def test_two_of_one_name_do_not_overwrite_each_other(run: Path, found: Path, tmp_path: Path) -> None:
    for folder, names in (("n1", ["a"]), ("n2", ["a", "a_2"])):
        (tmp_path / folder).mkdir()
        for name in names:
            Image.new("RGB", (20, 20)).save(tmp_path / folder / f"{name}.png")
    images = ",".join(str(tmp_path / name) for name in ("n1/a.png", "n2/a.png", "n2/a_2.png"))
    told(run, tmp_path / "out", f"directions={found}", f"images=[{images}]", "edit={Smiling: 1}")
    names = {path.name for path in (tmp_path / "out").glob("*+1.png")}
    assert names == {"a_Smiling+1.png", "a_2_Smiling+1.png", "a_2_2_Smiling+1.png"}


def test_mistakes_are_told_before_the_work(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directions_command, "dequantize_midpoints", lambda *others: pytest.fail("too late"))
    for argument, message in (
        ("orthogonal_to=[Smilin]", "attribute Smilin is unknown: did you mean Smiling"),
        ("levels=[9]", r"levels=\[9\]: this model has the levels 1"),
        ("calibration=10", "calibration=10: a classifier learns from at least 64 images"),
    ):
        with pytest.raises(UserError, match=message):
            find(run, tmp_path, argument)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"nothing can be written into .*file .*: choose another folder, output="):
        find(run, tmp_path / "file")


def test_the_account_says_how_directions_were_made(run: Path, tmp_path: Path) -> None:
    text = find(run, tmp_path, "orthogonal_to=[Male]", "levels=[2]", "calibration=0")
    account = json.loads((tmp_path / "directions.json").read_text())["account"]
    assert account["options"] == {"orthogonal_to": ["Male"], "levels": [2], "calibration": 0}
    assert f"glow-edit checkpoint={run} directions={tmp_path} images=me.jpg sweep=Smiling" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["images=[0]"], "nothing to do: add edit="),
        (["images=[0]", "edit={Smilling: 1}"], "attribute Smilling is unknown: did you mean Smiling"),
        (["images=[0]", "sweep=[Smiling]", "orthogonal_to=[Mail]"], "attribute Mail is unknown"),
        (["images=[0]", "sweep=[Smiling]", "levels=[0]"], r"levels=\[0\]: this model has the levels 1 \(finest\) to 2"),
        (["images=[0]", "grid=[Smiling]"], "grid=Smiling: a grid has two attributes"),
        (["images=[0]", "sweep=[Smiling]", "amounts=[]"], r"amounts=\[\] leaves nothing to draw"),
        (["images=[0]", "sweep=[Smiling]", "method=best"], "method=best is not one of mean_difference, balanced"),
        (["images=[me.jpg]", "sweep=[Smiling]"], "image me.jpg does not exist"),
        (["images=[0]", "edit={Smiling: nan}"], "edit=nan is not a finite number"),
        (["images=[0]", "edit={Smiling: much}"], "edit.Smiling=much is not a number"),
    ],
)
def test_mistakes(run: Path, found: Path, tmp_path: Path, arguments: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        told(run, tmp_path, f"directions={found}", *arguments)


def test_directions_that_are_missing_or_of_another_model(run: Path, found: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no directions at .*: make them with glow-directions"):
        told(run, tmp_path, "images=[0]", "sweep=[Smiling]")
    shutil.copytree(found, tmp_path / "other")
    account = json.loads((tmp_path / "other" / "directions.json").read_text())
    (tmp_path / "other" / "directions.json").write_text(json.dumps(account | {"model": "0" * 64}))
    with pytest.raises(UserError, match="these directions belong to another model"):
        told(run, tmp_path, f"directions={tmp_path / 'other'}", "images=[0]", "sweep=[Smiling]")


@pytest.fixture(scope="module")
def far(found: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directions along which the model can follow only a part of the amounts."""
    folder = tmp_path_factory.mktemp("far")
    one = load(found)
    save([replace(one, with_it=one.without + 30 * (one.with_it - one.without))], folder)
    return folder


def test_an_edit_that_goes_too_far_is_made_as_far_as_it_can(run: Path, far: Path, tmp_path: Path) -> None:
    model, directions = glow_app.load(run), load(far)
    face = DrawnFaces("test", image_size=16, n_images=64)[0]
    latents = model.encode(face)
    _, high = Limits(model, directions, latents).interval("Smiling")
    assert 0 < high < 2
    text = told(run, tmp_path, f"directions={far}", "images=[0]", "edit={Smiling: 2}")
    assert f"test_0: Smiling +2 goes too far, Smiling {high:+g} is made (limit=false: as asked)\n" in text
    used = model.decode(directions.edit(latents, {"Smiling": high}))[0]
    assert torch.equal(decode_image(tmp_path / f"test_0_Smiling{high:+g}.png"), used)
    assert not (tmp_path / "test_0_Smiling+2.png").exists()
    text = told(run, tmp_path, f"directions={far}", "images=[0]", "edit={Smiling: 2}", "limit=false")
    assert "too far" not in text
    asked = model.decode(directions.edit(latents, {"Smiling": 2}))[0]
    assert torch.equal(decode_image(tmp_path / "test_0_Smiling+2.png"), asked)
    text = told(run, tmp_path, f"directions={far}", "images=[0]", "edit={Smiling: 1e38}")
    assert f"test_0: Smiling +1e+38 goes too far, Smiling {high:+g} is made" in text
    with pytest.raises(UserError, match="image 0 of 1 is not finite"):
        told(run, tmp_path, f"directions={far}", "images=[0]", "edit={Smiling: 1e38}", "limit=false")


def test_sweeps_and_grids_stay_where_they_can(run: Path, far: Path, tmp_path: Path) -> None:
    shared = (f"directions={far}", "images=[0]", "amounts=[-2,0,2]", "gif=true")
    text = told(run, tmp_path, *shared, "sweep=[Smiling,Male]", "grid=[Smiling,Male]")
    for name in ("Smiling", "Male"):
        assert len(re.findall(rf"test_0: {name} goes from \S+ to \S+, further is too far \(limit=false", text)) == 1
    assert len(re.findall(r"test_0: \d of 9 edits of Smiling and Male go too far", text)) == 1
    name = "test_0_sweep_Smiling_-2to+2"
    model, directions = glow_app.load(run), load(far)
    latents = model.encode(DrawnFaces("test", image_size=16, n_images=64)[0])
    low, _ = Limits(model, directions, latents).interval("Smiling")
    least = model.decode(directions.edit(latents, {"Smiling": low}))[0]
    with Image.open(tmp_path / f"{name}.gif") as film:
        assert film.n_frames == 4  # type: ignore[attr-defined]
    strip = decode_image(tmp_path / "test_0_sweep_Smiling_Male_-2to+2.png")
    assert any(
        torch.equal(strip[:, y : y + 96 : 6, x : x + 96 : 6], least)  # shown six times larger
        for y in range(strip.shape[1] - 95)
        for x in range(strip.shape[2] - 95)
    )
    assert "too far" not in told(run, tmp_path, *shared, "sweep=[Smiling]", "grid=[Smiling,Male]", "limit=false")


def test_an_attribute_does_not_name_a_folder() -> None:
    assert name_of_edit({"../Bald/Shaved": 0.5, "Young": -1.0}) == "Bald_Shaved+0.5_Young-1"


def test_directions_may_lie_on_the_hub() -> None:
    model: Any = None  # not asked
    with pytest.raises(UserError, match="hf://nobody is no address"):
        directions_folder("hf://nobody", model)
