"""Who may import whom: the arrows of the design, read from the source."""

import ast
import sys
from collections.abc import Container, Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "glow_app"
FILES = sorted(PACKAGE.rglob("*.py"))

ROOMS = (
    "errors", "units", "noise", "runtime", "flows", "likelihood", "figures", "data", "config", "build", "artifacts",
    "latents", "scores", "model", "evaluation", "training", "comparison", "commands", "demo", "cli",
)  # fmt: skip
"""From the lowest to the highest: a room imports from itself and from lower ones."""

BUILT = {"glow_app.flows", "glow_app.data"}
"""What the options of ``config`` say how to build: imported there only when it is built, or for types."""

ELSEWHERE = {
    "errors": set(),
    "units": set(),
    "noise": {"torch"},
    "runtime": {"torch", "lightning_fabric", "rich"},
    "config": {"omegaconf", "yaml"},
    "flows": {"torch", "triton", "torchdiffeq"},
    "likelihood": {"torch"},
    "figures": {"torch", "PIL", "matplotlib"},
    "data": {"torch", "torchvision", "numpy", "PIL", "lmdb", "datasets", "dlib", "pytorch_lightning"},
}
"""What the lower rooms import of other people's."""


def imports(path: Path) -> set[str]:
    return names(ast.walk(ast.parse(path.read_text())))


def names(nodes: Iterable[ast.AST]) -> set[str]:
    """The modules of other people's and ours that some statements import."""
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom) and node.module:
            # `from glow_app import noise` imports glow_app.noise.
            package = node.module == "glow_app"
            found |= {f"glow_app.{alias.name}" for alias in node.names} if package else {node.module}
    return {name for name in found if name.split(".")[0] not in sys.stdlib_module_names}


def part(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_imports_go_down(path: Path) -> None:
    room = part(path)
    if room == "__init__":
        return
    for name in imports(path):
        library = name.split(".")[0]
        if library != "glow_app":
            assert room not in ELSEWHERE or library in ELSEWHERE[room], name
        else:
            assert ROOMS.index(name.split(".")[1]) <= ROOMS.index(room), name
        if library == "hydra":
            assert room == "cli"
        if library == "gradio":
            assert path.relative_to(PACKAGE).as_posix() in ("demo/page.py", "demo/server.py", "demo/widgets.py")
        if library == "pytorch_lightning" and room == "data":
            assert path.name == "datamodule.py"


@pytest.mark.parametrize("path", sorted((PACKAGE / "config").glob("*.py")), ids=lambda path: path.name)
def test_options_are_known_without_what_they_build(path: Path) -> None:
    """A mistake on the command line is told without waiting for torch."""
    outside = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.Import | ast.ImportFrom)]
    for name in names(outside):
        assert ".".join(name.split(".")[:2]) not in BUILT, name


def test_no_modules_import_each_other() -> None:
    """Not even for types."""
    modules = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in FILES if path.stem != "__init__"
    }
    arrows = {name: used(path, modules) for name, path in modules.items()}
    while ends := [name for name, needed in arrows.items() if not needed & arrows.keys()]:
        for name in ends:
            del arrows[name]
    assert not arrows, f"a circle is among {sorted(arrows)}"


def used(path: Path, modules: Container[str]) -> set[str]:
    """The modules of ours that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {name for name in found if name in modules}


@pytest.mark.parametrize("path", sorted((ROOT / "scripts").glob("*.py")), ids=lambda path: path.name)
def test_scripts_hold_no_logic(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 40
    assert imports(path) == {"glow_app.cli"}
