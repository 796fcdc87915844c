"""What arguments stand for."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from glow_app.cli.arguments import fill_in_data, with_braces, with_brackets, with_data_of_model, with_switch
from glow_app.config.check import list_options
from glow_app.config.commands import SampleConfig
from glow_app.config.editing import JudgeConfig
from glow_app.config.train import TrainConfig
from glow_app.errors import UserError


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("images=a.png,b.png", "images=['a.png','b.png']"),
        ("images=a.png", "images=['a.png']"),
        ("images=3,17", "images=[3,17]"),
        ("images=my photo (1).jpg,it's.png", "images=['my photo (1).jpg','it\\'s.png']"),
        ("images=[a.png,b.png]", "images=[a.png,b.png]"),
        ("images='a.png'", "images='a.png'"),
        ("images=null", "images=null"),
        ("images=", "images="),
        ("temperature=0,0.25,1e-1", "temperature=[0,0.25,1e-1]"),
        ("split=a,b", "split=a,b"),
    ],
)
def test_lists_need_no_brackets(given: str, meant: str) -> None:
    assert with_brackets([given], ("images", "temperature")) == [meant]


@pytest.mark.parametrize(
    ("schema", "lists"),
    [
        (JudgeConfig, {"methods", "attributes", "curve_attributes", "data.eyes"}),
        (SampleConfig, {"temperature", "level_temperatures", "walk", "data.eyes"}),
        (TrainConfig, {"temperatures", "data.eyes"}),
    ],
)
def test_lists_are_known_by_their_types(schema: type, lists: set[str]) -> None:
    assert set(list_options(schema)) == lists


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("edit=Smiling=0.8,Young=-0.5", "edit={Smiling:0.8,Young:-0.5}"),
        ("edit=Smiling: 1", "edit={Smiling:1}"),
        ("edit=Big nose:1", "edit={Big\\ nose:1}"),
        ("edit={Smiling: 1, 'Big nose': .5}", "edit={Smiling:1,Big\\ nose:.5}"),
        ("edit={Smiling=1}", "edit={Smiling:1}"),
        ("edit=Smiling=1,", "edit={Smiling:1}"),
        ("edit=null", "edit=null"),
    ],
)
def test_amounts_need_no_braces(given: str, meant: str) -> None:
    assert with_braces([given, "edition=a=1"], "edit") == [meant, "edition=a=1"]


@pytest.mark.parametrize("given", ["Smiling", "Smiling=1 Young=2", "[Smiling,1]", "Smiling=much", "=1", "a=1,,b=2"])
def test_malformed_amounts_are_one_line(given: str) -> None:
    with pytest.raises(UserError, match=r"^edit=.*(give each name a number, |not a number; write )edit=Smiling=0\.8"):
        with_braces([f"edit={given}"], "edit")


def test_a_group_is_switched_on_by_its_name() -> None:
    given = ["quality=true", "quality.samples=20", "qualities=true", "output=quality=true"]
    assert with_switch(given, "quality", "measure") == ["quality.measure=true", *given[1:]]


def test_a_sweep_stays_a_sweep() -> None:
    assert with_brackets(["-m", "temperature=0.5,0.7"], ("temperature",)) == ["-m", "temperature=[0.5],[0.7]"]


def test_the_data_set_is_that_of_the_model(run: Path) -> None:
    for arguments in ([f"checkpoint={run}"], [f"compare=[{run},elsewhere]"]):
        assert with_data_of_model(arguments) == [*arguments, "data=drawn_faces"]


@pytest.mark.parametrize("arguments", [["checkpoint=nowhere"], [], ["checkpoint=[["], ["--help"]])
def test_without_a_model_nothing_is_added(arguments: list[str]) -> None:
    assert with_data_of_model(arguments) == arguments


def test_a_chosen_data_set_is_kept(run: Path) -> None:
    arguments = [f"checkpoint={run}", "data=cifar10"]
    assert with_data_of_model(arguments) == arguments


def test_a_card_cannot_smuggle_arguments(run: Path, tmp_path: Path) -> None:
    text = (run / "model" / "model.json").read_text().replace('"drawn_faces"', '"drawn_faces hydra.run.dir=/tmp"')
    (tmp_path / "model.json").write_text(text)
    assert with_data_of_model([f"checkpoint={tmp_path}"]) == [f"checkpoint={tmp_path}"]


def test_the_data_of_the_default_model_unless_another_is_named() -> None:
    assert with_data_of_model(["n=4"], "celeba64") == ["n=4", "data=celeba"]
    named = ["checkpoint=faces64"]
    assert with_data_of_model(named, "celeba64") == [*named, "data=drawn_faces"]
    assert with_data_of_model(["n=4"]) == ["n=4"]


def test_values_come_from_the_model_unless_they_are_given(run: Path) -> None:
    data = {"name": "drawn_faces", "image_size": 32, "n_bits": 8, "seed": 9, "n_images": None, "cache_folder": "here"}
    composed = OmegaConf.create({"data": data})
    fill_in_data(composed, run, {"data.cache_folder", "data.seed"})
    assert composed.data.image_size == 16
    assert composed.data.n_images == 64
    assert (composed.data.seed, composed.data.cache_folder) == (9, "here")


def test_values_that_are_missing_are_filled_in(run: Path, tmp_path: Path) -> None:
    text = (
        (run / "model" / "model.json").read_text().replace('"name": "drawn_faces"', '"name": "folder", "root": "faces"')
    )
    (tmp_path / "model.json").write_text(text)
    composed = OmegaConf.create({"data": {"name": "folder", "root": "???"}})
    fill_in_data(composed, tmp_path, set())
    assert composed.data.root == "faces"


def test_of_another_data_set_only_the_shape_is_the_models(run: Path) -> None:
    composed = OmegaConf.create({"data": {"name": "folder", "image_size": 64, "n_bits": 5, "channels": 1, "cache": 1}})
    fill_in_data(composed, run, set())
    assert composed.data == {"name": "folder", "image_size": 16, "n_bits": 8, "channels": 3, "cache": 1}
    composed.data.n_bits = 5
    with pytest.raises(UserError, match=r"data.n_bits=5: the model at .* takes data.n_bits=8; leave it out"):
        fill_in_data(composed, run, {"data.n_bits"})
