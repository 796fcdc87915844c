"""``--help``: every command has a page, whose examples compose and whose keys exist."""

import shlex
import subprocess
import sys
import tomllib
from dataclasses import is_dataclass
from pathlib import Path
from typing import get_type_hints

import pytest
from hydra import compose, initialize_config_dir

from glow_app.cli import conf_folder
from glow_app.cli import help as help_
from glow_app.cli.pages import PAGES
from glow_app.config.check import check
from tests.guards.command_lines import composed

ROOT = Path(__file__).parents[2]
EXAMPLES = [line for page in PAGES.values() for line, _ in page.examples]


@pytest.fixture(autouse=True)
def _as_wide_as_it_gets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests that ran before may have left another width in the environment."""
    monkeypatch.delenv("COLUMNS", raising=False)


def page(command: str, *arguments: str) -> str:
    return help_.text(command, list(arguments), [conf_folder()])


def test_every_command_has_a_page() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert {f"glow-{command}" for command in PAGES} == set(scripts)


@pytest.mark.parametrize("command", PAGES)
def test_it_teaches(command: str) -> None:
    shown = page(command)
    assert shown.startswith(f"glow-{command}: ")
    assert len(PAGES[command].examples) == 5
    for line, meaning in PAGES[command].examples:
        assert line.split()[0] == f"glow-{command}"
        assert line in shown
        assert meaning in shown
    groups = [] if command == "compare" else ["Groups (group=choice)"]
    for heading in ("Examples", *groups, "Most used keys (key=value)", "All other keys"):
        assert f"\n{heading}\n" in shown
    assert max(map(len, shown.splitlines())) <= help_.WIDEST


@pytest.mark.parametrize("line", EXAMPLES)
def test_examples_compose(line: str) -> None:
    check(*composed(line))


@pytest.mark.parametrize("command", PAGES)
def test_every_key_of_the_configuration_is_explained(command: str) -> None:
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        whole = compose(command)
    groups = {key for key, kind in get_type_hints(PAGES[command].schema).items() if is_dataclass(kind)}
    keys = {str(key) for key in whole if key not in groups} | {f"{g}.{key}" for g in groups for key in whole[g]}
    explained = help_.meanings(PAGES[command].schema, whole)
    assert set(explained) == keys
    assert all(meaning for _, meaning in explained.values())
    shown = page(command)
    for key in explained:
        assert f"\n  {key}=" in shown


@pytest.mark.parametrize("command", PAGES)
def test_keys_that_are_named_exist(command: str) -> None:
    keys = PAGES[command].most_used
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        # data.root is a key of every data set but the one that is drawn.
        overrides = [] if command == "compare" else ["data=celeba"]
        known = help_.meanings(PAGES[command].schema, compose(command, overrides=overrides))
    assert len(set(keys)) == len(keys)
    assert set(keys) <= set(known)


def test_groups_values_and_limits_are_told() -> None:
    shown = page("train")
    for path in conf_folder().glob("*/*.yaml"):
        assert f" {path.stem}" in shown
    for entry in (
        "model.n_levels=3            L: levels of scale; each halves the image (at least 1, at most 12)",
        "trainer.precision=fp32      precision of the coupling networks; the rest is always float32 (fp32, bf16)",
        "seed=0                      seed of the parameters, the order, the flips and the noise (at least 0)",
    ):
        assert f"\n  {entry}\n" in shown


def test_values_are_those_of_the_command_line() -> None:
    shown = page("train", "experiment=celeba64", "data.root=/data/celeba", "--help", "optim.lr=5e-4")
    for entry in ("experiment=celeba64", "data=celeba", "data.root=/data/celeba", "optim.lr=0.0005", "data.crop=148"):
        assert f"\n  {entry} " in shown


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_it_answers_without_torch(flag: str, tmp_path: Path) -> None:
    program = (
        "import sys\nfrom glow_app.cli import sample\n"
        "try:\n    sample()\nfinally:\n    assert 'torch' not in sys.modules"
    )
    line = [sys.executable, "-c", program, flag, "n=3"]
    result = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("glow-sample: New pictures from a trained model.\n")
    assert "\n  n=3 " in result.stdout
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("argument", "message"),
    [("modle=tiny", "unknown key modle: did you mean model?"), ("data.name=cat", "data.name=cat is not one of ")],
)
def test_a_mistake_beside_it_is_told(argument: str, message: str, tmp_path: Path) -> None:
    line = [sys.executable, str(ROOT / "scripts" / "train.py"), *shlex.split(argument), "--help"]
    result = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 2
    assert result.stderr.startswith(f"error: {message}")
    assert result.stderr.count("\n") == 1
