"""Long runs: memory and open files stay where they are."""

import json
import os
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from glow_app.training.checkpoints.callback import Checkpoints
from tests.reliability import jobs
from tests.reliability.conftest import Figures
from tests.reliability.jobs import COMMAND

PAGE = os.sysconf("SC_PAGE_SIZE")


def note(report: Path, first: int) -> None:
    """From step ``first`` on, once in every ``first`` steps, writes down resident memory and open files."""
    noted: list[tuple[int, int]] = []
    after_update = Checkpoints.after_update

    def watched(self: Checkpoints, trainer: Any, pl_module: Any) -> None:
        after_update(self, trainer, pl_module)
        if trainer.global_step % first == 0:
            resident = int(Path("/proc/self/statm").read_text().split()[1]) * PAGE
            noted.append((resident, len(os.listdir("/proc/self/fd"))))
            report.write_text(json.dumps(noted))

    Checkpoints.after_update = watched  # type: ignore[method-assign]


@pytest.mark.slow
def test_memory_and_open_files_stay_the_same(tmp_path: Path, figures: Figures) -> None:
    steps = 2000
    every = steps // 10
    report = tmp_path / "report.json"
    often = [f"{key}={every // 2}" for key in ("validate_every", "samples_every", "checkpoint_every")]
    arguments = [*COMMAND, *often, f"max_steps={steps}", "data.flip=true", "test_images=8"]
    status = jobs.run(tmp_path, arguments, jobs.Place("glow_app.training.run", "fit"), partial(note, report, every))
    assert status == 0
    noted = json.loads(report.read_text())
    growth = noted[-1][0] / noted[0][0] - 1
    files = {opened for _, opened in noted}
    figures.add(f"growth of resident memory from step {every:,} to {steps:,}", f"{growth:+.1%}")
    figures.add(f"open files in {steps:,} steps, least and most", f"{min(files)}, {max(files)}")
    assert len(noted) == 10
    assert growth <= 0.05
    assert len(files) == 1
