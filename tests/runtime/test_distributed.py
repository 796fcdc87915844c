"""What processes decide together, without any: the store is a dictionary."""

import itertools
import subprocess
import sys
from pathlib import Path

import pytest

from glow_app.runtime import distributed
from glow_app.runtime.rank import RankInfo


class Store(dict[str, bytes]):
    def set(self, key: str, value: str) -> None:
        self[key] = value.encode()


def test_every_decision_is_one_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The runs of a sweep are decided one after the other; who is late must not be given an earlier decision."""
    store = Store()
    monkeypatch.setattr(distributed, "_store", lambda: store)
    monkeypatch.setattr(distributed, "is_child", lambda: False)
    monkeypatch.setenv(distributed.DECISION, "")  # put back at the end
    decisions = iter(["first", "second"])
    heard = []
    for rank in (0, 1):
        monkeypatch.setattr(distributed, "_decisions", itertools.count())
        monkeypatch.setattr(distributed, "rank_info", lambda rank=rank: RankInfo(rank, 2, rank, 2))
        heard.append([distributed.broadcast_decision(lambda: next(decisions)) for _ in range(2)])
    assert heard == [["first", "second"]] * 2


LATE = """
import glob
from pathlib import Path
from glow_app.runtime import distributed
with distributed.process_group():
    import torch.distributed.nn.functional
    distributed.all_gather(distributed.rank())
print([name for name in (Path(task).read_text() for task in glob.glob("/proc/self/task/*/comm")) if "gloo" in name])
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="asks the system for the names of threads")
def test_no_thread_outlives_what_joined_the_processes(tmp_path: Path) -> None:
    """Whatever is imported meanwhile: a thread of gloo's that is left may abort the process as Python ends."""
    script = tmp_path / "late.py"
    script.write_text(LATE)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)]
    done = subprocess.run(torchrun, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("[]") == 2, done.stdout
