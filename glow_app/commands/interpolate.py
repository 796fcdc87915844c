"""``glow-interpolate``: interpolates between pictures in the latents."""

import hashlib
import os

import torch
from rich.console import Console
from torch import Tensor

from glow_app import figures
from glow_app.commands.common import file_name, open_model, output_folder
from glow_app.commands.photos import Picture, encode, labels_of, open_pictures, say_reconstruction, say_unlike
from glow_app.config.editing import InterpolateConfig
from glow_app.errors import UserError
from glow_app.figures.animation import save_gif, save_mp4
from glow_app.flows import VAE
from glow_app.latents.interpolation import chain, square
from glow_app.model import Model
from glow_app.runtime import distributed
from glow_app.runtime.console import say

LONGEST_NAME = 80


def interpolate(config: InterpolateConfig, console: Console) -> None:
    """Draws the images between two pictures, along a chain of several, or between four corners.

    Writes ``<names>.png``; with ``layout=strip`` also ``<names>.gif`` and, if ``ffmpeg`` is installed, ``<names>.mp4``.

    Raises:
        UserError: there are too few images, or one is not an image.
    """
    distributed.require_one("glow-interpolate")
    model = open_model(config, vae=True)
    pictures = open_pictures(config, model, console)
    _require(pictures, config, bool(model.flow.n_classes))
    folder = output_folder(config, model, "interpolate")
    labels = labels_of(model, pictures)
    say_unlike(model, pictures, config.seed, console)
    latents = encode(model, pictures)
    if isinstance(model.flow, VAE):
        say(console, "end points: as the VAE reconstructs them, which is never exact")
    else:
        say_reconstruction(model.decode(latents, labels), pictures, model.n_bits, "end points", console)
    points = [[z[i : i + 1] for z in latents] for i in range(len(pictures))]
    if config.layout == "grid":
        moved = square(points, config.steps, config.path)
    else:
        moved = chain(points, config.steps, config.path)
    frames = figures.zoomed(_decode(model, moved, labels, config.batch_size), config.zoom)

    stem = folder / _name(pictures, config)
    made = [stem.with_name(f"{stem.name}.png")]
    figures.save_png(figures.grid(_in_rows(frames, config), config.steps), made[0])
    if config.layout == "strip":
        made.append(stem.with_name(f"{stem.name}.gif"))
        save_gif(frames, made[-1], config.frame_ms)
        film = stem.with_name(f"{stem.name}.mp4")
        if save_mp4(frames, film, config.frame_ms):
            made.append(film)
    say(console, "look at")
    for path in made:
        say(console, f"  {path}")


def _name(pictures: list[Picture], config: InterpolateConfig) -> str:
    """Returns the file name that identifies a result; a digest replaces a long list of pictures."""
    names = "-".join(picture.name for picture in pictures)
    if len(names) > LONGEST_NAME:
        names = f"{pictures[0].name[:40]}-{len(pictures)}-{hashlib.sha256(os.fsencode(names)).hexdigest()[:8]}"
    label = "" if config.label is None else f"_{file_name(config.label)}"
    grid = "_grid" if config.layout == "grid" else ""
    return f"{names}_{config.path}{config.steps}{grid}{label}"


def _require(pictures: list[Picture], config: InterpolateConfig, conditional: bool) -> None:
    if config.layout == "grid" and len(pictures) != 4:
        raise UserError(f"layout=grid takes four images, one for each corner, and images= names {len(pictures)}")
    if len(pictures) < 2:
        raise UserError("images= names one image: give two or more, images=a.png,b.png")
    if conditional and len({picture.label for picture in pictures}) > 1:
        raise UserError("the images are of several classes, and the model decodes one at a time: add label=...")


def _decode(model: Model, latents: list[Tensor], labels: Tensor | None, batch_size: int) -> Tensor:
    label = None if labels is None else labels[:1]
    batches = zip(*(z.split(batch_size) for z in latents), strict=True)
    return torch.cat([model.decode(list(batch), label).cpu() for batch in batches])


def _in_rows(frames: Tensor, config: InterpolateConfig) -> Tensor:
    """Arranges the frames in rows, one from each image to the next, both included."""
    if config.layout == "grid":
        return frames
    step = config.steps - 1
    rows = [frames[start : start + config.steps] for start in range(0, len(frames) - 1, step)]
    return torch.cat(rows)
