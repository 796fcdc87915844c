"""What a training run says at its beginning and at its end."""

from pathlib import Path

from rich.console import Console

from glow_app.config import TrainConfig
from glow_app.data.source import ImageSource
from glow_app.evaluation.codecs import CODECS, codec_bits_per_dim
from glow_app.evaluation.likelihood import Likelihood
from glow_app.flows import Glow
from glow_app.progress import say


def banner(
    config: TrainConfig,
    flow: Glow,
    train: ImageSource,
    val: ImageSource,
    run_folder: Path,
    resumed_step: int,
    console: Console,
) -> None:
    """What is about to be trained, on what, where."""
    model, trainer = config.model, config.trainer
    channels, height, width = train.image_shape
    n_parameters = sum(parameter.numel() for parameter in flow.parameters())
    lines = [
        f"data      {train.name}: {len(train):,} training and {len(val):,} validation images, "
        f"{channels}x{height}x{width}, {config.data.n_bits} bits",
        f"model     Glow, L={model.n_levels} K={model.n_steps} width={model.width}, {model.coupling} coupling, "
        f"{model.permutation} permutation, {n_parameters / 1e6:.2f}M parameters",
        f"training  {config.max_steps:,} steps of {trainer.batch_size * trainer.accumulate * trainer.devices} images, "
        f"{config.optim.name}, lr {config.optim.lr:g}, {trainer.precision}",
        f"run       {run_folder}",
    ]
    if resumed_step:
        lines.append(f"resumed   at step {resumed_step:,}")
    for line in lines:
        say(console, line)


def result(reached: Likelihood, test: ImageSource, config: TrainConfig, console: Console) -> None:
    """The figure of the run, beside what lossless codecs make of the same pixels."""
    figure = f"{reached.mean:.3f} ± {reached.standard_error:.3f} bits/dim"
    say(console, f"\ntest: {figure} on {len(reached.per_image):,} images of {config.data.name}")
    if config.data.n_bits == 8:
        images = test.fetch(range(len(reached.per_image)))
        sizes = "   ".join(f"{codec} {codec_bits_per_dim(images, codec):.3f}" for codec in CODECS)
        say(console, f"lossless codecs on the same pixels: {sizes}")


def where(config: TrainConfig, step: int, run_folder: Path, console: Console) -> None:
    """The last lines: what to look at, and the next command."""
    likely = min(config.temperatures, key=lambda temperature: abs(temperature - 0.7))
    say(console, "\nlook at")
    say(console, f"  {run_folder}/samples/step_{step:08d}_T{likely:.2f}.png")
    say(console, f"  {run_folder}/curves.png")
    say(console, "train it for longer with")
    say(console, f"  glow-train resume={run_folder} max_steps={2 * config.max_steps}")


def interrupted(step: int, run_folder: Path, console: Console) -> None:
    """What a person who pressed Ctrl-C wants to know."""
    say(console, f"\nstopped at step {step:,}; everything up to here is saved. Go on with")
    say(console, f"  glow-train resume={run_folder}")
