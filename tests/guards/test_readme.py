"""The README shows every command, and names only what exists; that its commands compose is told by test_documents."""

import re
import tomllib

from tests.guards.command_lines import ROOT, commands

README = (ROOT / "README.md").read_text()
SCRIPTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
COMMANDS = [line for line in commands(README) if line.startswith("glow-")]


def test_there_are_commands_to_check() -> None:
    assert {line.split()[0] for line in COMMANDS} == set(SCRIPTS)


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
