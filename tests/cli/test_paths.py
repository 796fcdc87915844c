"""Every option that is a path takes every path that a shell hands over."""

import dataclasses
import os
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from PIL import Image

from glow_app.cli import conf_folder
from glow_app.cli.arguments import as_typed, literal_paths
from glow_app.config.check import OF_COMMANDS, PATHS, check
from glow_app.config.data import DATA_SCHEMAS
from glow_app.config.paths import as_path, path_options
from glow_app.config.saved import flat
from glow_app.config.train import PrepareConfig, TrainConfig
from tests.forked import call

HOSTILE = (
    "My Pictures (2020)", "it's", 'say "cheese"', "a=b", "a,b", "a#b", "a&b", "x!y", "~tmp", "[1]", "{2}", "a;b", "a@b",
    "$HOME", "${oc.env:HOME}", "a:b", "back\\slash", "end\\", "münchen", "李明", "café\udce9", "null and void",
    "1e3", "true",
)  # fmt: skip

SHARED = ("compute", "open", "use", "photos", "quality", "data")
"""Schemas of which commands' schemas are made."""

SCHEMAS = {
    name: schema for schema in OF_COMMANDS if (name := schema.__name__.removesuffix("Config").lower()) not in SHARED
}
SCHEMAS |= {"train": TrainConfig, "prepare": PrepareConfig}


@pytest.mark.parametrize("command", SCHEMAS)
def test_every_command_gets_the_path_itself(command: str) -> None:
    schema = SCHEMAS[command]
    options = path_options(schema) | {f"data.{key}": many for key, many in path_options(DATA_SCHEMAS["folder"]).items()}
    if command == "compare":
        options = {key: many for key, many in options.items() if not key.startswith("data.")}
    assert options
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        for name in sorted(HOSTILE, key="[1]".__eq__):
            if name == "[1]":  # a list, where one is expected
                options = {key: many for key, many in options.items() if not many}
            given = literal_paths([f"{key}={name}" for key in options])
            data = [] if command == "compare" else ["data=folder"]
            composed = compose(command, overrides=[*data, *given])
            config = check(composed, schema)
            found = flat(dataclasses.asdict(config))
            for key, many in options.items():
                path = os.path.abspath(name) if key.startswith("data.") else name
                assert found[key] == (path.split(",") if many else path), (key, name)
            assert [as_typed(one) for one in given if not PATHS[one.partition("=")[0]]] == [
                f"{key}={name}" for key, many in options.items() if not many
            ]


def test_a_list_is_split_where_no_path_has_a_comma(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a,b.png").touch()
    assert literal_paths(["images=a,b.png,c.png"]) == ["images=['a,b.png','c.png']"]
    assert literal_paths(["-m", "data.root=x,y"]) == ["-m", "data.root='x','y'"]
    assert literal_paths(["images=[a.png,b.png]", "output='a b'", "resume=null", "name=a,b"]) == [
        "images=[a.png,b.png]", "output='a b'", "resume=null", "name=a,b",
    ]  # fmt: skip


def test_tilde_is_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert [as_path(one) for one in ("~", "~/x", "~x", "a/~")] == ["/home/me", "/home/me/x", "~x", "a/~"]


NASTY = "it's (a=b), #&!~ [x] {y};@$HOME: mün 李 caf\udce9"


@pytest.mark.slow
def test_all_commands_work_in_a_hostile_folder(tmp_path: Path) -> None:
    home = tmp_path / NASTY
    pictures = home / "pictures"
    pictures.mkdir(parents=True)
    attributes = ["file,Red"]
    for number in range(40):
        red = number % 2
        Image.new("RGB", (16, 16), (255 * red, 6 * number, 100)).save(pictures / f"{NASTY}{number}.png")
        attributes.append(f'"{NASTY}{number}.png",{red}')
    (home / "table, of it.csv").write_text("\n".join(attributes), errors="surrogateescape")
    data = [
        "data=folder", f"data.root={pictures}", f"data.attributes={home}/table, of it.csv",
        f"data.cache_folder={home}/cache", "data.image_size=16",
    ]  # fmt: skip
    model = ["model.n_levels=2", "model.n_steps=1", "model.width=8", "trainer.batch_size=8", "init_images=16"]
    used = ["checkpoint=run", "data.root=moved"]

    def called(command: str, *arguments: str) -> str:
        done = call(home, command, *arguments)
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout

    called("prepare_data", *data)
    called("train", *data, *model, "max_steps=2", "name=first", "test_images=4")
    run = next((home / "runs" / "first").iterdir())
    os.rename(run, home / "run")
    os.rename(pictures, home / "moved")
    resumed = called("train", "resume=run", "data.root=moved", "max_steps=4")
    assert "resumed   at step 2" in resumed
    assert "note: " not in resumed
    (home / "moved" / f"{NASTY}0.png").rename(home / "one.png")
    evaluated = called("evaluate", *used, "data.attributes=null", "split=train", "n_images=4", "check_images=2")
    assert "are not those that the run began with (" in evaluated
    (home / "one.png").rename(home / "moved" / f"{NASTY}0.png")
    assert (
        (home / "run" / "command.txt")
        .read_text(errors="surrogateescape")
        .endswith("\nglow-train resume=run data.root=moved max_steps=4\n")
    )
    called("evaluate", *used, "split=train", "n_images=4", "check_images=2")
    called("sample", "checkpoint=run", "n=4", f"output={NASTY}")
    called("interpolate", *used, f"images=moved/{NASTY}1.png,moved/{NASTY}2.png", "steps=3")
    called("directions", *used, "split=train", "calibration=0", "output=directions, found")
    edit = ["directions=directions, found", f"images=moved/{NASTY}1.png", "edit={Red: 1}", "output=$HOME"]
    called("edit", *used, *edit)
    assert list((home / "$HOME").iterdir())
    called("export", "checkpoint=run", "output=~x", "directions=directions, found")
    called(
        "train",
        *data[:1],
        "data.root=moved",
        *data[2:],
        *model,
        "max_steps=2",
        "name=second",
        "seed=1",
        "test_images=4",
    )
    called("compare", "runs=run,runs/second", "output=[1]")
