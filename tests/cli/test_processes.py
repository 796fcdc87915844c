"""Commands whose work several processes share: the same figures as from one."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from glow_app.latents.directions import load
from tests.forked import SCRIPTS, call

pytestmark = pytest.mark.slow


def launch(n_processes: int, script: str, *arguments: str) -> str:
    """What is said by one process, or by several that torchrun starts."""
    if n_processes == 1:
        done = call(Path.cwd(), script, *arguments)
    else:
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={n_processes}"]
        command = [*torchrun, str(SCRIPTS / f"{script}.py"), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_evaluation_counts_every_image_once(run: Path, tmp_path: Path) -> None:
    """64 images do not divide by three."""
    arguments = [f"checkpoint={run}", "importance_samples=2", "gap_images=31", "check_images=11", "batch_size=8"]
    for n, name in ((1, "one"), (3, "several")):
        text = launch(n, "evaluate", *arguments, f"output={tmp_path / name}")
        assert text.count("bits/dim   ") == 1  # one process speaks
    one, several = (json.loads((tmp_path / name / "evaluation.json").read_text()) for name in ("one", "several"))
    for key in ("bits_per_dim", "importance_bound", "train"):
        assert several[key]["images"] == one[key]["images"]
        assert several[key]["mean"] == pytest.approx(one[key]["mean"], abs=1e-6)
    assert several["reconstruction"]["images"] == one["reconstruction"]["images"] == 11
    rows = [(tmp_path / name / "per_image.csv").read_text().splitlines() for name in ("one", "several")]
    for a, b in zip(*rows, strict=True):
        assert a.split(",")[:2] == b.split(",")[:2]


def test_directions_are_those_of_one_process(run: Path, tmp_path: Path) -> None:
    for n, name in ((1, "one"), (2, "two")):
        launch(n, "directions", f"checkpoint={run}", f"output={tmp_path / name}", "batch_size=9")
    one, two = (load(tmp_path / name) for name in ("one", "two"))
    assert two.metadata["images"] == 64
    assert torch.allclose(one.vectors, two.vectors, atol=1e-4)
    assert not list((tmp_path / "two").glob("unfinished*"))


@pytest.mark.parametrize("form", ["grid", "png", "npz"])
def test_samples_are_those_of_one_process_to_the_bit(run: Path, tmp_path: Path, form: str) -> None:
    """Of 70 images the last groups of 16 are not whole, and three processes do not share four batches evenly."""
    for n, name in ((1, "one"), (3, "several")):
        arguments = [f"output={tmp_path / name}", "n=70", "first=5", "temperature=0.5,0.9", "batch_size=16"]
        text = launch(n, "sample", f"checkpoint={run}", f"format={form}", *arguments)
        assert text.count("look at") == 1
    one, several = (
        {p.relative_to(tmp_path / name): p.read_bytes() for p in (tmp_path / name).rglob("*") if p.is_file()}
        for name in ("one", "several")
    )
    assert one == several


@pytest.mark.parametrize("command", ["judge", "edit", "interpolate", "restore"])
def test_commands_of_one_process_say_so(run: Path, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    done = call(Path.cwd(), command, f"checkpoint={run}")
    assert done.returncode == 2
    assert done.stderr == f"error: glow-{command} runs in one process; start it without torchrun or srun\n"


def test_a_mistake_is_told_once(run: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    program = [str(SCRIPTS / "evaluate.py"), f"checkpoint={run}", "split=valid"]
    done = subprocess.run([*command, *program], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode != 0
    assert done.stderr.count("error: split=valid") == 1
