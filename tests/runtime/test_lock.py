"""One process at a time."""

import subprocess
import sys
from pathlib import Path

from glow_app.runtime.lock import lock

TRY = "import sys; from glow_app.runtime.lock import lock; print(lock(open(sys.argv[1], 'w'), sys.argv[2] == 'wait'))"


def start(path: Path, how: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", TRY, str(path), how], stdout=subprocess.PIPE, text=True)


def test_another_process_is_told_or_waits(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with open(path, "w") as file:
        assert lock(file)
        assert start(path, "ask").communicate(timeout=60)[0] == "False\n"
        waiting = start(path, "wait")
    assert waiting.communicate(timeout=60)[0] == "True\n"
    assert start(path, "ask").communicate(timeout=60)[0] == "True\n"
