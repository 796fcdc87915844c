"""The README is short, shows every command, and names only what exists; test_documents composes the commands."""

import re
import tomllib

from glow_app.config.check import check
from tests.guards.command_lines import ROOT, commands, composed

README = (ROOT / "README.md").read_text()
SCRIPTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
COMMANDS = [line for line in commands(README) if line.startswith("glow-")]
EXAMPLES = re.findall(r"^\| .* \| `(glow-[^`]*)` \|$", README, re.MULTILINE)
"""The table of the commands."""
FIGURES = re.findall(r"^\| .* \| ([^|]*\d[^|]*) \| \[\w+\]\((docs/\w+\.md)\) \|$", README, re.MULTILINE)


def test_it_is_short() -> None:
    assert len(README.splitlines()) <= 150
    assert len(README.split()) <= 1300


def test_there_are_commands_to_check() -> None:
    assert {line.split()[0] for line in COMMANDS} <= set(SCRIPTS)


def test_the_table_has_one_example_of_every_command() -> None:
    assert sorted(line.split()[0] for line in EXAMPLES) == sorted(SCRIPTS)
    for line in EXAMPLES:
        check(*composed(line))


def test_the_two_commands_are_those_of_continuous_integration() -> None:
    assert ".venv/bin/pip install -e '.[dev]' && .venv/bin/glow-train\n" in README
    assert ".venv/bin/pytest\n" in README
    script = (ROOT / ".ci" / "run").read_text()
    for part in ("-m venv", "install --quiet -e '.[dev]'", "glow-train", "/pytest"):
        assert part in script


def test_what_is_typed_without_a_folder_comes_after_the_activation() -> None:
    before, after = README.split("source .venv/bin/activate\n")
    assert not any(line.startswith("glow-") for line in commands(before))
    assert len(COMMANDS) == len([line for line in commands(after) if line.startswith("glow-")]) > 0


def test_its_figures_are_those_of_the_guides() -> None:
    assert len(FIGURES) == 5
    for figures, page in FIGURES:
        text = (ROOT / page).read_text()
        for figure in re.split(r"; | and ", figures):
            assert figure in text, (figure, page)


def test_files_that_are_named_exist() -> None:
    for name in re.findall(r"\]\(([^)#:]+)\)|^\| `([\w./]+/?)`", README, re.MULTILINE):
        path = next(filter(None, name))
        if "/" in path:
            assert (ROOT / path).exists(), path
