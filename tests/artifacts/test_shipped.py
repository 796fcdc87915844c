"""Models that come with the package: named simply, found from anywhere, and never written to."""

import shutil
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

import glow_app
from glow_app.artifacts import shipped
from glow_app.cli import conf_folder
from glow_app.commands.directions import directions
from glow_app.commands.edit import edit
from glow_app.commands.interpolate import interpolate
from glow_app.commands.sample import sample
from glow_app.config.commands import SampleConfig
from glow_app.config.editing import DirectionsConfig, EditConfig, InterpolateConfig
from glow_app.errors import UserError
from tests.commands.using import configure, use


@pytest.fixture
def little(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a model that is shipped by the name ``little``; the current folder is an empty one."""
    place = tmp_path / "checkpoints"
    shutil.copytree(run / "model", place / "little")
    (place / "README.md").write_text("no model")
    folder = shipped.folder
    monkeypatch.setattr(shipped, "folder", lambda name: place if name == "checkpoints" else folder(name))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return place / "little"


def test_is_loaded_by_its_name(little: Path, run: Path) -> None:
    assert shipped.models() == {"little": little}
    assert glow_app.load("little").digest == glow_app.load(run).digest
    assert glow_app.load("little").folder == little


def test_what_commands_leave_lies_elsewhere(little: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in [little, *little.rglob("*")]}
    for named in ("little", str(little)):
        use(sample, configure("sample", SampleConfig, f"checkpoint={named}", "n=1"))
        assert Path("outputs/little/sample/T0.70_seed0.png").is_file()
        shutil.rmtree("outputs")
    assert {path: path.stat().st_mtime_ns for path in [little, *little.rglob("*")]} == before


def test_its_directions_are_found_and_those_of_ones_own_are_named(little: Path) -> None:
    arguments = ["checkpoint=little", "calibration=0"]
    assert "  glow-edit checkpoint=little images" in use(
        directions, configure("directions", DirectionsConfig, *arguments)
    )
    shutil.move("outputs/little/directions", little / "directions")
    assert "Smiling" in glow_app.load_directions("little").names
    use(edit, configure("edit", EditConfig, "checkpoint=little", "images=['0']", "edit={Smiling: 1.0}"))
    assert Path("outputs/little/edit/test_0_Smiling+1.png").is_file()
    text = use(directions, configure("directions", DirectionsConfig, *arguments))
    assert "  glow-edit checkpoint=little directions=outputs/little/directions images" in text


def test_a_model_of_that_name_comes_first(little: Path, run: Path) -> None:
    shutil.copytree(run / "model", "little")
    assert glow_app.load("little").folder == Path("little")


def test_mistakes(little: Path) -> None:
    with pytest.raises(UserError, match=r"no model at litle: .* shipped model \(little\): did you mean little\?$"):
        glow_app.load("litle")
    Path("little").mkdir()
    with pytest.raises(
        UserError, match=f"no model at little, a folder that hides the shipped model: name that one {little}"
    ):
        glow_app.load("little")
    assert glow_app.load(str(little)).card.step == 12


@pytest.mark.parametrize(
    "command", ["demo", "directions", "edit", "evaluate", "export", "interpolate", "judge", "restore", "sample"]
)
def test_is_what_commands_use_unless_told_otherwise(command: str) -> None:
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        options = compose(command)
    assert options.checkpoint == shipped.DEFAULT


def test_who_has_not_its_data_is_told_of_samples(little: Path) -> None:
    arguments = ["checkpoint=little", "data=celeba", "data.root=missing", "images=['3', '4']"]
    with pytest.raises(UserError, match=r"missing does not exist; .*; or name a file, or a sample: images=sample:3$"):
        use(interpolate, configure("interpolate", InterpolateConfig, *arguments))
