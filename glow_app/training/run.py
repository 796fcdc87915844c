"""One training run, from its configuration to its last line; wires all parts together."""

import logging
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytorch_lightning as pl
import torch
from rich.console import Console

from glow_app.artifacts.card import read_card
from glow_app.artifacts.weights import export
from glow_app.build import forbid_tf32
from glow_app.config.train import AUTO, TrainConfig
from glow_app.data.datamodule import ImageDataModule
from glow_app.data.identity import difference, remember
from glow_app.data.sets.points import Points
from glow_app.data.source import ImageSource
from glow_app.errors import UserError
from glow_app.evaluation.likelihood import measure_likelihood
from glow_app.runtime import distributed
from glow_app.runtime.console import counting, say
from glow_app.runtime.malloc import keep_freed_memory
from glow_app.training import report
from glow_app.training.after_update import LearningRate
from glow_app.training.begin import build_flow, initialize_flow, make_module, open_sources, open_start, start_from
from glow_app.training.card import card_of
from glow_app.training.checkpoints.callback import Checkpoints
from glow_app.training.checkpoints.format import read_checkpoint, require_state_of, require_weights_of
from glow_app.training.checkpoints.run_folder import save_configuration, trained_alone
from glow_app.training.checkpoints.signals import REQUEUE, Interrupted, Signals, requeue
from glow_app.training.clock import Clock
from glow_app.training.distillation.reflow import Reflow, conclude_reflow
from glow_app.training.distillation.student import Distillation, conclude_distillation
from glow_app.training.distillation.teacher import open_teacher
from glow_app.training.ema import WeightAverage
from glow_app.training.exports import ModelExports
from glow_app.training.fast.compile import compile_flow
from glow_app.training.guards.failures import explained
from glow_app.training.guards.finite import FiniteGuard
from glow_app.training.guards.heartbeat import Watch
from glow_app.training.guards.monitors import Monitors
from glow_app.training.loggers import metrics
from glow_app.training.loggers.make import conclude, make_loggers
from glow_app.training.module import GlowModule
from glow_app.training.optim import largest_first
from glow_app.training.pictures.density import DensityPlots
from glow_app.training.pictures.interpolations import InterpolationGrids
from glow_app.training.pictures.picture_writer import PictureWriter
from glow_app.training.pictures.samples import SampleGrids
from glow_app.training.progress import ProgressReport
from glow_app.training.trainer import Layout, hardware, layout, make_trainer, validate_every
from glow_app.training.variational.module import VAEModule

GRID = 32
"""Number of images in a sample grid."""

TESTED = "test/bits_per_dim"
"""Key of the test result in the metrics of the run and of its model's card."""


@dataclass(frozen=True)
class _Run:
    """The state that the parts of a run share."""

    config: TrainConfig
    folder: Path
    console: Console
    train: ImageSource
    val: ImageSource | None
    test: ImageSource | None
    module: GlowModule
    average: WeightAverage | None
    clock: Clock
    hardware: str

    def final_weights(self) -> AbstractContextManager[None]:
        """Returns a context in which the flow has the weights that are evaluated and exported."""
        return self.average.averaged(self.module.flow) if self.average else nullcontext()


def fit(
    config: TrainConfig, run_folder: Path, checkpoint: Path | None, console: Console, command: str | None = None
) -> None:
    """Trains, writes everything into ``run_folder``, and prints the result.

    Args:
        config: all options.
        run_folder: folder of the run.
        checkpoint: checkpoint of this run to resume from; None for a new run.
        console: where to write.
        command: the command line, if there is one.

    Raises:
        UserError: the user can fix the cause.
        KeyboardInterrupt: Ctrl-C; a checkpoint has been written.
        SystemExit: any other signal, likewise; the status is 128 + its number.
    """
    # Lightning sets its loggers to INFO when it is imported; its messages are not needed here.
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    where = layout(config.trainer)
    first = distributed.is_rank_zero()
    if not first:
        console = Console(quiet=True)
    forbid_tf32()
    if config.trainer.accelerator == "cpu":
        keep_freed_memory()
    saved = None if checkpoint is None else read_checkpoint(checkpoint)
    resumed_step = 0 if saved is None else saved["global_step"]
    clock = Clock(config.max_steps, config.max_seconds, config.patience)
    if saved is not None and clock.state_key in saved["callbacks"]:
        clock.load_state_dict(saved["callbacks"][clock.state_key])
    start = open_start(config) if saved is None else None
    teacher = open_teacher(config)
    train, val, test = open_sources(config, teacher, console)
    if clock.is_over(resumed_step) and _has_ended(config, run_folder, resumed_step, val, test):
        _nothing_left(config, checkpoint, resumed_step, clock, console)
        return
    if config.patience is not None and val is None:
        raise UserError(f"patience={config.patience} needs validation images, and there are none; set it to null")
    flow = build_flow(config, train)
    if start is not None:
        start_from(flow, start, config, train)
    elif saved is None and not flow.initialized.item():
        initialize_flow(flow, train, config, teacher)
    elif saved is not None:
        require_weights_of(flow, saved["state_dict"], str(checkpoint))
        require_state_of(largest_first(flow.parameters()), saved["optimizer_states"], str(checkpoint))
        flow.initialized.fill_(1)  # all of it comes from the checkpoint
    average = WeightAverage(config.optim.ema_decay) if config.optim.ema_decay else None
    module = make_module(flow, config, where, clock, teacher)
    run = _Run(config, run_folder, console, train, val, test, module, average, clock, hardware(config.trainer, where))
    with trained_alone(run_folder) if first else nullcontext():
        _train(run, where, checkpoint, resumed_step, command)


def _train(run: _Run, where: Layout, checkpoint: Path | None, resumed_step: int, command: str | None) -> None:
    """Trains, exports and tests, and writes all files of the run."""
    config, console = run.config, run.console
    first = distributed.is_rank_zero()
    if first:
        save_configuration(config, run.folder, command)
        sources = (run.train, run.val, run.test)
        if checkpoint is None:
            remember(sources, run.folder)
        else:
            for text in filter(None, (difference(source, run.folder) for source in sources)):
                say(console, f"note: {text}")
    compile_flow(run.module.flow, config.trainer.compile)
    report.banner(config, run.module.flow, run.train, run.val, run.folder, resumed_step, where.world_size, console)

    signals = Signals()
    checkpoints = Checkpoints(
        run.folder, config.checkpoint_every, config.checkpoint_minutes, run.clock, signals, console
    )
    loggers = make_loggers(config, run.folder, resumed_step, console) if first else []
    watch = Watch()
    callbacks = [watch, run.clock, *_callbacks(run, checkpoints)]  # the clock before those that ask for the last step
    trains = not run.clock.is_over(resumed_step)
    trainer = make_trainer(config, where, run.folder, run.val is not None, callbacks, loggers)
    device = trainer.strategy.root_device
    data = _data_module(run, where)
    ending = False
    with watch, signals, explained(trainer, checkpoint, checkpoints):
        try:
            trainer.fit(run.module, data, ckpt_path=checkpoint, weights_only=True)
            ending = True
            signals.obey_at_once()
            ends_validated = (
                run.clock.ends_early or config.max_seconds is not None or config.max_steps % validate_every(config) == 0
            )
            if run.val is not None and not (trains and ends_validated):
                trainer.validate(run.module, data, verbose=False)
            _conclude(run, trainer, device)
        except Interrupted as stop:
            if trainer.is_global_zero:
                if not ending:
                    _export(run, trainer.global_step, {})
                    report.draw_curves(run.folder)
                report.interrupted(checkpoints.saved_step, run.clock, run.folder, config, console)
                if stop.number == REQUEUE:
                    say(console, requeue())
            raise stop.exit() from None


def _has_ended(
    config: TrainConfig, run_folder: Path, step: int, val: ImageSource | None, test: ImageSource | None
) -> bool:
    """Returns whether a run that ended at ``step`` has validated, exported its model and logged its test result."""
    try:
        card, _ = read_card(run_folder / "model")
    except UserError:
        return False
    if config.max_seconds is None and step > config.max_steps:
        return True
    # Exports before the last one have no metrics.
    validated = val is None or "val/bits_per_dim" in card.metrics
    return card.step == step and validated and (test is None or _has_logged_test(run_folder, step))


def _has_logged_test(run_folder: Path, step: int) -> bool:
    """Returns whether the test result is in metrics.csv, to which it is written after the model."""
    path = run_folder / "metrics.csv"
    return path.exists() and any(row["step"] == step and TESTED in row for row in metrics.read(path))


def _nothing_left(config: TrainConfig, checkpoint: Path | None, step: int, clock: Clock, console: Console) -> None:
    key, value = clock.limit
    end = ", the end by" if clock.ends_early else " of"
    text = f"{checkpoint} is at step {step:,}{end} {key}={value}: nothing is left to do"
    if config.resume != AUTO:
        raise UserError(f"{text}; give a larger {key}")
    say(console, text)  # a job that is queued again after its end has succeeded


def _conclude(run: _Run, trainer: pl.Trainer, device: torch.device) -> None:
    """Exports, tests, exports again with the test result, and prints what to do next.

    All ranks test; rank 0 exports.
    """
    validated = {key: float(value) for key, value in trainer.callback_metrics.items() if key.startswith("val/")}
    if trainer.is_global_zero:
        _export(run, trainer.global_step, validated)  # before anything can go wrong in the test
        report.draw_curves(run.folder)
    tested: dict[str, float] = {}
    if run.test is None:
        say(run.console, "there is no test split: the last validation, if any, is the result of this run")
    else:
        tested = _test(run, run.test, device)
    if isinstance(run.module, Distillation) and trainer.is_global_zero:
        run.module.flow.to(device)
        with run.final_weights():
            if isinstance(run.module, Reflow):
                tested |= conclude_reflow(run.module, run.config, run.folder, run.console)
            else:
                tested |= conclude_distillation(run.module, run.config, run.folder, run.console)
    if tested and trainer.is_global_zero:
        _export(run, trainer.global_step, validated | tested)
    conclude(trainer.loggers, tested, trainer.global_step, run.folder / "model")
    report.where(run.config, run.clock, trainer.global_step, run.folder, run.train, run.test or run.val, run.console)


def _data_module(run: _Run, where: Layout) -> ImageDataModule:
    config = run.config
    return ImageDataModule(
        run.train,
        run.val,
        batch_size=config.trainer.batch_size // where.world_size,
        n_steps=run.clock.most_steps * config.trainer.accumulate,
        seed=config.seed,
        flip=config.data.flip,
        shift=config.data.shift,
        workers=config.data.workers,
        val_images=config.val_images,
    )


def _callbacks(run: _Run, checkpoints: Checkpoints) -> list[pl.Callback]:
    config = run.config
    return [
        # Before the average, which validation swaps in: the guard needs the weights of the update.
        FiniteGuard(run.folder, config.trainer.nonfinite, config.trainer.skip_limit, run.console),
        *([run.average] if run.average else []),  # before all that use the newest average
        Monitors(),
        LearningRate(),
        *_pictures(run),
        ModelExports(partial(_export, run, reached={}), run.console),
        checkpoints,
        ProgressReport(run.console, run.clock, config.log_every),
    ]


def _pictures(run: _Run) -> list[pl.Callback]:
    """The callbacks that draw while the model trains."""
    config, writer = run.config, PictureWriter(run.folder, run.console)
    if isinstance(run.train, Points):
        return [DensityPlots(writer, config.samples_every, run.train, config.seed, run.final_weights)]
    drawn: list[pl.Callback] = [
        SampleGrids(
            writer, config.samples_every, config.temperatures, GRID, config.seed, run.final_weights, run.console
        )
    ]
    if isinstance(run.module, VAEModule):
        return drawn  # of latents that are exact there are none
    if run.val is not None and config.logger.name != "csv":  # csv has no pictures; commands draw them
        batch_size = config.trainer.batch_size // distributed.world_size()
        drawn.append(
            InterpolationGrids(
                writer, config.samples_every, run.train, run.val, batch_size, run.final_weights, run.console
            )
        )
    return drawn


def _test(run: _Run, test: ImageSource, device: torch.device) -> dict[str, float]:
    """Prints and returns the bits per dimension of the test images."""
    config, flow = run.config, run.module.flow.eval()
    flow.set_conditioner_dtype(None)
    eager = torch.compiler.set_stance("force_eager")
    with eager, run.final_weights(), counting(run.console, "test", config.log_every) as progress:
        flow.to(device)  # Lightning moves the model to the CPU when it has finished
        batch_size = 2 * config.trainer.batch_size // distributed.world_size()
        indices = range(min(config.test_images or len(test), len(test)))
        reached = measure_likelihood(
            flow, test, indices, config.data.n_bits, config.seed, batch_size, progress=progress
        )
    if distributed.is_rank_zero():
        report.result(reached, test, config, run.console)
    return {TESTED: reached.mean, "test/standard_error": reached.standard_error}


def _export(run: _Run, step: int, reached: dict[str, float]) -> None:
    """Exports the current model."""
    sources = {"train": run.train, "val": run.val, "test": run.test}
    card = card_of(run.config, sources, step, reached, run.clock.seconds, run.hardware)
    with run.final_weights():
        export(run.module.flow, card, run.folder / "model")
