"""The Dockerfile, read as a builder reads it: what it copies is there, what it starts exists, and root runs nothing."""

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "Dockerfile").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
IGNORED = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]


class Instruction(NamedTuple):
    name: str
    value: str


def instructions() -> list[Instruction]:
    lines = [line for line in TEXT.splitlines() if line.strip() and not line.startswith("#")]
    whole = "\n".join(lines).replace("\\\n", "").splitlines()
    return [Instruction(*line.split(maxsplit=1)) for line in whole]


def values(name: str) -> list[str]:
    return [instruction.value for instruction in instructions() if instruction.name == name]


def copied() -> list[tuple[list[str], str]]:
    """The sources and the destination of every COPY."""
    words = [[word for word in shlex.split(value) if not word.startswith("--")] for value in values("COPY")]
    return [(sources, destination) for *sources, destination in words]


def sent(path: str) -> bool:
    """Whether .dockerignore lets the builder have this file: the last pattern that matches it or a parent decides."""
    parts = path.split("/")
    decision = True
    for pattern in IGNORED:
        bare = pattern.lstrip("!").removeprefix("**/")
        for n in range(1, len(parts) + 1):
            starts = range(n) if pattern.lstrip("!").startswith("**/") else [0]
            same_depth = [parts[start:n] for start in starts if n - start == bare.count("/") + 1]
            if any(fnmatchcase("/".join(inner), bare) for inner in same_depth):
                decision = pattern.startswith("!")
    return decision


def test_every_source_exists_and_is_sent() -> None:
    sources = [source for sources, _ in copied() for source in sources]
    assert "glow_app" in sources
    for source in sources:
        assert (ROOT / source).exists(), source
        files = [path for path in (ROOT / source).rglob("*.*") if "__pycache__" not in path.parts]
        for path in [ROOT / source, *files]:
            assert sent(path.relative_to(ROOT).as_posix()), path


@pytest.mark.parametrize(
    "path", [".git/HEAD", "runs/a/config.yaml", "scripts/train.py", "glow_app/cli/__pycache__/run.pyc", "tests/a.py"]
)
def test_nothing_else_is_sent(path: str) -> None:
    assert not sent(path)


def test_the_wheel_is_built_from_what_is_copied() -> None:
    hatch = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {*hatch["packages"], *hatch["force-include"], PROJECT["readme"], *PROJECT["license-files"]}
    assert needed <= {source for sources, _ in copied() for source in sources}


def test_commands_that_are_named_exist() -> None:
    named = set(re.findall(r"\bglow-\w+", TEXT + (ROOT / "scripts" / "entrypoint").read_text()))
    assert {"glow-train", "glow-sample"} <= named <= set(PROJECT["scripts"])
    assert [json.loads(value) for value in values("CMD")] == [["glow-train"]]
    (program,) = json.loads(values("ENTRYPOINT")[0])
    assert (["scripts/entrypoint"], f"/usr/local/bin/{program}") in copied()


def test_the_base_is_an_argument() -> None:
    first, second = instructions()[:2]
    assert first.name == "ARG"
    assert re.fullmatch(r"BASE=python:3\.\d+-slim-\w+", first.value)
    assert second == Instruction("FROM", "${BASE}")
    assert len(values("FROM")) == 1


def test_the_dependencies_have_a_layer_that_no_source_changes() -> None:
    order = instructions()
    install = next(i for i, one in enumerate(order) if one.name == "RUN" and "requirements.txt" in one.value)
    before = [shlex.split(one.value) for one in order[:install] if one.name == "COPY"]
    assert before == [["pyproject.toml", "./"]]
    assert any(one.value == "pip install --no-deps ." for one in order[install:])


@pytest.mark.parametrize("extras", ["", "demo onnx"])
def test_the_dependencies_are_those_of_the_project(extras: str) -> None:
    program = next(re.search(r'python (-c ".*?") >', value) for value in values("RUN") if "tomllib" in value)
    assert program is not None
    line = [sys.executable, *shlex.split(program[1])]
    result = subprocess.run(
        line, cwd=ROOT, env={**os.environ, "EXTRAS": extras}, capture_output=True, text=True, check=True
    )
    expected = [*PROJECT["dependencies"]]
    for name in extras.split():
        expected += PROJECT["optional-dependencies"][name]
    assert result.stdout.splitlines() == expected


def test_the_user_is_not_root() -> None:
    order = instructions()
    last = max(i for i, one in enumerate(order) if one.name == "USER")
    assert order[last].value not in ("root", "0")
    assert f"--create-home {order[last].value} " in " ".join(values("RUN"))
    assert not [one for one in order[last:] if one.name in ("RUN", "COPY")]


def test_data_runs_and_cache_are_volumes() -> None:
    assert json.loads(values("VOLUME")[0]) == ["/data", "/home/glow/runs", "/home/glow/outputs", "/cache/glow_app"]
    assert values("WORKDIR")[-1] == "/home/glow"  # where `runs/` and `outputs/` are then
    assert "XDG_CACHE_HOME=/cache" in values("ENV")[0]


@pytest.mark.parametrize(
    ("given", "started"),
    [
        ([], ["glow-train"]),
        (["glow-train"], ["glow-train"]),
        (["max_steps=5", "name=a b"], ["glow-train", "max_steps=5", "name=a b"]),
        (["--help"], ["glow-train", "--help"]),
        (["glow-sample", "checkpoint=runs/a"], ["glow-sample", "checkpoint=runs/a"]),
    ],
)
def test_the_entrypoint_starts_what_is_named(given: list[str], started: list[str], tmp_path: Path) -> None:
    for command in ("glow-train", "glow-sample"):
        (tmp_path / command).write_text('#!/bin/sh\nprintf "%s\\n" "${0##*/}" "$@"\n')
        (tmp_path / command).chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    result = subprocess.run(
        [ROOT / "scripts" / "entrypoint", *given],
        env={"PATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.splitlines() == started
