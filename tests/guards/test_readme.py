"""The README's commands are commands, and their options compose."""

import re
import shlex
import tomllib
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from glow_app.cli import conf_folder
from glow_app.config import PrepareConfig, TrainConfig
from glow_app.config_check import check

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
SCHEMAS = {"glow-train": TrainConfig, "glow-prepare": PrepareConfig}
COMMANDS = [
    line.strip()
    for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
    if line.startswith("glow-")
]


def test_there_are_commands_to_check() -> None:
    assert len(COMMANDS) >= 6


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_compose(line: str) -> None:
    command, *arguments = shlex.split(line)
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert command in scripts
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        check(compose(command.removeprefix("glow-"), overrides=arguments), SCHEMAS[command])


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
