"""The lines that a training run prints at its beginning and at its end."""

from pathlib import Path

from rich.console import Console

from glow_app import figures
from glow_app.config.data import OwnDataConfig
from glow_app.config.model import OwnModelConfig
from glow_app.config.models.vae import VAEConfig
from glow_app.config.published import PUBLISHED, departures
from glow_app.config.train import TrainConfig
from glow_app.data.sets.points import Points
from glow_app.data.source import ImageSource
from glow_app.evaluation.codecs import measure_codecs
from glow_app.evaluation.density import entropies
from glow_app.evaluation.likelihood import Likelihood
from glow_app.flows import Flow
from glow_app.latents.strength import shown_first
from glow_app.runtime.console import counting, say
from glow_app.training.clock import Clock
from glow_app.training.loggers import metrics
from glow_app.units import unit_of


def banner(
    config: TrainConfig,
    flow: Flow,
    train: ImageSource,
    val: ImageSource | None,
    run_folder: Path,
    resumed_step: int,
    n_processes: int,
    console: Console,
) -> None:
    """Prints what is trained, on which data, in which folder."""
    n_bits = config.data.n_bits
    unit = unit_of(n_bits)
    lines = [
        f"data      {train.name}: {len(train):,} training and {len(val or ()):,} validation {unit.things}, "
        f"{unit.shape_of(train.image_shape, n_bits)}",
        *([f"left out  {train.left_out}"] if train.left_out else []),
        f"{unit.grains}    {train.preprocessing}",
        *intent(config, flow, n_processes),
        f"run       {run_folder}",
    ]
    if config.init_from is not None:
        lines.append(f"started   from the weights of {config.init_from}")
    if config.teacher is not None:
        lines.append(f"teacher   {config.teacher}: each batch is as many samples of the model, and no data")
    if resumed_step:
        lines.append(f"resumed   at step {resumed_step:,}")
    for line in lines:
        say(console, line)


def intent(config: TrainConfig, flow: Flow, n_processes: int) -> list[str]:
    """Lines on the model, its training and, if a published run is followed, the departures from it."""
    trainer = config.trainer
    n_parameters = sum(parameter.numel() for parameter in flow.parameters())
    together = f", {n_processes} processes" if n_processes > 1 else ""
    things = unit_of(config.data.n_bits).things
    length = f"{config.max_steps:,} steps"
    if config.max_seconds is not None:
        length = f"{config.max_seconds:g} seconds, in steps"
    lines = [
        f"model     {config.model.shape}, {n_parameters / 1e6:.2f}M parameters",
        f"training  {length} of {trainer.batch_size * trainer.accumulate} {things}, "
        f"{config.optim.name}, lr {config.optim.lr:g}, {trainer.precision}{together}",
    ]
    if config.published is not None:
        departs = departures(config)
        lines.append(f"follows   the paper's {config.published}: {PUBLISHED[config.published].result}")
        lines.append(f"departs   {', '.join(departs) if departs else 'in no option'}")
    return lines


def result(reached: Likelihood, test: ImageSource, config: TrainConfig, console: Console) -> None:
    """Prints the test result, beside that of lossless codecs on the same pixels or the entropy of the points."""
    unit, n = unit_of(config.data.n_bits), len(reached.per_image)
    figure = f"{unit.with_error(reached.mean, reached.standard_error, 3)} {unit.name}"
    say(console, f"\ntest: {figure} on {n:,} {unit.things} of {test.name} ({test.preprocessing})")
    if isinstance(test, Points):
        say(console, entropies(test, unit.per_bit * reached.per_image).text())
    elif config.data.n_bits == 8:
        with counting(console, "lossless codecs") as progress:
            codecs = measure_codecs(test, range(n), config.data.n_bits, config.seed, progress)
        say(console, f"lossless codecs on {codecs.which}: {codecs.sizes}")


def where(
    config: TrainConfig,
    clock: Clock,
    step: int,
    run_folder: Path,
    train: ImageSource,
    held_out: ImageSource | None,
    console: Console,
) -> None:
    """Prints the last lines: files to look at, and the next commands.

    Args:
        config: all options.
        clock: clock of the run.
        step: last step.
        run_folder: folder of the run.
        train: training images.
        held_out: images that the model has not seen, if there are any.
        console: where to write.
    """
    likely = min(config.temperatures, key=lambda temperature: abs(temperature - 0.7))
    say(console, "\nlook at")
    pictures = [run_folder / "samples" / f"step_{step:08d}_{what}.png" for what in ("plane", f"T{likely:.2f}")]
    for path in (*pictures, run_folder / "curves.png"):
        if path.exists():
            say(console, f"  {path}")
    say(console, "then try")
    key, value = clock.limit
    longer = f"{key}={2 * value:g}" if isinstance(value, float) else f"{key}={2 * value}"
    if _is_of_a_program(config):
        again = ", flow=..." if isinstance(config.model, OwnModelConfig) else ""
        say(console, f'  model = glow_app.load("{run_folder}"{again})')
        say(console, f'  glow_app.train(..., output="{run_folder}", resume=True, {longer})')
        return
    model = f"checkpoint={run_folder}"
    of_points = [f"glow-plot2d {model} film=true", f"glow-evaluate {model}"]
    commands = of_points if isinstance(train, Points) else _commands_for_images(config, model, train, held_out)
    for command in [*commands, f"glow-train resume={run_folder} {longer}"]:
        say(console, f"  {command}")


def _commands_for_images(
    config: TrainConfig, model: str, train: ImageSource, held_out: ImageSource | None
) -> list[str]:
    commands = [f"glow-sample {model} temperature=0.5,0.7,0.9"]
    split = "" if held_out is None or held_out.split == "test" else f" split={held_out.split}"
    if held_out is not None:
        label = f" label={train.class_names[0]}" if config.model.class_conditional else ""
        commands += [f"glow-evaluate {model}{split}", f"glow-interpolate {model} images=0,1,2{split}{label}"]
        if isinstance(config.model, VAEConfig):
            return [*commands, f"glow-sample {model} walk=0,1"]
        if train.attributes is not None:
            sweep = ",".join(shown_first(train.attribute_names)[:3])
            commands += [f"glow-directions {model}", f"glow-edit {model} images=0,1,2,3 sweep={sweep}{split}"]
    return [*commands, f"glow-demo {model}{split}"]


def interrupted(step: int, clock: Clock, run_folder: Path, config: TrainConfig, console: Console) -> None:
    """Prints that everything up to ``step`` is saved, and how to resume."""
    end = "; only its end is left" if clock.is_over(step) else ""
    of = f"{clock.max_steps:,}"
    if clock.max_seconds is not None:
        of = f"a run of {clock.length}, {clock.seconds:.0f} of them over,"
    say(console, f"\nstopped; everything up to step {step:,} of {of} is saved{end}. Resume with")
    of_a_program = f'glow_app.train(..., output="{run_folder}", resume=True)'
    say(console, f"  {of_a_program if _is_of_a_program(config) else f'glow-train resume={run_folder}'}")


def _is_of_a_program(config: TrainConfig) -> bool:
    """Returns whether the images or the flow are objects, which commands do not have."""
    return isinstance(config.data, OwnDataConfig) or isinstance(config.model, OwnModelConfig)


def draw_curves(run_folder: Path) -> None:
    """Draws ``curves.png``, the curves of the run so far."""
    if (run_folder / "metrics.csv").exists():
        figures.curves(metrics.read(run_folder / "metrics.csv"), run_folder / "curves.png")
