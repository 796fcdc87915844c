"""``glow-edit``: adds or removes attributes in pictures."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from PIL.Image import Image
from rich.console import Console
from rich.table import Table
from torch import Tensor

from glow_app import figures
from glow_app.commands.common import (
    Picture,
    directions_folder,
    encode,
    file_name,
    labels_of,
    open_model,
    open_pictures,
    output_folder,
    say_reconstruction,
)
from glow_app.config.commands import EditConfig
from glow_app.errors import UserError
from glow_app.figures.animation import save_gif
from glow_app.latents.directions import Directions
from glow_app.latents.directions import load as load_directions
from glow_app.model import Model
from glow_app.runtime import distributed
from glow_app.runtime.console import counting, say, show


def edit(config: EditConfig, console: Console) -> None:
    """Edits pictures as requested: one edit, sweeps, a grid of two attributes, or only measurements.

    Writes, for each picture, ``<name>_<edit>.png`` (the edited image alone) and ``<name>_<edit>_before_after.png``,
    ``<name>_sweep.png`` with one row per attribute, ``<name>_sweep_<attribute>.gif``, ``<name>_grid.png``.

    Raises:
        UserError: an image, an attribute or the directions do not fit the model, or nothing is requested.
    """
    distributed.require_one("glow-edit")
    if not (config.edit or config.sweep or config.grid or config.measure):
        raise UserError(
            "nothing to do: add edit='{Smiling: 0.8}', sweep=Smiling,Young, grid=Smiling,Young or measure=true"
        )
    model = open_model(config)
    directions = open_directions(config.directions, config.method, model)
    if config.orthogonal_to or config.levels is not None:
        directions = directions.refined(config.orthogonal_to, config.levels)
        say(
            console,
            "gains are not recalibrated for these directions; run glow-directions with the same options for that",
        )
    for name in [*(config.edit or {}), *(config.sweep or []), *(config.grid or [])]:
        directions.column(name)
    if config.grid is not None and len(config.grid) != 2:
        raise UserError(f"grid={','.join(config.grid)}: a grid has two attributes, grid=Smiling,Young")
    if (config.sweep or config.grid) and not config.amounts:
        raise UserError("amounts=[] leaves nothing to draw: give some, amounts=-1,0,1")
    pictures = open_pictures(config.images, model, config.data, config.split, config.label, console)
    _Edits(config, model, directions, pictures, console).run()


def open_directions(path: str | None, method: str, model: Model) -> Directions:
    """Loads directions of this model, by default those in its run.

    Raises:
        UserError: there are none, or they belong to another model.
    """
    directions = load_directions(directions_folder(path, model), method)
    directions.require(model.digest)
    return directions


class _Edits:
    """The requested edits of some pictures, whose latents are computed once."""

    def __init__(
        self, config: EditConfig, model: Model, directions: Directions, pictures: list[Picture], console: Console
    ) -> None:
        self.config = config
        self.model = model
        self.directions = directions
        self.pictures = pictures
        self.console = console
        self.folder = output_folder(config, model, "edit")
        self.made: list[Path] = []

    def run(self) -> None:
        """Edits all pictures, a batch at a time."""
        size = self.config.batch_size
        with counting(self.console, "editing") as progress:
            for start in range(0, len(self.pictures), size):
                self._batch(self.pictures[start : start + size])
                progress(min(start + size, len(self.pictures)), len(self.pictures))
        if self.made:
            say(self.console, "look at")
            for path in self.made if len(self.made) <= 20 else [self.folder]:
                say(self.console, f"  {path}")

    def _batch(self, pictures: list[Picture]) -> None:
        latents = encode(self.model, pictures, self.config.seed)
        before = self.model.decode(latents, labels_of(self.model, pictures)).cpu()
        say_reconstruction(before, pictures, self.model.n_bits, "unedited images", self.console)
        if self.config.measure:
            self._report_amounts(pictures, latents)
        if self.config.edit:
            after = self._decode(self.directions.edit(latents, self.config.edit), pictures)
            for picture, old, new in zip(pictures, before, after, strict=True):
                what = _name_of(self.config.edit)
                self._save(picture, what, figures.to_picture(new))
                labels = ["before", ", ".join(f"{name} {amount:+g}" for name, amount in self.config.edit.items())]
                self._save(picture, f"{what}_before_after", figures.grid(torch.stack([old, new]), 1, row_labels=labels))
        for number, picture in enumerate(pictures):
            own = [z[number : number + 1] for z in latents]
            if self.config.sweep:
                self._sweep(picture, own, self.config.sweep)
            if self.config.grid:
                self._grid(picture, own, self.config.grid)

    def _sweep(self, picture: Picture, latents: list[Tensor], names: Sequence[str]) -> None:
        amounts = self.config.amounts
        rows = [self._decode_all(picture, latents, [{name: amount} for amount in amounts]) for name in names]
        labels = [f"{amount:+g}" for amount in amounts]
        self._save(picture, "sweep", figures.grid(torch.cat(rows), len(amounts), 2, names, labels))
        if self.config.gif:
            for name, row in zip(names, rows, strict=True):
                path = self.folder / f"{picture.name}_sweep_{file_name(name)}.gif"
                save_gif(row, path, self.config.frame_ms)
                self.made.append(path)

    def _grid(self, picture: Picture, latents: list[Tensor], names: Sequence[str]) -> None:
        down, across = names
        amounts = self.config.amounts
        edits = [{down: first, across: second} for first in amounts for second in amounts]
        images = self._decode_all(picture, latents, edits)
        rows, columns = ([f"{name} {amount:+g}" for amount in amounts] for name in (down, across))
        self._save(picture, "grid", figures.grid(images, len(amounts), 2, rows, columns))

    def _decode_all(self, picture: Picture, latents: list[Tensor], edits: Sequence[dict[str, float]]) -> Tensor:
        """Edits one image in several ways, uint8 (len(edits), C, H, W)."""
        moved = [self.directions.edit(latents, edit) for edit in edits]
        size = self.config.batch_size
        parts = [
            self._decode([torch.cat(level) for level in zip(*moved[start : start + size], strict=True)], [picture])
            for start in range(0, len(moved), size)
        ]
        return torch.cat(parts)

    def _decode(self, latents: list[Tensor], pictures: list[Picture]) -> Tensor:
        return self.model.decode(latents, labels_of(self.model, pictures)).cpu()

    def _report_amounts(self, pictures: list[Picture], latents: list[Tensor]) -> None:
        table = Table(box=None, pad_edge=False, header_style="bold")
        table.add_column("0: mean without it, 1: with it")
        for picture in pictures:
            table.add_column(picture.name, justify="right")
        for name, amounts in zip(self.directions.names, self.directions.measure(latents).T.tolist(), strict=True):
            table.add_row(name, *(f"{amount:+.2f}" for amount in amounts))
        show(self.console, table)

    def _save(self, picture: Picture, what: str, image: Image) -> None:
        path = self.folder / f"{picture.name}_{what}.png"
        figures.save_png(image, path)
        self.made.append(path)


def _name_of(edit: Mapping[str, float]) -> str:
    """Returns the part of a file name that identifies an edit."""
    return "_".join(f"{file_name(name)}{amount:+g}" for name, amount in edit.items())[:80]
