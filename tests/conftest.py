"""One trained model for all tests of commands."""

from pathlib import Path

import pytest

from tests.training.runs import smallest, train


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of seconds: 16-pixel faces, two levels. Its data are 64 faces per split."""
    folder = tmp_path_factory.mktemp("trained")
    config = smallest(folder, "data.n_images=64", "max_steps=12", "validate_every=12", "samples_every=12")
    train(config, folder / "run")
    return folder / "run"
