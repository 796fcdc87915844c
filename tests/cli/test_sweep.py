"""``glow-train -m``: a sweep ends with the comparison of its runs, and says how to go on if it is interrupted."""

import subprocess
import sys
from pathlib import Path

import pytest

from glow_app.cli import sweep
from glow_app.runtime import distributed
from glow_app.runtime.rank import RankInfo
from tests.comparison.made_runs import made
from tests.training.runs import SMALLEST

TRAIN = [sys.executable, str(Path(__file__).parents[2] / "scripts" / "train.py")]


def test_only_a_sweep_is_noticed() -> None:
    assert sweep.with_notice(["max_steps=3"]) == ["max_steps=3"]
    assert sweep.with_notice(["-m", "seed=0,1"])[:2] == ["-m", "seed=0,1"]
    assert sweep.with_notice(["--multirun"])[1].endswith("_target_=glow_app.cli.sweep.Beginning")


def test_an_interrupted_sweep_says_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep.interrupted(["max_steps=3"])
    assert capsys.readouterr().out == ""  # no sweep has begun
    monkeypatch.setattr(sweep, "_begun", [Path("runs/a b")])
    sweep.interrupted(["-m", "seed=0,1", "temperatures=[0.5]", "resume=auto", "hydra.sweep.dir=runs/a b"])
    assert capsys.readouterr().out.endswith(
        "\n  glow-train -m seed=0,1 'temperatures=[0.5]' resume=auto 'hydra.sweep.dir=runs/a b'\n"
    )


def test_a_sweep_that_does_not_compare_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sweep, "_begun", [tmp_path])
    sweep.conclude()
    assert f"no comparison: no run at {tmp_path}: " in capsys.readouterr().out


@pytest.mark.parametrize("rank", [0, 1])
def test_the_first_of_several_processes_compares(
    rank: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    several = RankInfo(rank, 2, rank, 2)
    monkeypatch.setattr(sweep, "rank_info", lambda: several)
    monkeypatch.setattr(distributed, "rank_info", lambda: several)
    for number in (0, 1):
        made(tmp_path / str(number), f"model.width={8 + number}")
    monkeypatch.setattr(sweep, "_begun", [tmp_path])
    sweep.conclude()
    assert ("differ in  model.width\n" in capsys.readouterr().out) == (rank == 0)
    assert (tmp_path / "compare" / "variants.md").is_file() == (rank == 0)


@pytest.mark.slow
def test_the_ablation_ends_with_its_figure_and_goes_on_where_it_was(tmp_path: Path) -> None:
    shortened = [*SMALLEST, "max_steps=2", "validate_every=1", f"data.cache_folder={tmp_path / 'cache'}"]
    fewer = ["model.coupling=additive", "model.permutation=reverse,lu", "seed=0"]
    command = [*TRAIN, "-m", "experiment=ablation", *shortened, *fewer, "hydra.sweep.dir=runs/ours"]
    first = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert (first.returncode, first.stderr) == (0, "")
    assert "differ in  model.permutation\n" in first.stdout
    assert first.stdout.endswith("\n  glow-compare runs=runs/ours\n")
    assert (tmp_path / "runs" / "ours" / "compare" / "variants.png").stat().st_size > 10_000
    assert {path.parent.name for path in tmp_path.glob("runs/ours/*/config.yaml")} == {"0", "1"}
    again = subprocess.run([*command, "resume=auto"], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert again.returncode == 0
    assert again.stdout.count(": nothing is left to do\n") == 2
    assert again.stdout.partition("\ndata       ")[2] == first.stdout.partition("\ndata       ")[2]
