"""The console commands around training: data, training, distillation, comparison of runs.

The others are in :mod:`glow_app.cli.commands`.
"""

import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from glow_app.cli.arguments import (
    as_typed,
    fill_in_data,
    given_keys,
    with_brackets,
    with_data_of_model,
    with_experiment_of_teacher,
    with_groups_of_run,
)
from glow_app.cli.inputs import require_data, require_device, require_files
from glow_app.cli.resume import resumed
from glow_app.cli.run import USER_ERROR, run
from glow_app.cli.run_folders import run_and_checkpoint
from glow_app.cli.sweep import conclude, interrupted, require_one_process, with_notice
from glow_app.config.check import SCHEMAS, check, list_options
from glow_app.config.commands import CompareConfig
from glow_app.config.data import DATA_SCHEMAS, has_density
from glow_app.config.paths import as_path
from glow_app.config.train import AUTO, PrepareConfig, TrainConfig
from glow_app.errors import UserError
from glow_app.runtime.rank import environment_of_one, rank_info
from glow_app.training.checkpoints.run_folder import folder_of, remove_if_empty


def prepare() -> None:
    """``glow-prepare``: decodes a data set into the cache and shows its data card."""
    run("prepare", _prepare, partial(with_brackets, lists=list_options(PrepareConfig)))


def train() -> None:
    """``glow-train``: trains a Glow."""
    _run_training("train", _train, _training_arguments)


def distill() -> None:
    """``glow-distill``: trains a flow whose samples are fast to have the density of another."""
    _run_training("distill", _distill, _distilling_arguments)


def compare() -> None:
    """``glow-compare``: compares variants of a model."""
    run("compare", _compare, partial(with_brackets, lists=list_options(CompareConfig)))


def _run_training(name: str, task: Callable[[DictConfig], None], prepare: Callable[[list[str]], list[str]]) -> None:
    given = sys.argv[1:]
    try:
        run(name, task, prepare, conclude)
    except SystemExit as end:
        if end.code not in (0, USER_ERROR):
            interrupted(given, f"glow-{name}")
        raise


def _prepare(composed: DictConfig) -> None:
    config = check(composed, PrepareConfig)
    require_data(config.data)
    from glow_app.commands.prepare import prepare

    prepare(config, Console())


def _distill(composed: DictConfig) -> None:
    if composed.resume in (None, AUTO):
        if not composed.teacher:
            raise UserError("teacher has no value: name the run whose model is to be distilled, teacher=runs/...")
        if not has_density(composed.teacher):
            _fill_in_data_of_teacher(composed)
    _train(composed, "glow-distill")


def _fill_in_data_of_teacher(composed: DictConfig) -> None:
    """Fills in the data of a teacher that is a model; a word that names none may have been meant as a density."""
    try:
        fill_in_data(composed, as_path(composed.teacher), given_keys())
    except UserError as error:
        if not re.fullmatch(r"\w+", composed.teacher):
            raise
        known = ", ".join(filter(has_density, DATA_SCHEMAS))
        raise UserError(f"{error}; or a density that is known: {known}") from error


def _train(composed: DictConfig, command: str = "glow-train") -> None:
    console = Console()
    if composed.estimate:
        _estimate(composed, console)
        return
    fresh = composed.resume in (None, AUTO)
    config = check(composed if fresh else resumed(composed, folder_of(as_path(composed.resume))), TrainConfig)
    if config.teacher is None:
        require_data(config.data)
    require_device("trainer.accelerator", config.trainer.accelerator)
    require_one_process(composed)
    run_folder, checkpoint = run_and_checkpoint(composed, config, console)
    from glow_app.training.run import fit

    given = [as_typed(one) for one in HydraConfig.get().overrides.task]
    if not fresh:  # a run has its own data set and model
        given = [one for one in given if one.partition("=")[0] not in SCHEMAS]
    try:
        fit(config, run_folder, checkpoint, console, shlex.join([command, *given]))
    finally:
        remove_if_empty(run_folder)
    if config.report and rank_info().rank == 0:
        _report(run_folder, config, console)


def _report(run_folder: Path, config: TrainConfig, console: Console) -> None:
    """Makes the page of a run that has ended, in a process of its own: whatever becomes of it, the run is complete."""
    console.print()
    device = "cpu" if config.trainer.accelerator == "cpu" else "auto"
    program = [sys.executable, "-c", "from glow_app.cli import report; report()"]
    options = [f"run={run_folder}", f"device={device}"]
    if subprocess.run([*program, *options], env=environment_of_one(), check=False).returncode:
        again = shlex.join(["glow-report", *options])
        console.print(f"the run is complete, and has no page; to try again\n  {again}", soft_wrap=True, markup=False)


def _estimate(composed: DictConfig, console: Console) -> None:
    """Estimates the duration of a run. Creates no run folder, and the data need not be there."""
    if composed.resume is not None:
        raise UserError("estimate=true measures what a new run would take: leave resume out")
    if OmegaConf.is_missing(composed.data, "root"):
        composed.data.root = "."
    config = check(composed, TrainConfig)
    from glow_app.training.estimate import estimate

    estimate(config, console)


def _compare(composed: DictConfig) -> None:
    config = check(composed, CompareConfig)
    require_files(config)
    from glow_app.commands.compare import compare

    compare(config, Console())


def _training_arguments(arguments: list[str]) -> list[str]:
    """Rewrites the arguments of ``glow-train`` for Hydra."""
    return with_notice(with_groups_of_run(with_brackets(arguments, list_options(TrainConfig))))


def _distilling_arguments(arguments: list[str]) -> list[str]:
    """Rewrites the arguments of ``glow-distill``."""
    return _training_arguments(with_experiment_of_teacher(with_data_of_model(arguments)))
