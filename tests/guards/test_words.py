"""Docstrings begin so that their first line stands alone, and speak the field's words."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "glow_app"
FILES = sorted(PACKAGE.rglob("*.py"))

DEPENDENT = re.compile(r"(That|Those|Of|What|Which|Whether|As|Where|How|Such|Likewise|The same|Also)\b(?!.*\?$)")
"""Beginnings that need the name of the function to be understood."""

HOMEMADE = re.compile(r"\b(whoever|nobody|somebody|durabl[ey]|came back|goes on from|at rest|laid out|recorded step)\b")
"""Words for which the field has others: the user, atomic, reconstructed, resumes, inference, captured."""


def docstrings(path: Path) -> Iterator[str]:
    """Yields those of the module, its classes and functions, and of its constants."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield ast.get_docstring(node) or ""
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.value.value


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_docstrings(path: Path) -> None:
    for text in docstrings(path):
        first = text.strip().partition("\n")[0]
        assert not DEPENDENT.match(first), first
        assert not (found := HOMEMADE.search(text)), (found[0], text)
