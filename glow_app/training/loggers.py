"""Where a run's figures go: the one place that knows TensorBoard and wandb."""

from pathlib import Path

from pytorch_lightning.loggers import Logger, TensorBoardLogger
from rich.console import Console

from glow_app.config import LoggerConfig, TrainConfig
from glow_app.progress import say
from glow_app.training.metrics import MetricsCSV


def make_loggers(config: TrainConfig, run_folder: Path, resumed_step: int, console: Console) -> list[Logger]:
    """metrics.csv always, and what ``logger=`` names besides.

    A wandb that cannot be reached is said in one line, and is no reason not to train.

    Args:
        config: options of the run.
        run_folder: folder of the run, into which all of them write.
        resumed_step: step from which the run goes on; 0 for a new one.
        console: where to write.
    """
    loggers: list[Logger] = [MetricsCSV(run_folder / "metrics.csv", resumed_step)]
    if config.logger.name == "tensorboard":
        loggers.append(TensorBoardLogger(run_folder, name="", version="tensorboard"))
    if config.logger.name == "wandb":
        try:
            loggers.append(_wandb(config.logger, run_folder, config.name))
        except Exception as error:  # of many kinds
            reason = " ".join(str(error).split())
            say(console, f"wandb is not used: {reason}; the run goes on with metrics.csv alone")
    return loggers


def _wandb(config: LoggerConfig, run_folder: Path, name: str) -> Logger:
    from pytorch_lightning.loggers import WandbLogger  # imports wandb, which is slow, and seldom asked for

    logger = WandbLogger(
        name=f"{name}/{run_folder.name}",
        id=f"{name}-{run_folder.name}",
        resume="allow",
        project=config.project,
        save_dir=run_folder,
        offline=config.mode == "offline",
    )
    _ = logger.experiment  # connects, and so fails, now
    return logger
