"""What ``help()`` shows of the Python interface is complete."""

import inspect
import pkgutil
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import FunctionType, ModuleType

import pytest

import glow_app
from glow_app import flows

PAGES = sorted((Path(__file__).parents[2] / "docs" / "api").glob("*.md"))
SHOWN = [page.read_text().removeprefix("::: ").strip() for page in PAGES]
"""The modules that the API reference has a page of."""

MODULES = sorted({*SHOWN, *(found.name for found in pkgutil.walk_packages(flows.__path__, "glow_app.flows."))})


def public(module: ModuleType) -> Iterator[tuple[str, object]]:
    """Functions, classes and what is in these, of this module's own; protocols only say what is needed of others."""
    for name, value in vars(module).items():
        if name.startswith("_") or getattr(value, "__module__", "") != module.__name__:
            continue
        if inspect.isfunction(value) or inspect.isclass(value):
            yield name, value
        if inspect.isclass(value) and not getattr(value, "_is_protocol", False):
            yield from ((f"{name}.{inner}", one) for inner, one in members(value))


def members(owner: type) -> Iterator[tuple[str, object]]:
    ours = [base for base in owner.__mro__[1:] if base.__module__.startswith("glow_app.")]
    declared = {name for base in ours for name in vars(base).get("__annotations__", {})}
    kinds = FunctionType | property | staticmethod | classmethod
    for name, value in vars(owner).items():
        if not name.startswith("_") and name not in declared and isinstance(value, kinds):
            yield name, getattr(owner, name)


@pytest.mark.parametrize("name", MODULES)
def test_everything_public_says_what_it_is(name: str) -> None:
    module = import_module(name)
    assert module.__doc__
    # What is overridden has the docstring of where it is declared.
    assert [name for name, thing in public(module) if not inspect.getdoc(thing)] == []


def test_there_is_something_to_read() -> None:
    found = {name for module in MODULES for name, _ in public(import_module(module))}
    assert {"Model.edit", "Model.image_shape", "Flow.forward", "Bijection.inverse", "Directions.edit", "load"} <= found
    modules = {found.name for found in pkgutil.iter_modules(glow_app.__path__)}
    assert {name for name, _ in public(glow_app)} == set(glow_app.__all__) - modules - set(glow_app.CLASSES)
