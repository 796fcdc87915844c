"""Docstrings as the site shows them, and a warning, which ends a strict build, where a public one is missing."""

import re
from pathlib import Path

from griffe import Alias, Class, Extension, GriffeLoader, Module, NameResolutionError, Object, get_logger

ROLE = re.compile(r":\w+:`~?([\w.]+)`")
EXAMPLE = re.compile(r"^>>> .*\n(?:.+\n?)*", re.MULTILINE)
PAGES = Path(__file__).parents[1] / "api"
log = get_logger(__name__)


class Docstrings(Extension):
    """Roles become links where there is a page to link to, and examples become code."""

    def on_package(self, *, pkg: Module, loader: GriffeLoader, **_: object) -> None:
        """Goes through all docstrings when the whole package is known."""
        if pkg.path != "glow_app":
            return
        pages = {page.read_text().removeprefix("::: ").strip() for page in PAGES.glob("*.md")}
        for thing in inside(pkg):
            # What is within a class is left to tests/guards/test_docstrings.py, which knows the classes of torch.
            owner = thing if isinstance(thing, Module) else thing.parent
            if owner and owner.path in pages and thing.is_public and not thing.is_attribute and not thing.docstring:
                log.warning(f"{thing.path} has no docstring")
            if thing.docstring:
                text = EXAMPLE.sub(lambda match: f"```pycon\n{match[0].rstrip()}\n```\n", thing.docstring.value)
                thing.docstring.value = ROLE.sub(lambda match, thing=thing: link(thing, match[1], pages), text)


def inside(thing: Object) -> list[Object]:
    """It and everything that is defined in it, except within functions."""
    parts = thing.members.values() if isinstance(thing, Module | Class) else ()
    return [thing, *(one for part in parts if not isinstance(part, Alias) for one in inside(part))]


def link(thing: Object, name: str, pages: set[str]) -> str:
    """Markdown for a name as ``thing`` knows it. What does not exist stays a link, and ends a strict build."""
    shown = f"`{name.rpartition('.')[2]}`"
    try:
        path = thing.resolve(name)
    except NameResolutionError:
        path = name
    if not path.startswith("glow_app."):
        return f"`{name}`" if "." in name else f"[{shown}][{path}]"
    try:
        target = thing.modules_collection[path]
    except KeyError:
        return f"[{shown}][{path}]"
    # Internal modules have no page, and attributes without a docstring of their own no place on one.
    there = target.module.canonical_path in pages and not (target.is_attribute and not target.docstring)
    return f"[{shown}][{target.canonical_path}]" if there else shown
