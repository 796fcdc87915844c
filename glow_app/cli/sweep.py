"""What a sweep of training runs (``-m``) ends with: their comparison, or how to go on with the sweep."""

import shlex
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig
from rich.console import Console

from glow_app.config.commands import CompareConfig
from glow_app.errors import UserError
from glow_app.runtime.rank import rank_info

FLAGS = ("-m", "--multirun")

REPLACED = ("resume", "hydra.sweep.dir")
"""Options whose values are others when a sweep goes on."""

_begun: list[Path] = []


class Beginning(Callback):
    """Notes where the sweep of this process puts its runs; nothing else of Hydra's tells it outside of a run."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        _begun.append(Path(config.hydra.sweep.dir))


def with_notice(arguments: list[str]) -> list[str]:
    """``arguments``, and for a sweep that :class:`Beginning` is told of it."""
    if not any(flag in arguments for flag in FLAGS):
        return arguments
    return [*arguments, f"+hydra.callbacks.beginning._target_={Beginning.__module__}.{Beginning.__name__}"]


def conclude() -> None:
    """Compares the runs of the sweep that has just ended, if one has, and says how to do so again."""
    if not _begun or rank_info().rank > 0:
        return
    console, folder = Console(), _begun[-1]
    print()
    try:
        from glow_app.commands.compare import compare_runs

        # Of several processes, which have trained each run together, this is the first.
        compare_runs(CompareConfig(runs=[str(folder)], output=None, debug=False), console)
    except UserError as reason:
        print(f"no comparison: {reason}")
        return
    print("again, or with others beside them")
    print(f"  glow-compare runs={shlex.quote(str(folder))}")


def interrupted(arguments: list[str]) -> None:
    """Says how to go on with the sweep that was interrupted, if one was.

    Args:
        arguments: with which it was started.
    """
    if not _begun or rank_info().rank > 0:
        return
    kept = [argument for argument in arguments if argument.partition("=")[0] not in REPLACED]
    command = shlex.join(["glow-train", *kept, "resume=auto", f"hydra.sweep.dir={_begun[-1]}"])
    print(f"go on with the sweep; its finished runs are kept\n  {command}")
