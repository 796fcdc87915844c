"""``glow-restore``: fills in what is missing of pictures."""

import json
from collections.abc import Callable
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor

from glow_app import figures
from glow_app.commands.common import file_name, open_model, output_folder
from glow_app.commands.photos import Picture, labels_of, open_pictures, pixels_of, say_unlike
from glow_app.config.editing import RestoreConfig
from glow_app.latents.restoring import Seen, restorations, what_was_seen
from glow_app.model import Model
from glow_app.runtime import distributed
from glow_app.runtime.atomic import write_text
from glow_app.runtime.console import counting, say

FRAMES = 8
"""Steps that are shown on the way to an answer, the first and the last included."""


def restore(config: RestoreConfig, console: Console) -> None:
    """Draws answers for each picture: what is missing of it, given what was seen.

    Writes, for each picture, ``<name>_<what>_<number>.png`` for each answer, at the model's size;
    ``<name>_<what>.png``, what was seen, the answers and the picture side by side; ``<name>_<what>_steps.png``, a row
    for each answer with the way to it; and ``<name>_<what>.json``, the options and the answers' bits per dimension.

    Raises:
        UserError: an image does not fit the model, the mask, noise or scale does not fit the image, or none is given.
    """
    distributed.require_one("glow-restore")
    model = open_model(config)
    pictures = open_pictures(config, model, console)
    pixels = pixels_of(pictures).to(model.device)
    seen = what_was_seen(pixels, model.n_bits, config.mask, config.noise, config.scale, config.seed)
    folder = output_folder(config, model, "restore")
    made: list[Path] = []
    together = max(1, config.batch_size // config.n)
    steps = config.n * config.steps
    with counting(console, "restoring") as progress:
        for first in range(0, len(pictures), together):
            some = pictures[first : first + together]

            def report(done: int, before: int = first * steps) -> None:
                progress(before + done, len(pictures) * steps)

            own = seen.repeated(torch.arange(first, first + len(some), device=model.device))
            frames = _frames(config, model, own, some, report)
            say_unlike(model, [p._replace(pixels=a[0]) for p, a in zip(some, frames[-1], strict=True)], 0, console)
            for picture, shown, way in zip(some, own.picture().cpu(), frames.unbind(1), strict=True):
                made += _write(config, model, picture, shown, way, folder)
    say(console, "look at")
    for path in made if len(made) <= 20 else [folder]:
        say(console, f"  {path}")


def _frames(
    config: RestoreConfig, model: Model, seen: Seen, pictures: list[Picture], report: Callable[[int], None]
) -> Tensor:
    """Computes answers and the way to them, a batch at a time: uint8 (FRAMES, len(pictures), n, C, H, W)."""
    shown = torch.linspace(0, config.steps, FRAMES).round().int().tolist()
    pairs = [(row, number) for row in range(len(pictures)) for number in range(config.n)]
    labels = labels_of(model, pictures)
    batches: list[Tensor] = []
    for first in range(0, len(pairs), config.batch_size):
        rows, numbers = torch.tensor(pairs[first : first + config.batch_size], device=model.device).unbind(1)
        own = seen.repeated(rows)
        cond = None if labels is None else labels.to(model.device)[rows]
        frames: list[Tensor] = []
        way = restorations(model.flow, own, numbers, config.steps, config.seed, cond, config.temperature)
        for step, x in enumerate(way):
            if step in shown:
                frames.append(own.answers(x).cpu())
            report(first * config.steps + len(rows) * step)
        batches.append(torch.stack(frames))
    return torch.cat(batches, 1).unflatten(1, (len(pictures), config.n))


def _write(
    config: RestoreConfig, model: Model, picture: Picture, seen: Tensor, frames: Tensor, folder: Path
) -> list[Path]:
    """Writes the answers for one picture; returns the paths to look at.

    Args:
        config: the options.
        model: the model.
        picture: the picture.
        seen: uint8 (C, H, W), what was seen of it.
        frames: uint8 (FRAMES, n, C, H, W), the answers and the way to them.
        folder: the output folder.
    """
    answers = frames[-1]
    stem = f"{picture.name}_{_what(config)}"
    files = [folder / f"{stem}_{number}.png" for number in range(config.n)]
    for path, answer in zip(files, answers, strict=True):
        figures.save_png(figures.to_picture(answer), path)
    beside = torch.cat([seen[None], answers, picture.pixels[None].cpu()])
    labels = ["seen", *(f"answer {number}" for number in range(config.n)), "given"]
    together, steps = folder / f"{stem}.png", folder / f"{stem}_steps.png"
    figures.save_png(figures.grid(figures.zoomed(beside, config.zoom), len(beside), column_labels=labels), together)
    way = figures.zoomed(frames.transpose(0, 1).flatten(0, 1), config.zoom)
    figures.save_png(figures.grid(way, len(frames)), steps)
    write_text(folder / f"{stem}.json", json.dumps(_facts(config, model, picture, frames, files), indent=1))
    return [together, steps, *files]


def _facts(
    config: RestoreConfig, model: Model, picture: Picture, frames: Tensor, files: list[Path]
) -> dict[str, object]:
    def bits(images: Tensor) -> list[float]:
        label = picture.label if model.flow.n_classes else None
        return [round(one, 4) for one in model.bits_per_dim(images, label, config.seed).tolist()]

    ways = zip(files, bits(frames[0]), bits(frames[-1]), strict=True)
    return {
        "model": model.digest,
        "model_folder": str(model.folder),
        "picture": picture.name,
        "photo": None if picture.photo is None else str(picture.photo.path),
        "label": picture.label,
        "mask": config.mask,
        "noise": config.noise,
        "scale": config.scale,
        "steps": config.steps,
        "temperature": config.temperature,
        "seed": config.seed,
        "precision": config.precision,
        "image_shape": list(model.image_shape),
        "n_bits": model.n_bits,
        "bits_per_dim": bits(picture.pixels[None])[0],
        "answers": [
            {"file": path.name, "number": number, "bits_per_dim_of_first_step": first, "bits_per_dim": last}
            for number, (path, first, last) in enumerate(ways)
        ],
    }


def _what(config: RestoreConfig) -> str:
    """Returns the part of a file name that identifies what was restored."""
    if config.mask is not None:
        mask = Path(config.mask)
        return f"mask_{file_name(mask.stem if mask.is_file() else config.mask)[:60]}"
    return f"noise{config.noise:g}" if config.noise is not None else f"scale{config.scale}"
