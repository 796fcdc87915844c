"""glow-demo as a service starts and ends it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.forked import SCRIPTS


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
