"""What the documents say can be typed: commands compose, code runs, files that are named exist."""

import doctest
import importlib.util
import re
import shlex
import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import glow_app
from glow_app.commands.directions import directions
from glow_app.config.check import check
from glow_app.config.editing import DirectionsConfig
from glow_app.flows import Glow
from glow_app.model import Model
from tests.commands.using import configure, use
from tests.guards.command_lines import ROOT, commands, composed

DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "checkpoints" / "README.md"]
PAGES = {path.name for path in (ROOT / "docs").glob("*.md")} - {"index.md"}
SCRIPTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
LINES = [(path, line) for path in DOCUMENTS for line in commands(path.read_text())]
INLINE = [
    (path, line) for path in DOCUMENTS for line in re.findall(r"`(glow-[a-z]+ [^`]*[\w=/.-]+)`", path.read_text())
]
CODE = {path: re.findall(r"```python\n(.*?)```", path.read_text(), re.DOTALL) for path in DOCUMENTS}
RUN = "runs/drawn_faces/2026-01-01_12-00-00"
"""What the documents call the run that one has just made."""


def title(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def named(case: tuple[Path, str]) -> str:
    return f"{title(case[0])} {case[1]}"


STARTERS = re.compile(r'^.*"\$\(which (glow-[a-z]+)\)"|^docker run .*? glow_app |^\.venv/bin/')


def programs(line: str) -> list[str]:
    """The commands of ours in a line, without what starts them: several processes, a container, a folder's own."""
    parts = [STARTERS.sub(lambda match: match[1] or "", part) for part in re.split(r"\s+&&\s+", line)]
    return [part for part in parts if part.split()[0] in SCRIPTS]


def check_command(line: str) -> None:
    words = [word for word in shlex.split(line, comments=True) if word != "..." and not word.startswith("hydra")]
    if "-m" in words:  # a sweep: the first of the values of each key
        words = [word if "[" in word else word.split(",")[0] for word in words if word != "-m"]
    chosen = [word.removeprefix("data=") for word in words if word.startswith("data=")]
    files = [data for data in chosen if "\nroot:" in (ROOT / "conf" / "data" / f"{data}.yaml").read_text()]
    if files and not any(word.startswith("data.root=") for word in words):
        words.append("data.root=/data")
    check(*composed(shlex.join(word for word in words if word not in ("--help", "-h"))))


@pytest.mark.parametrize("case", LINES, ids=named)
def test_lines_of_shell_can_be_typed(case: tuple[Path, str]) -> None:
    line = case[1]
    found = programs(line)
    for program in found:
        check_command(program)
    words = shlex.split(line, comments=True)
    match words:
        case ["python", "-m", module, *_]:
            assert importlib.util.find_spec(module) is not None
        case ["python" | "sbatch", file, *_]:
            assert (ROOT / file).exists()
        case ["pip", "install", "-e", requirement] | ["pip", "install", requirement, *_]:
            assert requirement == "-r" or re.fullmatch(rf"(glow_app|\.)\[({'|'.join(EXTRAS)})\]", requirement)
        case ["wandb", "sweep", *_, file]:
            assert (ROOT / file).exists()
        case ["docker", "build", "-t", "glow_app", "."] | ["docker", "run", *_, "glow_app"]:
            assert (ROOT / "Dockerfile").exists()
        case ["mkdocs", "build", "--strict", "--config-file", file]:
            assert (ROOT / file).exists()
        case ["source", ".venv/bin/activate"]:
            pass
        case [".venv/bin/pytest"] | ["python3", "-m", "venv", *_] | ["git", "clone", _] | ["cd", _]:
            pass
        case _:
            assert found, line


@pytest.mark.parametrize("case", INLINE, ids=named)
def test_commands_within_a_sentence_compose(case: tuple[Path, str]) -> None:
    check_command(case[1])


@pytest.fixture(scope="module")
def place(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a run, its directions and a picture have the names that they have in the documents."""
    folder = tmp_path_factory.mktemp("documents")
    shutil.copytree(run, folder / RUN)
    arguments = [f"checkpoint={folder / RUN}", "calibration=0"]
    use(directions, configure("directions", DirectionsConfig, *arguments))
    (folder / "checkpoints").symlink_to(ROOT / "checkpoints")
    Image.effect_noise((40, 30), 60).convert("RGB").save(folder / "me.jpg")
    return folder


@pytest.mark.parametrize("path", [path for path in DOCUMENTS if CODE[path]], ids=title)
def test_code_runs(
    path: Path, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setenv("XDG_CACHE_HOME", str(place / "cache"))
    names: dict[str, object] = {"__name__": "document"}
    for code in CODE[path]:
        exec(compile(code, path.name, "exec"), names)  # the blocks of one document belong together
    assert capsys.readouterr().err == ""


def test_the_code_of_the_readme_runs_where_nothing_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "document"}
    for code in CODE[ROOT / "README.md"]:
        exec(compile(code, "README.md", "exec"), names)
    assert torch.equal(names["again"][0], names["faces"][0])  # "the same pixels"
    assert len(names["latents"]) == 4


@pytest.mark.parametrize("thing", [glow_app.load, glow_app.load_directions, glow_app.train, Model, Glow])
def test_examples_in_docstrings_say_what_comes_out(thing: object, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setenv("XDG_CACHE_HOME", str(place / "cache"))
    found = [test for test in doctest.DocTestFinder(recurse=False).find(thing, globs={}) if test.examples]
    assert len(found) == 1
    said: list[str] = []
    result = doctest.DocTestRunner(verbose=False).run(found[0], out=said.append)
    assert (result.failed, "".join(said)) == (0, "")


def test_there_is_code_to_run() -> None:
    written = {path.name for path in DOCUMENTS if CODE[path]}
    assert {"README.md", "quickstart.md", "editing.md", "python.md", "design.md"} <= written


def test_every_page_can_be_found() -> None:
    known = {"quickstart.md", "data.md", "training.md", "options.md", "editing.md", "sharing.md", "scaling.md"}
    assert known | {"reliability.md", "comparison.md", "family.md", "speed.md", "python.md", "design.md"} <= PAGES
    names = ("docs/quickstart.md", "docs/index.md", "README.md")
    quickstart, index, readme = ((ROOT / name).read_text() for name in names)
    for page in PAGES:
        assert page == "quickstart.md" or f"]({page})" in quickstart
        assert f"]({page})" in index
        assert f"](docs/{page})" in readme


@pytest.mark.parametrize("path", sorted((ROOT / "docs").glob("*.md")), ids=title)
def test_a_page_is_read_in_one_sitting(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 220


@pytest.mark.parametrize("path", DOCUMENTS, ids=title)
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\((?!https://)([^)#:\s]+)[^)]*\)", path.read_text()):
        assert (path.parent / target).exists(), target
    for target in re.findall(r"`((?:docs|conf|scripts|tests|benchmarks|glow_app)/[\w./]*\w\.\w+)`", path.read_text()):
        assert (ROOT / target).exists(), target
