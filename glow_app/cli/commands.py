"""One function per console command.

A command's implementation is imported after its options are checked, so a mistake on the command line is reported
without waiting for torch.
"""

import shlex
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from glow_app.cli.arguments import (
    as_typed,
    fill_in_data,
    given_keys,
    model_arguments,
    with_braces,
    with_brackets,
    with_data_of_model,
    with_experiment_of_teacher,
    with_groups_of_run,
    with_switch,
)
from glow_app.cli.inputs import require_data, require_device, require_files
from glow_app.cli.resume import resumed
from glow_app.cli.run import USER_ERROR, run
from glow_app.cli.run_folders import run_and_checkpoint
from glow_app.cli.sweep import conclude, interrupted, require_one_process, with_notice
from glow_app.config.check import SCHEMAS, check, list_options
from glow_app.config.commands import (
    CompareConfig,
    DemoConfig,
    DirectionsConfig,
    EditConfig,
    EvaluateConfig,
    ExportConfig,
    InterpolateConfig,
    JudgeConfig,
    OpenConfig,
    Plot2dConfig,
    RestoreConfig,
    SampleConfig,
    ScoreConfig,
)
from glow_app.config.data import has_density
from glow_app.config.paths import as_path
from glow_app.config.train import AUTO, PrepareConfig, TrainConfig
from glow_app.errors import UserError
from glow_app.training.checkpoints.run_folder import folder_of, remove_if_empty, training_command

U = TypeVar("U", bound=OpenConfig)


def prepare() -> None:
    """``glow-prepare``: decodes a data set into the cache and shows its data card."""
    run("prepare", _prepare, partial(with_brackets, lists=list_options(PrepareConfig)))


def train() -> None:
    """``glow-train``: trains a Glow."""
    _run_training("train", _train, _training_arguments)


def distill() -> None:
    """``glow-distill``: trains a flow whose samples are fast to have the density of another."""
    _run_training("distill", _distill, _distilling_arguments)


def evaluate() -> None:
    """``glow-evaluate``: measures bits per dimension, and checks them."""
    prepare = model_arguments(EvaluateConfig)
    run("evaluate", _evaluate, lambda arguments: prepare(with_switch(arguments, "quality", "measure")))


def sample() -> None:
    """``glow-sample``: draws new pictures."""
    run("sample", _sample, model_arguments(SampleConfig))


def score() -> None:
    """``glow-score``: scores images by how probable they are."""
    run("score", _score, model_arguments(ScoreConfig))


def interpolate() -> None:
    """``glow-interpolate``: interpolates from one picture to another."""
    run("interpolate", _interpolate, model_arguments(InterpolateConfig))


def directions() -> None:
    """``glow-directions``: computes the attribute vectors of a model."""
    run("directions", _directions, model_arguments(DirectionsConfig))


def edit() -> None:
    """``glow-edit``: adds or removes attributes in pictures."""
    prepare = model_arguments(EditConfig)
    run("edit", _edit, lambda arguments: prepare(with_braces(arguments, "edit")))


def restore() -> None:
    """``glow-restore``: fills in what is missing of pictures."""
    run("restore", _restore, model_arguments(RestoreConfig))


def judge() -> None:
    """``glow-judge``: measures edits with a classifier of its own."""
    run("judge", _judge, model_arguments(JudgeConfig))


def demo() -> None:
    """``glow-demo``: serves a page on which sliders change pictures."""
    run("demo", _demo, model_arguments(DemoConfig))


def export() -> None:
    """``glow-export``: exports a model for others to use."""
    run("export", _export, model_arguments(ExportConfig))


def compare() -> None:
    """``glow-compare``: compares variants of a model."""
    run("compare", _compare, partial(with_brackets, lists=list_options(CompareConfig)))


def plot2d() -> None:
    """``glow-plot2d``: draws a flow of points in the plane."""
    run("plot2d", _plot2d, model_arguments(Plot2dConfig))


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
            fill_in_data(composed, as_path(composed.teacher), given_keys())
    _train(composed, "glow-distill")


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


def _estimate(composed: DictConfig, console: Console) -> None:
    """Estimates the duration of a run. Creates no run folder, and the data need not be there."""
    if composed.resume is not None:
        raise UserError("estimate=true measures what a new run would take: leave resume out")
    if OmegaConf.is_missing(composed.data, "root"):
        composed.data.root = "."
    config = check(composed, TrainConfig)
    from glow_app.training.estimate import estimate

    estimate(config, console)


def _evaluate(composed: DictConfig) -> None:
    compared = composed.get("compare")
    if compared is None:
        config = _with_model(composed, EvaluateConfig)
    else:
        if "checkpoint" in given_keys() or len(compared) != 2:
            raise UserError("compare takes two models and no checkpoint besides: compare=runs/a,runs/b")
        fill_in_data(composed, as_path(compared[0]), given_keys())
        config = check(composed, EvaluateConfig)
    require_data(config.data)
    from glow_app.commands.evaluate import compare, evaluate

    (evaluate if compared is None else compare)(config, Console())


def _sample(composed: DictConfig) -> None:
    config = _with_model(composed, SampleConfig)
    from glow_app.commands.sample import sample

    sample(config, Console())


def _score(composed: DictConfig) -> None:
    config = _with_model(composed, ScoreConfig)
    if config.images is None:
        require_data(config.data)
    from glow_app.commands.score import score

    score(config, Console())


def _interpolate(composed: DictConfig) -> None:
    config = _with_model(composed, InterpolateConfig)
    from glow_app.commands.interpolate import interpolate

    interpolate(config, Console())


def _directions(composed: DictConfig) -> None:
    config = _with_model(composed, DirectionsConfig)
    require_data(config.data)
    from glow_app.commands.directions import directions

    directions(config, Console())


def _edit(composed: DictConfig) -> None:
    config = _with_model(composed, EditConfig)
    from glow_app.commands.edit import edit

    edit(config, Console())


def _restore(composed: DictConfig) -> None:
    config = _with_model(composed, RestoreConfig)
    from glow_app.commands.restore import restore

    restore(config, Console())


def _judge(composed: DictConfig) -> None:
    config = _with_model(composed, JudgeConfig)
    require_data(config.data)
    from glow_app.commands.judge import judge

    judge(config, Console())


def _demo(composed: DictConfig) -> None:
    config = _with_model(composed, DemoConfig)
    from glow_app.demo.command import demo

    demo(config, Console())


def _export(composed: DictConfig) -> None:
    config = _with_model(composed, ExportConfig)
    made_by = training_command(Path(str(config.checkpoint)))
    from glow_app.commands.export import export

    export(config, made_by, Console())


def _compare(composed: DictConfig) -> None:
    config = check(composed, CompareConfig)
    require_files(config)
    from glow_app.commands.compare import compare

    compare(config, Console())


def _plot2d(composed: DictConfig) -> None:
    config = _with_model(composed, Plot2dConfig)
    from glow_app.commands.plot2d import plot2d

    plot2d(config, Console())


def _training_arguments(arguments: list[str]) -> list[str]:
    """Rewrites the arguments of ``glow-train`` for Hydra."""
    return with_notice(with_groups_of_run(with_brackets(arguments, list_options(TrainConfig))))


def _distilling_arguments(arguments: list[str]) -> list[str]:
    """Rewrites the arguments of ``glow-distill``."""
    return _training_arguments(with_experiment_of_teacher(with_data_of_model(arguments)))


def _with_model(composed: DictConfig, schema: type[U]) -> U:
    """The checked configuration of a command that uses one trained model."""
    if not composed.checkpoint:
        raise UserError("checkpoint has no value: name the folder of a run, checkpoint=runs/...")
    fill_in_data(composed, as_path(composed.checkpoint), given_keys())
    config = check(composed, schema)
    require_device("device", config.device)
    require_files(config)
    return config
