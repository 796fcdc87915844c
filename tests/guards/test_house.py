"""The shape of the house: small files, small rooms, and the mathematics by itself."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "glow_app"
FLOWS = PACKAGE / "flows"

LONGEST_FILE = 320
MOST_FILES = 15

GLOW_LINES, GLOW_FILES, COUPLING_LINES = 1500, 12, 420
"""What a reader opens who wants to be sure of all of Glow, and of a coupling layer with all that it imports."""

PLAIN = sorted(FLOWS.glob("*.py"))


def closure(start: Path) -> set[Path]:
    """The files of ours that a file imports by name, and those that these import."""
    found, left = set(), [start]
    while left:
        path = left.pop()
        if path in found:
            continue
        found.add(path)
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("glow_app"):
                for name in (node.module, *(f"{node.module}.{alias.name}" for alias in node.names)):
                    module = ROOT / f"{name.replace('.', '/')}.py"
                    if module.is_file():
                        left.append(module)
    return found


def lines(paths: set[Path]) -> int:
    return sum(len(path.read_text().splitlines()) for path in paths)


def test_all_of_glow_is_read_in_one_sitting() -> None:
    files = closure(FLOWS / "glow.py") | {FLOWS / "initialize.py"}
    assert len(files) <= GLOW_FILES
    assert lines(files) <= GLOW_LINES
    assert lines(closure(FLOWS / "coupling.py")) <= COUPLING_LINES


FOREIGN = (
    "flows.fast", "autocast", "channels_last", "is_compiling", "is_cuda", "type ==", "type !=", "WhileUnchanged",
    "mkldnn",
)  # fmt: skip
"""Words of devices, precisions, memory formats, compilers and caches."""


@pytest.mark.parametrize("path", PLAIN, ids=lambda path: path.name)
def test_the_mathematics_knows_nothing_of_how_it_runs(path: Path) -> None:
    text = path.read_text()
    for word in FOREIGN:
        assert word not in text, word


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_files_are_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= LONGEST_FILE


@pytest.mark.parametrize(
    "folder",
    sorted({path.parent for path in PACKAGE.rglob("*.py")} - {PACKAGE / "commands"}),
    ids=lambda folder: folder.relative_to(ROOT).as_posix(),
)
def test_folders_are_small(folder: Path) -> None:
    files = [path for path in folder.iterdir() if path.is_file() and path.name != "__init__.py"]
    assert len(files) <= MOST_FILES
