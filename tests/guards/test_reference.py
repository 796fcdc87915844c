"""The API reference has a page for every public module, and says nothing of others."""

import pkgutil
import re
import subprocess
import sys
from importlib import import_module

import glow_app
from tests.guards.command_lines import ROOT
from tests.guards.test_docstrings import PAGES, SHOWN

DOCS = ROOT / "docs"
INTERNAL = re.compile(
    r"glow_app\.(flows\.fast(\.\w+)?|artifacts\.shipped|evaluation\.(statistics|disjoint|density_figures))"
)
"""They lie in public rooms, and serve only other modules."""


def public_modules() -> set[str]:
    """The package and the modules that ``__all__`` names, or that lie in what it names."""
    found = {"glow_app"}
    for name in {module.name for module in pkgutil.iter_modules(glow_app.__path__)} & set(glow_app.__all__):
        module = import_module(f"glow_app.{name}")
        inner = pkgutil.walk_packages(getattr(module, "__path__", []), f"{module.__name__}.")
        found |= {one.name for one in inner if not one.ispkg}
        if not hasattr(module, "__path__"):
            found.add(module.__name__)
    return found


def test_every_public_module_has_a_page_and_no_other() -> None:
    assert set(SHOWN) == {name for name in public_modules() if not INTERNAL.fullmatch(name)}


def test_what_is_public_can_be_had() -> None:
    program = "import glow_app; print([getattr(glow_app, name).__name__ for name in glow_app.__all__])"
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    modules = {module.name for module in pkgutil.iter_modules(glow_app.__path__)}
    shown = [f"glow_app.{name}" if name in modules else name for name in glow_app.__all__]
    assert result.stdout == f"{shown}\n"
    assert not hasattr(glow_app, "no_such_module")


def test_a_page_is_called_as_its_module() -> None:
    for page, module in zip(PAGES, SHOWN, strict=True):
        assert page.stem == module.removeprefix("glow_app.")
        assert page.read_text() == f"::: {module}\n"


def test_every_page_is_in_the_contents() -> None:
    contents = re.findall(r"- ([\w./]+\.md)$", (DOCS / "mkdocs" / "mkdocs.yml").read_text(), re.MULTILINE)
    assert sorted(contents) == sorted(page.relative_to(DOCS).as_posix() for page in [*DOCS.glob("*.md"), *PAGES])


def test_the_site_is_built_strictly() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    assert 'mkdocs" build --strict --config-file docs/mkdocs/mkdocs.yml' in script


def test_types_are_for_users_too() -> None:
    assert (ROOT / "glow_app" / "py.typed").exists()
