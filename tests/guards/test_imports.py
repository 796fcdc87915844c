"""Who may import whom: the arrows of the design, read from the source."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "glow_app"
FILES = sorted(PACKAGE.rglob("*.py"))

ALLOWED = {
    "flows": {"torch", "triton", "glow_app.flows", "glow_app.noise"},
    "likelihood": {"torch", "glow_app.flows", "glow_app.noise", "glow_app.units"},
    "units": set(),
    "plane_figures": {"torch", "PIL", "matplotlib", "glow_app.figures", "glow_app.evaluation.plane"},
    "noise": {"torch"},
    "figures": {"torch", "PIL", "matplotlib", "glow_app.durable"},
    "animation": {"torch", "PIL", "glow_app.durable", "glow_app.figures"},
    "place": set(),
    "processes": {"torch", "lightning_fabric", "glow_app.errors", "glow_app.place"},
    "errors": set(),
    "durable": {"glow_app.errors"},
    "config": {"glow_app.config_data", "glow_app.config_model", "glow_app.option", "glow_app.published"},
    "published": set(),
    "config_use": {"glow_app.config_data", "glow_app.option"},
    "figure_bands": {"matplotlib", "glow_app.durable"},
    "run_config": {"yaml", "omegaconf", "glow_app.errors"},
    "comparison": {"numpy", "glow_app.errors", "glow_app.runs"},
    "config_data": {"glow_app.errors", "glow_app.option"},
    "config_model": {"glow_app.option"},
    "config_check": {
        "omegaconf", "glow_app.config", "glow_app.config_data", "glow_app.config_model", "glow_app.errors",
    },
    "option": set(),
    "data": {
        "torch", "torchvision", "numpy", "PIL", "lmdb", "pytorch_lightning",
        "glow_app.data", "glow_app.noise", "glow_app.errors", "glow_app.durable",
    },
}  # fmt: skip


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
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
def test_imports_follow_the_design(path: Path) -> None:
    allowed = ALLOWED.get(part(path))
    for name in imports(path):
        if allowed is not None:
            assert any(name == word or name.startswith(f"{word}.") for word in allowed), name
        if name.split(".")[0] == "hydra":
            assert part(path) == "cli"
        if name.split(".")[0] == "gradio":
            assert path.relative_to(PACKAGE).as_posix() == "demo/page.py"
        if name.startswith("pytorch_lightning") and part(path) == "data":
            assert path.name == "module.py"


def test_evaluation_does_not_know_training() -> None:
    for path in FILES:
        if part(path) == "evaluation":
            assert not any(name.startswith("glow_app.training") for name in imports(path))


@pytest.mark.parametrize("path", sorted((ROOT / "scripts").glob("*.py")), ids=lambda path: path.name)
def test_scripts_hold_no_logic(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 40
    assert imports(path) == {"glow_app.cli"}
