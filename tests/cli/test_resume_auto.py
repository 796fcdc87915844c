"""resume=auto: the newest run like the one asked for goes on, or one starts."""

import shutil
import sys
from pathlib import Path

import pytest

from glow_app.cli import train
from glow_app.cli.resume import _deciding
from glow_app.training.checkpoints.format import checkpoints_of
from glow_app.training.checkpoints.run_folder import training_command
from tests.training.runs import SMALLEST, configure

COMMAND = [*SMALLEST, "name=auto", "resume=auto", "max_steps=4", "data.cache_folder=cache"]


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs" / "auto"


def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """Exit status, and what was said."""
    monkeypatch.setattr(sys, "argv", ["glow-train", *COMMAND, *arguments])
    with pytest.raises(SystemExit) as end:
        train()
    said = capsys.readouterr()
    return int(end.value.code or 0), said.out + said.err


def test_auto_starts_goes_on_and_ends(
    there: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status, said = command(monkeypatch, capsys)
    assert (status, "resume=auto starts runs/auto/" in said, "there is no run like it" in said) == (0, True, True)
    (first,) = there.iterdir()

    status, said = command(monkeypatch, capsys)
    assert status == 0  # a job that is queued again after its end
    assert "step_00000004.ckpt is at step 4 of max_steps=4: nothing is left to do\n" in said

    status, said = command(monkeypatch, capsys, "max_steps=6", "logger=csv")
    assert status == 0
    assert "resume=auto resumes from runs/auto/" in said
    assert checkpoints_of(first)[-1].name == "step_00000006.ckpt"
    assert list(there.iterdir()) == [first]
    begun, longer = training_command(first).splitlines()  # type: ignore[union-attr]
    assert begun.startswith("glow-train ") and "name=auto" in begun and begun.endswith("max_steps=4")
    assert longer.endswith("max_steps=6 logger=csv")


def test_auto_leaves_other_runs_alone(
    there: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(monkeypatch, capsys)[0] == 0
    (first,) = there.iterdir()
    (there / "notes").mkdir()
    (there / "damaged").mkdir()
    (there / "damaged" / "config.yaml").write_text("a: [")
    status, said = command(monkeypatch, capsys, "optim.lr=1e-4")
    assert (status, "there is no run like it" in said) == (0, True)
    assert len(list(there.glob("*/checkpoints"))) == 2
    assert checkpoints_of(first)[-1].name == "step_00000004.ckpt"


def test_auto_prefers_a_run_with_a_checkpoint_to_a_newer_one_without(
    there: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(monkeypatch, capsys)[0] == 0
    (first,) = there.iterdir()
    later = there / "9999-01-01_00-00-00"
    later.mkdir()
    shutil.copy(first / "config.yaml", later)
    assert f"resume=auto resumes from runs/auto/{first.name}/" in command(monkeypatch, capsys, "max_steps=5")[1]
    shutil.rmtree(first)
    assert "starts runs/auto/9999-01-01_00-00-00 again: it had no checkpoint yet" in command(monkeypatch, capsys)[1]
    assert checkpoints_of(later)[-1].name == "step_00000004.ckpt"


def test_a_run_from_before_an_option_has_its_default(
    there: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(monkeypatch, capsys)[0] == 0
    (run,) = there.iterdir()
    path = run / "config.yaml"
    lines = path.read_text().splitlines(keepends=True)
    newer = ("max_seconds:", "  ema_decay:", "  skip_limit:")
    path.write_text("".join(line for line in lines if not line.startswith(newer)))
    assert len(path.read_text().splitlines()) == len(lines) - len(newer)
    status, said = command(monkeypatch, capsys, "max_steps=6")
    assert (status, "resume=auto resumes from runs/auto/" in said) == (0, True), said
    assert checkpoints_of(run)[-1].name == "step_00000006.ckpt"


def test_a_run_may_learn_later_where_eyes_are() -> None:
    one, other = (configure("data=folder", "data.root=faces", *eyes) for eyes in ([], ["data.eyes=[0.3,0.5,0.7,0.5]"]))
    assert _deciding(one) == _deciding(other)
