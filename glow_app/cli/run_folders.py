"""The folder of a training run: a new one, or that of the run which is resumed."""

import json
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig
from rich.console import Console

from glow_app.cli.resume import runs_like
from glow_app.config.paths import as_path
from glow_app.config.train import AUTO, TrainConfig
from glow_app.training.checkpoints.run_folder import new_run_folder, remove_unbegun


def run_and_checkpoint(composed: DictConfig, config: TrainConfig, console: Console) -> tuple[Path, Path | None]:
    """The folder of the run, and the checkpoint to resume from: the same on all ranks."""
    from glow_app.runtime import distributed

    def decide() -> str:
        if composed.resume is None:
            found = _own_folder(config.name), None
        elif composed.resume == AUTO:
            found = _continue_or_start(config, composed, console)
        else:
            found = _find_run(as_path(composed.resume), console)
        return json.dumps([None if path is None else str(path) for path in found])

    folder, checkpoint = json.loads(distributed.broadcast_decision(decide))
    return Path(folder), None if checkpoint is None else Path(checkpoint)


def _own_folder(name: str) -> Path:
    """The folder of a new run, which a sweep chooses itself."""
    hydra_config = HydraConfig.get()
    if hydra_config.mode is RunMode.MULTIRUN:
        return Path(hydra_config.runtime.output_dir)
    return new_run_folder(name)


def _continue_or_start(config: TrainConfig, composed: DictConfig, console: Console) -> tuple[Path, Path | None]:
    """The folder of the newest run like ``config`` with a checkpoint, and that checkpoint; else a folder to start in.

    The latter is that of a run that never reached its first checkpoint, or a new one. A sweep's job considers only its
    own folder.
    """
    from glow_app.runtime.console import say
    from glow_app.training.checkpoints.format import newest_whole

    sweeps = HydraConfig.get().mode is RunMode.MULTIRUN
    folders = [_own_folder(config.name)] if sweeps else Path("runs", config.name).glob("*")
    alike = runs_like(config, composed, folders)
    for run_folder in alike:
        if checkpoint := newest_whole(run_folder, console):
            say(console, f"resume=auto resumes from {checkpoint}")
            return run_folder, checkpoint
    if alike:
        say(console, f"resume=auto starts {alike[0]} again: it had no checkpoint yet")
        return alike[0], None
    for folder in Path("runs", config.name).glob("*"):
        remove_unbegun(folder)  # a run that is about to begin makes it again
    new = _own_folder(config.name)
    say(console, f"resume=auto starts {new}: there is no run like it")
    return new, None


def _find_run(resume: str, console: Console) -> tuple[Path, Path]:
    from glow_app.training.checkpoints.format import find_run

    return find_run(resume, console)
