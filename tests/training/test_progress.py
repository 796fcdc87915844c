"""What a person sees while a model trains."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from glow_app.data.stream import Batch
from glow_app.flows import Glow
from glow_app.training.clock import Clock
from glow_app.training.module import GlowModule
from glow_app.training.progress import ProgressReport
from tests.training.runs import QUIET, configure, smallest, train


def test_a_first_update_that_takes_longer_than_a_stretch_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Accumulated batches, or an update that was left out: the speed is known before there is a loss."""
    monkeypatch.setattr(ProgressReport, "STRETCH", 0.0)
    flow = Glow((3, 4, 4), n_levels=1, n_steps=1, width=4)
    module = GlowModule(flow, 8, configure().optim, 4, Clock(8, None), seed=0, conditioner_dtype=None, cuda_graph=False)
    module.log = lambda *_: None  # type: ignore[method-assign]  # no Trainer takes it
    trainer: Any = SimpleNamespace(
        global_step=0, max_steps=8, should_stop=False, world_size=1, is_global_zero=False, log_every_n_steps=1
    )
    batch = Batch(torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.arange(2), None)
    report = ProgressReport(QUIET, module.clock, log_every=60)
    report.on_train_start(trainer, module)
    for loss in (None, torch.tensor(7.0)):
        module.last_loss = loss
        report.on_train_batch_start(trainer, module, batch, 0)
        report.on_train_batch_end(trainer, module, None, batch, 0)
        assert report.images_per_second > 0


def test_a_run_without_a_terminal_says_where_it_is(tmp_path: Path) -> None:
    often = train(smallest(tmp_path, "log_every=0.000001", "validate_every=8"), tmp_path / "often")
    assert re.search(r"^step       3   training 3/8   .*0:\d\d:\d\d left$", often, re.MULTILINE)
    figures = r"[\d.]+ bits/dim   [\d,]+ images/s   0:00:00 left"
    assert re.search(rf"^step       8   training 8/8   {figures}$", often, re.MULTILINE)
    seldom = train(smallest(tmp_path, "validate_every=8"), tmp_path / "seldom")
    assert "   training " not in seldom


def test_a_long_validation_says_where_it_is(tmp_path: Path) -> None:
    output = train(smallest(tmp_path, "log_every=0.000001"), tmp_path / "run")
    assert re.search(r"^step       4   validation: 1 of \d batches$", output, re.MULTILINE)
    assert "test: 32 of 32\n" in output
