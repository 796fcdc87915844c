"""TensorBoard: the metrics, sample grids, configuration and hyperparameters of a run, in its folder."""

import dataclasses
from pathlib import Path

import numpy as np
from omegaconf import OmegaConf
from PIL.Image import Image as Picture

from glow_app.config.saved import flat
from glow_app.config.train import TrainConfig
from glow_app.training.loggers.metrics import read
from glow_app.training.loggers.tracker import Tracker

FOLDER = "tensorboard"


class TensorBoard(Tracker):
    """Writes ``tensorboard/`` in the folder of a run, which ``tensorboard --logdir runs`` shows.

    Values after ``resumed_step`` are hidden: the resumed run writes them again.

    Args:
        config: all options.
        run_folder: folder of the run.
        resumed_step: step from which the run resumes; 0 for a new one.
    """

    def __init__(self, config: TrainConfig, run_folder: Path, resumed_step: int) -> None:
        from torch.utils.tensorboard.summary import hparams  # slow to import, and rarely needed
        from torch.utils.tensorboard.writer import SummaryWriter

        purge = resumed_step + 1 if resumed_step else None
        self._logged = set() if purge is None else _measured_at(resumed_step, run_folder)
        self._folder = run_folder / FOLDER
        self._writer = SummaryWriter(str(self._folder), purge_step=purge)
        options = dataclasses.asdict(config)
        text = OmegaConf.to_yaml(OmegaConf.create(options))
        self._writer.add_text("config", "".join(f"    {line}\n" for line in text.splitlines()), resumed_step)
        if not resumed_step:
            writer = self._writer._get_file_writer()
            assert writer is not None
            for summary in hparams(_hyperparameters(options), {"val/bits_per_dim": None, "test/bits_per_dim": None}):
                writer.add_summary(summary)

    def metrics(self, metrics: dict[str, float], step: int) -> None:
        for key, value in metrics.items():
            if (key, step) in self._logged:  # a finished run repeats its validation
                continue
            self._writer.add_scalar(key, value, step)
        self._writer.flush()

    def picture(self, name: str, picture: Picture, step: int, caption: str) -> None:
        """Logs a picture under its name; TensorBoard shows no captions."""
        self._writer.add_image(name, np.asarray(picture), step, dataformats="HWC")
        self._writer.flush()

    def model(self, folder: Path) -> None:
        """Does nothing: TensorBoard stores no models."""

    def close(self, completed: bool) -> str:
        self._writer.close()
        return f"look at it with\n  tensorboard --logdir {self._folder.parent}"


def _measured_at(step: int, run_folder: Path) -> set[tuple[str, int]]:
    return {(key, step) for row in read(run_folder / "metrics.csv") if row["step"] == step for key in row}


def _hyperparameters(options: dict[str, object]) -> dict[str, bool | int | float | str]:
    """Options as TensorBoard accepts them: by their path, all but numbers as text."""
    values = flat(options).items()
    return {key: value if isinstance(value, bool | int | float) else str(value) for key, value in values}
