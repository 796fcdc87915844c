"""Damaged checkpoints are found, whatever the damage; a full disk costs the current save."""

import io
import json
import random
import resource
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from glow_app.errors import UserError
from glow_app.training.checkpoints.format import AtomicCheckpointIO, checkpoints_of, newest_whole, verify
from tests.conftest import Whole
from tests.reliability import jobs
from tests.reliability.conftest import Figures
from tests.reliability.jobs import COMMAND
from tests.training.runs import find, smallest, train


def damaged(content: bytes, chance: random.Random) -> bytes:
    """Cut, or with some bits flipped: anywhere, in the digest too."""
    if chance.random() < 0.5:
        return content[: chance.randrange(len(content))]
    changed = bytearray(content)
    for place in chance.sample(range(len(content)), chance.choice([1, 1, 1, 8, 64])):
        changed[place] ^= 1 << chance.randrange(8)
    if chance.random() < 0.2:  # the last bytes are the digest
        changed[-chance.randrange(1, 74)] ^= 1
    return bytes(changed)


def test_damaged_checkpoints_are_skipped(tmp_path: Path, run: Path, figures: Figures) -> None:
    folder = tmp_path / "run"
    (folder / "checkpoints").mkdir(parents=True)
    whole = checkpoints_of(run)[-1]
    before, newest = (folder / "checkpoints" / f"step_0000000{step}.ckpt" for step in (4, 8))
    shutil.copy(whole, before)
    content = whole.read_bytes()
    chance = random.Random(0)
    found = 0
    for _ in range(100):
        newest.write_bytes(damaged(content, chance))
        output = io.StringIO()
        taken = newest_whole(folder, Console(file=output, width=300))
        found += taken == before and output.getvalue().startswith(f"skipped   {newest} ")
    figures.add("damaged checkpoints found; the one before is taken", f"{found} of 100")
    assert found == 100
    newest.write_bytes(content)
    assert newest_whole(folder, Console(quiet=True)) == newest


def test_a_run_falls_back_to_the_checkpoint_before(tmp_path: Path, whole: Whole) -> None:
    run = whole.copy(tmp_path / "run")
    before, newest = checkpoints_of(run)
    newest.write_bytes(newest.read_bytes()[:-1])
    train(smallest(tmp_path), *find(run))
    assert jobs.numbers(checkpoints_of(run)[-1]) == jobs.numbers(checkpoints_of(whole.folder)[-1])
    assert find(before)[1] == before


def test_a_run_without_any_whole_checkpoint_says_so(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    for step in (4, 8):
        (tmp_path / "checkpoints" / f"step_0000000{step}.ckpt").write_bytes(b"")
    with pytest.raises(UserError, match="none of its 2 checkpoints is whole; start a new run"):
        find(tmp_path)


MOMENTS = 10


def fill_the_disk_at_every_second_save(report: Path) -> None:
    """From here on, of two saves the second may write only a part of its file: 0, 1, ... 9 tenths of it.

    ``report`` gets, for each of these, whether the newest checkpoint is whole after it.
    """
    save = AtomicCheckpointIO.save_checkpoint
    calls, size, results = 0, 0, []

    def limited(self: AtomicCheckpointIO, checkpoint: dict[str, Any], path: Any, **options: Any) -> None:
        nonlocal calls, size
        calls += 1
        if calls % 2 or len(results) == MOMENTS:
            save(self, checkpoint, path, **options)
            size = Path(path).stat().st_size
            return
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size * len(results) // MOMENTS, hard))
        try:
            save(self, checkpoint, path, **options)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
            kept = checkpoints_of(Path(path).parent.parent)
            verify(kept[-1])
            results.append(not Path(path).exists() and not list(Path(path).parent.glob("*.part")))
            report.write_text(json.dumps(results))

    AtomicCheckpointIO.save_checkpoint = limited  # type: ignore[method-assign]


@pytest.mark.slow
def test_a_full_disk_costs_the_current_save_alone(tmp_path: Path, figures: Figures) -> None:
    arguments = [*COMMAND, "max_steps=22", "checkpoint_every=1", "validate_every=22"]
    for name in ("whole", "full"):
        (tmp_path / name).mkdir()
    assert jobs.run(tmp_path / "whole", arguments) == 0
    report = tmp_path / "report.json"
    place = jobs.Place("glow_app.training.run", "fit")
    status = jobs.run(tmp_path / "full", arguments, place, partial(fill_the_disk_at_every_second_save, report))
    results = json.loads(report.read_text())
    figures.add("full disk at 10 moments of a save: nothing is lost but that save", f"{sum(results)} of {MOMENTS}")
    assert results == [True] * MOMENTS
    assert status == 0
    assert jobs.reached(tmp_path / "full") == jobs.reached(tmp_path / "whole")
    lines = [line for line in jobs.output(tmp_path / "full").splitlines() if "cannot write" in line]
    assert len(lines) == MOMENTS
    assert "step       2   cannot write" in lines[0]
    assert "File too large; free some space or choose another folder; the last good checkpoint is" in lines[0]
    assert lines[0].endswith("step_00000001.ckpt")
