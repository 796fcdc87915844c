"""One page for all tests, served as a person serves it: by the command, in a process of its own."""

import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from glow_app.commands.directions import directions
from glow_app.config.editing import DirectionsConfig
from tests.commands.using import configure, use

SCRIPT = Path(__file__).parents[2] / "scripts" / "demo.py"


@pytest.fixture(scope="session")
def found(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directions of the model of :func:`tests.conftest.run`."""
    folder = tmp_path_factory.mktemp("directions")
    arguments = [f"checkpoint={run}", f"output={folder}", "calibration=0"]
    use(directions, configure("directions", DirectionsConfig, *arguments))
    return folder


@pytest.fixture(scope="session")
def difficult(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the page of :mod:`tests.demo.difficult` is."""
    yield from served([sys.executable, "-m", "tests.demo.difficult"], tmp_path_factory.mktemp("difficult"))


@pytest.fixture(scope="session")
def address(run: Path, found: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the page of that model is."""
    folder = tmp_path_factory.mktemp("served")
    options = [f"checkpoint={run}", f"directions={found}", "browser=false", "upload_mb=1"]
    yield from served([sys.executable, str(SCRIPT), *options], folder)


def served(command: list[str], folder: Path) -> Iterator[str]:
    """Runs a command that serves a page, in an empty folder, until it is interrupted; yields the address."""
    if importlib.util.find_spec("gradio") is None:
        pytest.skip("gradio is not installed: pip install 'glow_app[demo]'")
    environment = os.environ | {"PYTHONPATH": str(SCRIPT.parents[1])}
    with (folder / "errors").open("w") as errors:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True
        )
        try:
            assert process.stdout is not None
            line = next((line for line in process.stdout if line.startswith("look at ")), "")
            assert line, (folder / "errors").read_text()
            yield line.removeprefix("look at ").strip()
            process.send_signal(signal.SIGINT)
            deadline = time.monotonic() + 30
            while process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.1)
            assert process.returncode == 0
            assert (folder / "errors").read_text() == ""
        finally:
            process.kill()
            process.communicate()
    assert [path.name for path in folder.iterdir()] == ["errors"]
