"""``glow-plot2d``: a flow in the plane as a picture, and the integral of its density."""

from pathlib import Path

import torch
from rich.console import Console

from glow_app import figures
from glow_app.build import open_split
from glow_app.commands.common import open_any_model, output_folder
from glow_app.config.commands import Plot2dConfig
from glow_app.data.sets.points import Points
from glow_app.errors import UserError
from glow_app.evaluation import density, density_figures
from glow_app.evaluation.density import Portrait, Square
from glow_app.figures.animation import save_gif
from glow_app.flows import Flow
from glow_app.model import Model
from glow_app.runtime import distributed
from glow_app.runtime.console import say

N_MASS = 100_000
"""Samples for estimating the mass outside the square."""

N_STAGES = 6
"""Stages of a film shown side by side."""


def plot2d(config: Plot2dConfig, console: Console) -> None:
    """Draws the data, samples, the density and the warped grid of the latents; prints the density's integral.

    Writes ``plane_*.png`` and, if asked for, ``film_*.gif`` and ``stages_*.png``, some of its frames.

    Raises:
        UserError: the model does not exist, or it is one of images.
    """
    distributed.require_one("glow-plot2d")
    model = open_any_model(config)
    if model.n_bits is not None:
        raise UserError(f"{config.checkpoint} is a model of images: look at it with glow-sample")
    folder = output_folder(config, model, "plot2d")
    data = open_split(config.data, "test", console)
    assert isinstance(data, Points)
    square = Square(config.side, config.cells)
    shown = density.portrait(model.flow, data.points, square, config.n, config.temperature, config.lines, config.seed)
    say(console, f"{model.folder}: step {model.card.step:,}, weights {model.card.weights}")
    _report_mass(model.flow, shown, config.seed, console)
    say(console, density.entropies(data, -density.log_density(model.flow, data.points)).text())
    made = _draw(model, shown, config, folder)
    say(console, "\nlook at")
    for path in made:
        say(console, f"  {path}")


def _report_mass(flow: Flow, shown: Portrait, seed: int, console: Console) -> None:
    """Reports the integral of the density over the square and the share of samples outside; they should sum to 1."""
    square, half = shown.square, shown.square.side / 2
    integral = square.integral(shown.log_density)
    outside = square.without(density.decoded(flow, density.drawn_latents(flow, N_MASS, 1.0, seed)))
    say(
        console,
        f"integral of the density over [{-half:g}, {half:g}] x [{-half:g}, {half:g}], {square.cells} x {square.cells} "
        f"cells: {integral:.4f}; of {N_MASS:,} samples {outside:.2%} lie outside",
    )
    if not abs(integral + outside - 1) <= density.TOLERANCE:  # also if it is NaN
        say(
            console,
            f"their sum is {integral + outside:.4f} and should be 1: the density is too sharp for this grid (try "
            f"cells={2 * square.cells}), or is not normalised",
        )


def _draw(model: Model, shown: Portrait, config: Plot2dConfig, folder: Path) -> list[Path]:
    name = f"T{config.temperature:.2f}_seed{config.seed}"
    title = f"samples, temperature {config.temperature:g}"
    made = [folder / f"plane_{name}.png"]
    figures.save_png(density_figures.portrait(shown, config.density, title), made[0])
    if config.film:
        dots = density.stages(model.flow, shown.latents)
        lines = density.grid(config.lines)
        warped = density.stages(model.flow, lines.flatten(0, 1)).unflatten(1, lines.shape[:2])
        frames = density_figures.film(dots, warped, shown.latents, shown.square, config.frames)
        made += [folder / f"film_{name}.gif", folder / f"stages_{name}.png"]
        save_gif(frames, made[1], config.frame_ms)
        shown_stages = torch.linspace(0, len(dots) - 1, min(N_STAGES, len(dots))).round().long()
        figures.save_png(figures.grid(frames[shown_stages * config.frames], len(shown_stages)), made[2])
    return made
