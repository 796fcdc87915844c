"""The estimate before a long run."""

import io
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from glow_app.errors import UserError
from glow_app.training import estimate as module
from glow_app.training.estimate import bytes_of_parameters, estimate
from glow_app.training.optim import make_optimizer
from tests.forked import call
from tests.training.runs import smallest

CUT = ["trainer=cpu", "trainer.batch_size=2", "model.n_steps=1", "model.width=8"]


def test_an_estimate_needs_no_data_and_leaves_nothing_behind(tmp_path: Path) -> None:
    result = call(tmp_path, "train", "experiment=paper_cifar10", "estimate=true", *CUT)
    assert result.returncode == 0, result.stderr
    assert "Glow, L=3 K=1 width=8" in result.stdout
    assert "model.width=8 (published: 512)" in result.stdout
    speed = re.search(r"speed     ([\d,.]+) images/s", result.stdout)
    time = re.search(r"time      ([\d,.]+) (hours|minutes) .*for ([\d,]+) images", result.stdout)
    assert speed is not None and time is not None
    per_second, taken, images = (float(text.replace(",", "")) for text in (speed[1], time[1], time[3]))
    assert images == 250_000 * 2 * 2
    unit = {"hours": 3600, "minutes": 60}[time[2]]  # a fast processor takes less than 100 minutes
    assert taken == pytest.approx(images / per_second / unit, rel=0.1, abs=0.06)
    assert re.search(r"memory    \d+\.\d\d GB", result.stdout)
    assert not list(tmp_path.iterdir())


def test_an_estimate_of_a_run_in_seconds_tells_how_many_images_it_sees(tmp_path: Path) -> None:
    result = call(tmp_path, "train", "experiment=paper_cifar10", "estimate=true", "max_seconds=600", *CUT)
    assert result.returncode == 0, result.stderr
    speed = re.search(r"speed     ([\d,.]+) images/s", result.stdout)
    images = re.search(r"images    ([\d,]+) in 600 seconds", result.stdout)
    assert speed is not None and images is not None
    per_second, seen = (float(text[1].replace(",", "")) for text in (speed, images))
    assert seen == pytest.approx(600 * per_second, rel=0.1)


def test_the_first_of_several_processes_speaks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    said: list[str] = []
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        result = call(tmp_path, "train", "estimate=true", *CUT)
        assert result.returncode == 0, result.stderr
        said.append(result.stdout)
    assert "of each of 2 processes, if they lose nothing" in said[0]
    assert said[1] == ""


def test_an_estimate_of_a_resumed_run_is_refused(tmp_path: Path) -> None:
    result = call(tmp_path, "train", "resume=auto", "estimate=true")
    assert result.returncode == 2
    assert result.stderr == "error: estimate=true measures what a new run would take: leave resume out\n"


@pytest.mark.parametrize(
    "options",
    [
        ["optim=adamax", "model.memory=checkpoint", "trainer.precision=bf16", "optim.ema_decay=0"],
        ["model.class_conditional=true", "model.memory=reversible", "optim.clip_norm=null", "data.n_bits=5"],
    ],
    ids=lambda options: options[0],
)
def test_options_are_estimated(tmp_path: Path, options: list[str]) -> None:
    console = Console(file=io.StringIO(), width=200)
    assert (estimate(smallest(tmp_path, *options), console) or 0) > 0


def test_a_memory_that_does_not_suffice_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(module, "_measure", fail)
    with pytest.raises(UserError, match=r"out of memory; try a smaller trainer\.batch_size"):
        estimate(smallest(tmp_path), Console(quiet=True))


@pytest.mark.parametrize("trainer", ["gpu", "ddp"])
def test_a_machine_without_the_gpu_says_what_it_can(
    tmp_path: Path, trainer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    result = call(tmp_path, "train", "experiment=paper_cifar10", "estimate=true", f"trainer={trainer}")
    assert (result.returncode, result.stderr) == (0, "")
    assert "44.62M parameters" in result.stdout
    assert "memory    0.71 GB on each GPU" in result.stdout
    assert "measured  nothing, as this machine has no GPU" in result.stdout
    uneven = call(tmp_path, "train", "estimate=true", "trainer=gpu", "trainer.devices=3")
    assert uneven.returncode == 2
    assert "trainer.batch_size=32 cannot be divided among 3 processes" in uneven.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("decay", ["0", "0.99"])
@pytest.mark.parametrize("optim", ["adam", "muon", "adamax"])
def test_the_bytes_of_parameters_are_counted(tmp_path: Path, optim: str, decay: str) -> None:
    config = smallest(tmp_path, f"optim={optim}", f"optim.ema_decay={decay}")
    layer = torch.nn.Conv2d(100, 100, 1)
    optimizer = make_optimizer(layer, config.optim, False)
    layer(torch.ones(1, 100, 1, 1)).sum().backward()
    optimizer.step()
    weights = list(layer.parameters())
    moments = [value for state in optimizer.state.values() for value in state.values() if value.numel() > 1]
    averages = weights if decay != "0" else []
    tensors = [*weights, *(weight.grad for weight in weights), *moments, *averages]
    assert bytes_of_parameters(config, layer) == sum(tensor.nbytes for tensor in tensors if tensor is not None)
