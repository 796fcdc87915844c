"""``glow-sample walk=0,1``: what two latents of a VAE do to an image."""

from pathlib import Path

import torch
from rich.console import Console

from glow_app import figures
from glow_app.commands.common import output_folder
from glow_app.config.commands import SampleConfig
from glow_app.errors import UserError
from glow_app.flows import VAE
from glow_app.model import Model
from glow_app.runtime.console import say

SIDE = 11
"""Images along each side, of which the middle one has both latents at 0."""


def walk(config: SampleConfig, model: Model, console: Console) -> Path:
    """Draws ``walk_<i>_<j>.png``: latent i from row to row, j from column to column, all others 0.

    The values are quantiles of the normal distribution, evenly spaced in probability. Kingma & Welling 2014, figure 4.

    Raises:
        UserError: these are not two of the model's latents, or the model is not a VAE.
    """
    assert config.walk is not None
    chosen = ",".join(map(str, config.walk))
    if not isinstance(model.flow, VAE):
        raise UserError(f"walk={chosen} is for a VAE, and {config.checkpoint} is a {model.flow.kind}: leave it out")
    n = model.flow.n_latents
    if len(set(config.walk)) != 2 or len(config.walk) != 2 or max(config.walk) >= n:
        raise UserError(f"walk={chosen}: give two of the model's latents, numbers from 0 to {n - 1}, such as walk=0,1")
    values = torch.special.ndtri((torch.arange(SIDE) + 0.5) / SIDE)
    z = torch.zeros(SIDE, SIDE, n)
    z[:, :, config.walk[0]] = values[:, None]
    z[:, :, config.walk[1]] = values
    images = model.decode([z.view(-1, n, 1, 1)]).cpu()
    labels = [f"{value:+.1f}" for value in values.tolist()]
    path = output_folder(config, model, "sample") / f"walk_{config.walk[0]}_{config.walk[1]}.png"
    figures.save_png(figures.grid(images, SIDE, row_labels=labels, column_labels=labels), path)
    first, second = config.walk
    say(console, f"latent {first} changes from row to row, latent {second} from column to column; the others are 0")
    return path
