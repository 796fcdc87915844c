"""Where tests run, and the trained models that they share."""

import os
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

MOST_WORKERS = 8
"""Each takes seconds to import torch, and the better part of a gigabyte."""

# What a shell starts in the background ignores SIGINT, and so would all that is started here, to be interrupted.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """One per core; none for single files, most of which have run before workers have imported torch."""
    files = all(Path(argument.partition("::")[0]).is_file() for argument in config.args)
    return 0 if files or cores() == 1 else min(cores(), MOST_WORKERS)


def pytest_xdist_setupnodes(specs: Sequence[Any]) -> None:
    """The threads of all workers together are as many as there are cores."""
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores() // len(specs))))


@pytest.fixture(autouse=True)
def _nobody_is_logged_in_to_wandb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And it neither talks to its server nor reports its errors."""
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "no_netrc"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "wandb_config"))
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of seconds: 16-pixel faces, two levels. Its data are 64 faces per split."""
    folder = tmp_path_factory.mktemp("trained")
    # Imported here: a process that only hands out tests to workers needs no torch.
    from tests.training.runs import smallest, train

    config = smallest(folder, "data.n_images=64", "max_steps=12", "validate_every=12", "samples_every=12")
    train(config, folder / "run")
    return folder / "run"


class Whole(NamedTuple):
    """A run of :func:`tests.training.runs.smallest` that nothing has interrupted.

    Attributes:
        folder: which tests only read.
        output: what the run printed.
    """

    folder: Path
    output: str

    def copy(self, folder: Path) -> Path:
        """A copy, which tests may change."""
        return shutil.copytree(self.folder, folder)


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    from tests.training.runs import smallest, train

    folder = tmp_path_factory.mktemp("whole")
    return Whole(folder / "run", train(smallest(folder), folder / "run"))
