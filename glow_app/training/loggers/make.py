"""Creates the loggers of a run: metrics.csv always, and the tracker that ``logger=`` names."""

from collections.abc import Sequence
from pathlib import Path

from PIL.Image import Image as Picture
from pytorch_lightning.loggers import Logger
from rich.console import Console

from glow_app.config.train import TrainConfig
from glow_app.training.loggers.metrics import MetricsCSV
from glow_app.training.loggers.tensorboard import TensorBoard
from glow_app.training.loggers.tracker import TrackerLogger
from glow_app.training.loggers.wandb import Wandb


def make_loggers(config: TrainConfig, run_folder: Path, resumed_step: int, console: Console) -> list[Logger]:
    """Creates the logger of metrics.csv, and the tracker that the configuration names.

    Args:
        config: options of the run.
        run_folder: folder of the run, into which all of them write.
        resumed_step: step from which the run resumes; 0 for a new one.
        console: where to write.
    """
    loggers: list[Logger] = [MetricsCSV(run_folder / "metrics.csv", resumed_step)]
    match config.logger.name:
        case "tensorboard":
            start = lambda: TensorBoard(config, run_folder, resumed_step)  # noqa: E731
            loggers.append(TrackerLogger("TensorBoard", start, console))
        case "wandb":
            start = lambda: Wandb(config, run_folder, resumed_step, console)  # noqa: E731
            loggers.append(TrackerLogger("wandb", start, console))
    return loggers


def log_picture(loggers: Sequence[Logger], name: str, picture: Picture, step: int, caption: str = "") -> None:
    """Passes a picture, such as ``samples/T0.70``, to the loggers that accept pictures."""
    for logger in loggers:
        if isinstance(logger, TrackerLogger):
            logger.log_picture(name, picture, step, caption)


def conclude(loggers: Sequence[Logger], figures: dict[str, float], step: int, model: Path) -> None:
    """Logs the test result and the model of a completed run, and closes the trackers.

    Args:
        loggers: loggers of the run.
        figures: metrics of the test images; empty if there was no test.
        step: last step.
        model: folder of the exported model.
    """
    for logger in loggers:
        if figures:
            logger.log_metrics(figures, step)
        if isinstance(logger, TrackerLogger):
            logger.log_model(model)
            logger.close()
