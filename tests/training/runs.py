"""Runs of seconds, for tests: drawn faces of 16 pixels and a model of a few thousand parameters."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path

from hydra import compose, initialize_config_dir
from rich.console import Console
from torch import Tensor

from glow_app.cli import conf_folder
from glow_app.config.check import check
from glow_app.config.train import TrainConfig
from glow_app.training.checkpoints.format import find_run
from glow_app.training.loggers import metrics
from glow_app.training.run import fit

SHORTEST = [
    "data.image_size=16", "data.n_images=32", "trainer.batch_size=8", "max_steps=8", "validate_every=4",
    "samples_every=4", "checkpoint_every=4", "optim.warmup_images=16", "temperatures=[0.7]", "init_images=32",
]  # fmt: skip

SMALLEST = [*SHORTEST, "model.n_levels=2", "model.n_steps=2", "model.width=8"]

FAMILY = {
    "cnf": ["model=cnf", "model.width=8", "model.n_levels=2", "model.rtol=1e-4", "model.atol=1e-4"],
    "gaussianization": ["model=gaussianization", "model.n_layers=2", "model.n_components=4"],
    "iaf": ["model=iaf", "model.n_layers=1", "model.width=8"],
    "maf": ["model=maf", "model.n_layers=2", "model.width=8", "model.normalisation=actnorm"],
    "mintnet": ["model=mintnet", "model.n_levels=2", "model.n_layers=2", "model.width=8"],
    "nice": ["model=nice", "model.n_hidden=1", "model.width=8"],
    "planar": ["model=planar", "model.n_layers=2"],
    "radial": ["model=radial", "model.n_layers=2"],
    "real_nvp": ["model=real_nvp", "model.n_levels=2", "model.n_blocks=1", "model.width=4"],
}
"""Other models than Glow, as small."""


QUIET = Console(quiet=True)

Tensors = tuple[Tensor, ...]
Recordable = Callable[[], Tensors | None]


def configure(*overrides: str) -> TrainConfig:
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        return check(compose("train", overrides=list(overrides)), TrainConfig)


def smallest(tmp_path: Path, *overrides: str) -> TrainConfig:
    """Of a test; all tests share their faces, which take longer to draw than to train on."""
    return configure(*SMALLEST, f"data.cache_folder={tmp_path.parent / 'cache'}", *overrides)


def smallest_of(model: str, tmp_path: Path, *overrides: str) -> TrainConfig:
    """As :func:`smallest`, of one of the ``FAMILY``."""
    return configure(*SHORTEST, *FAMILY[model], f"data.cache_folder={tmp_path / 'cache'}", *overrides)


def train(config: TrainConfig, run_folder: Path, checkpoint: Path | None = None) -> str:
    """Runs, and gives what was printed."""
    output = io.StringIO()
    fit(config, run_folder, checkpoint, Console(file=output, width=200))
    return output.getvalue()


def computed(run: Path) -> list[dict[str, float]]:
    """The metrics of a run, without its speed, which is measured every few seconds."""
    rows = metrics.read(run / "metrics.csv")
    return [{key: value for key, value in row.items() if not key.startswith("speed/")} for row in rows]


def capture_on_cpu(computes: Sequence[Recordable], warm_up: int) -> list[tuple[Callable[[], None], Tensors | None]]:
    """Keeps the promise of ``capture``: replays compute from what lies in the same places, into the same tensors."""

    def replaying(compute: Recordable, results: Tensors | None) -> Callable[[], None]:
        def replay() -> None:
            for mine, new in zip(results or (), compute() or (), strict=True):
                mine.copy_(new)

        return replay

    results = [compute() if warm_up else None for compute in computes]
    return [(replaying(*pair), pair[1]) for pair in zip(computes, results, strict=True)]


def find(run: Path) -> tuple[Path, Path]:
    """The folder and the newest checkpoint of a run, or of a checkpoint."""
    return find_run(str(run), QUIET)
