"""Models on the hub, without a network: the package that fetches is replaced."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import glow_app
from glow_app.artifacts import hub
from glow_app.artifacts.weights import export
from glow_app.errors import UserError
from tests.artifacts.test_weights import card_of
from tests.flows.models import small_glow

Install = Callable[[Callable[..., str]], None]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Puts a function in place of the hub's ``snapshot_download``."""
    hub._fetched.cache_clear()

    def put(function: Callable[..., str]) -> None:
        module = ModuleType("huggingface_hub")
        module.snapshot_download = function  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "huggingface_hub", module)

    return put


def test_a_model_is_fetched_once_and_loaded(install: Install, tmp_path: Path) -> None:
    flow = small_glow((3, 16, 16))
    export(flow, card_of(flow), tmp_path)
    calls: list[tuple[Any, ...]] = []

    def download(repo_id: str, revision: str | None, allow_patterns: list[str]) -> str:
        calls.append((repo_id, revision, allow_patterns))
        return str(tmp_path)

    install(download)
    assert glow_app.load("hf://somebody/faces").image_shape == (3, 16, 16)
    assert glow_app.load("hf://somebody/faces").folder == tmp_path
    with pytest.raises(UserError, match="no directions at hf://somebody/faces"):
        glow_app.load_directions("hf://somebody/faces")
    assert calls == [("somebody/faces", None, list(hub.WANTED))]
    glow_app.load("hf://somebody/faces@v1")
    assert calls[1][:2] == ("somebody/faces", "v1")
    assert all(name.endswith((".json", ".safetensors")) for name in hub.WANTED)


@pytest.mark.parametrize("address", ["hf://faces", "hf://a/b/c", "hf://a/b@", "hf://a/../b", "hf:// a/b"])
def test_what_is_no_address(install: Install, address: str) -> None:
    install(lambda *arguments, **options: pytest.fail("asked the hub"))
    with pytest.raises(UserError, match="is no address: write hf://owner/name"):
        glow_app.load(address)


def test_a_hub_that_refuses(install: Install) -> None:
    def download(*arguments: object, **options: object) -> str:
        raise RuntimeError("404 Client Error\nand more")

    install(download)
    with pytest.raises(UserError, match=r"hf://a/b cannot be fetched \(404 Client Error\); check the name"):
        glow_app.load("hf://a/b")


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    hub._fetched.cache_clear()
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UserError, match="hf://a/b needs huggingface_hub: install it with pip"):
        glow_app.load("hf://a/b")
