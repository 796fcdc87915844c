"""The end of a sweep of training runs (``-m``): their comparison, or how to resume the sweep."""

import shlex
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig
from rich.console import Console

from glow_app.config.commands import CompareConfig
from glow_app.errors import UserError
from glow_app.runtime.rank import rank_info

FLAGS = ("-m", "--multirun")

REPLACED = ("resume", "hydra.sweep.dir")
"""Options that are replaced when a sweep is resumed."""

_begun: list[Path] = []


class Beginning(Callback):
    """Saves the folder of this process's sweep, which Hydra reports nowhere else outside of a run."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        _begun.append(Path(config.hydra.sweep.dir))


def with_notice(arguments: list[str]) -> list[str]:
    """Adds the callback :class:`Beginning` to the arguments of a sweep."""
    if not any(flag in arguments for flag in FLAGS):
        return arguments
    return [*arguments, f"+hydra.callbacks.beginning._target_={Beginning.__module__}.{Beginning.__name__}"]


def conclude() -> None:
    """Compares the runs of the sweep that has just ended, if any, and prints the command to compare again."""
    if not _begun or rank_info().rank > 0:
        return
    console, folder = Console(), _begun[-1]
    print()
    try:
        from glow_app.commands.compare import compare_runs

        # All ranks trained each run together; only rank 0 compares.
        compare_runs(CompareConfig(runs=[str(folder)], output=None, debug=False), console)
    except UserError as reason:
        print(f"no comparison: {reason}")
        return
    print("to compare again, or with other runs")
    print(f"  glow-compare runs={shlex.quote(str(folder))}")


def interrupted(arguments: list[str], program: str = "glow-train") -> None:
    """Prints the command that resumes the interrupted sweep, if any.

    Args:
        arguments: the arguments that it was started with.
        program: the command that started it.
    """
    if not _begun or rank_info().rank > 0:
        return
    unchanged = [argument for argument in arguments if argument.partition("=")[0] not in REPLACED]
    command = shlex.join([program, *unchanged, "resume=auto", f"hydra.sweep.dir={_begun[-1]}"])
    print(f"to resume the sweep; its finished runs are kept\n  {command}")


def require_one_process(composed: DictConfig) -> None:
    """Raises a UserError for a sweep whose runs would start processes: each process would start the sweep again."""
    sweep = HydraConfig.get().mode is RunMode.MULTIRUN
    if sweep and composed.trainer.devices != 1 and rank_info().world_size == 1:
        raise UserError(
            f"trainer.devices={composed.trainer.devices} in a sweep (-m): a run of a sweep does not start processes; "
            "choose trainer.devices=1, or hydra/launcher=submitit_slurm, whose tasks are the processes"
        )
