"""One function per console command that uses a trained model; :mod:`glow_app.cli.training_commands` has the others.

A command's implementation is imported after its options are checked, so a mistake on the command line is reported
without waiting for torch.
"""

from pathlib import Path
from typing import TypeVar

from omegaconf import DictConfig
from rich.console import Console

from glow_app.artifacts.card import CARD
from glow_app.cli.arguments import (
    fill_in_data,
    given_keys,
    model_arguments,
    with_braces,
    with_brackets,
    with_data_of_model,
    with_switch,
)
from glow_app.cli.inputs import require_data, require_device, require_files
from glow_app.cli.run import run
from glow_app.config.check import check, list_options
from glow_app.config.commands import (
    DemoConfig,
    EvaluateConfig,
    ExportConfig,
    OpenConfig,
    Plot2dConfig,
    ReportConfig,
    SampleConfig,
    ScoreConfig,
)
from glow_app.config.editing import DirectionsConfig, EditConfig, InterpolateConfig, JudgeConfig, RestoreConfig
from glow_app.config.paths import as_path
from glow_app.errors import UserError
from glow_app.training.checkpoints.run_folder import training_command

U = TypeVar("U", bound=OpenConfig)


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


def report() -> None:
    """``glow-report``: makes a page of a run."""
    run("report", _report, lambda arguments: with_data_of_model(with_brackets(arguments, list_options(ReportConfig))))


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


def plot2d() -> None:
    """``glow-plot2d``: draws a flow of points in the plane."""
    run("plot2d", _plot2d, model_arguments(Plot2dConfig))


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


def _report(composed: DictConfig) -> None:
    if not composed.run:
        raise UserError("run has no value: name the folder of a run, run=runs/...")
    folder = Path(as_path(composed.run))
    if not (folder / "config.yaml").is_file():
        raise UserError(
            f"run={folder} is not the folder of a run: it has no config.yaml, which glow-train writes there"
        )
    if (folder / "model" / CARD).is_file():  # a run that has just begun has none
        fill_in_data(composed, folder, given_keys())
    config = check(composed, ReportConfig)
    require_device("device", config.device)
    from glow_app.commands.report import report

    report(config, Console())


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


def _plot2d(composed: DictConfig) -> None:
    config = _with_model(composed, Plot2dConfig)
    from glow_app.commands.plot2d import plot2d

    plot2d(config, Console())


def _with_model(composed: DictConfig, schema: type[U]) -> U:
    """The checked configuration of a command that uses one trained model."""
    if not composed.checkpoint:
        raise UserError("checkpoint has no value: name the folder of a run, checkpoint=runs/...")
    fill_in_data(composed, as_path(composed.checkpoint), given_keys())
    config = check(composed, schema)
    require_device("device", config.device)
    require_files(config)
    return config
