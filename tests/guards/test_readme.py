"""The README's commands are commands, and their options compose."""

import re
import shlex
import tomllib
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from glow_app.cli import conf_folder
from glow_app.cli.arguments import with_brackets
from glow_app.config import PrepareConfig, TrainConfig
from glow_app.config_check import check
from glow_app.config_use import (
    DemoConfig,
    DirectionsConfig,
    EditConfig,
    EvaluateConfig,
    ExportConfig,
    InterpolateConfig,
    JudgeConfig,
    SampleConfig,
)

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
SCHEMAS = {
    "glow-demo": DemoConfig,
    "glow-export": ExportConfig,
    "glow-prepare": PrepareConfig,
    "glow-train": TrainConfig,
    "glow-evaluate": EvaluateConfig,
    "glow-sample": SampleConfig,
    "glow-interpolate": InterpolateConfig,
    "glow-directions": DirectionsConfig,
    "glow-edit": EditConfig,
    "glow-judge": JudgeConfig,
}
LISTS = ("compare", "temperature", "level_temperatures", "images", "sweep", "grid", "amounts", "orthogonal_to")
COMMANDS = [
    line.strip()
    for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
    if line.startswith("glow-")
]


def test_there_are_commands_to_check() -> None:
    assert {line.split()[0] for line in COMMANDS} == set(SCHEMAS)


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_compose(line: str) -> None:
    command, *arguments = shlex.split(line)
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert command in scripts
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        composed = compose(command.removeprefix("glow-"), overrides=with_brackets(arguments, LISTS))
        check(composed, SCHEMAS[command])


def test_the_two_commands_are_those_of_continuous_integration() -> None:
    assert ".venv/bin/pip install -e '.[dev]' && .venv/bin/glow-train\n" in README
    assert ".venv/bin/pytest\n" in README
    script = (ROOT / ".ci" / "run").read_text()
    for part in ("-m venv", "install --quiet -e '.[dev]'", "glow-train", "/pytest"):
        assert part in script


def test_files_that_are_named_exist() -> None:
    for name in re.findall(r"\]\(([^)#:]+)\)|^\| `([\w./]+/?)`", README, re.MULTILINE):
        path = next(filter(None, name))
        if "/" in path:
            assert (ROOT / path).exists(), path
