"""glow-demo as a service starts and ends it."""

import os
import signal
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

import pytest

from glow_app.demo import command as demo
from glow_app.errors import UserError
from tests.forked import SCRIPTS


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self").exists(), reason="there is no folder that root cannot write to")
def test_it_asks_no_proxy_and_writes_to_temporary_folders_alone(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("gradio", reason="the extra demo is not installed")
    command = [sys.executable, str(SCRIPTS / "demo.py"), f"checkpoint={run}", "browser=false"]
    # Nobody listens at port 9, and httpx cannot talk to a socks proxy at all.
    proxies = {name: "http://127.0.0.1:9" for name in ("http_proxy", "https_proxy", "HTTP_PROXY")}
    environment = os.environ | proxies | {"all_proxy": "socks5://127.0.0.1:9", "TMPDIR": str(tmp_path)}
    for name in ("HOME", "no_proxy", "NO_PROXY"):
        environment.pop(name, None)
    with subprocess.Popen(
        command, cwd="/proc", env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        address = next((line.removeprefix("look at ").strip() for line in process.stdout if "look at " in line), None)
        if address is not None:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(address, timeout=20) as answer:
                assert b"glow-demo" in answer.read()
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
    assert address is not None, errors
    assert (process.returncode, errors) == (128 + signal.SIGTERM, "")


def test_elsewhere_proxies_are_asked_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "example.org")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setenv("all_proxy", "socks5://127.0.0.1:9")
    with demo._without_proxy():
        assert urllib.request.proxy_bypass("127.0.0.1")
    assert os.environ["NO_PROXY"] == "example.org"
    assert "no_proxy" not in os.environ


def test_no_temporary_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(prefix: str) -> None:
        raise FileNotFoundError(2, "No usable temporary directory found in [...]")

    monkeypatch.setattr(tempfile, "TemporaryDirectory", fail)
    with pytest.raises(UserError, match="set TMPDIR"):
        demo._temporary_folder()


@pytest.mark.slow
def test_it_leaves_nothing_behind_when_it_is_asked_to_end(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("gradio", reason="the extra demo is not installed")
    command = [sys.executable, str(SCRIPTS / "demo.py"), f"checkpoint={run}", "browser=false"]
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    environment = os.environ | {"TMPDIR": str(temporary)}
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert any(line.startswith("look at ") for line in process.stdout)
        assert list(temporary.glob("glow_demo_*"))
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (128 + signal.SIGTERM, "")
    assert not list(temporary.glob("glow_demo_*"))
