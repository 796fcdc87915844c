"""The trained models that tests share."""

import shutil
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.training.runs import smallest, train


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
    folder = tmp_path_factory.mktemp("whole")
    return Whole(folder / "run", train(smallest(folder), folder / "run"))
