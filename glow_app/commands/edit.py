"""``glow-edit``: adds or removes attributes in pictures."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from PIL.Image import Image
from rich.console import Console
from rich.table import Table
from torch import Tensor

from glow_app import figures
from glow_app.commands.common import directions_folder, file_name, open_model, output_folder
from glow_app.commands.photos import Picture, encode, labels_of, open_pictures, pasted, say_reconstruction, say_unlike
from glow_app.config.editing import EditConfig
from glow_app.errors import UserError
from glow_app.evaluation.limits import Limits
from glow_app.figures.animation import save_gif
from glow_app.latents.directions import Directions
from glow_app.latents.directions import load as load_directions
from glow_app.model import Model
from glow_app.runtime import distributed
from glow_app.runtime.console import counting, say, show


def edit(config: EditConfig, console: Console) -> None:
    """Edits pictures as requested: one edit, sweeps, a grid of two attributes, or only measurements.

    Writes, for each picture, ``<name>_<edit>.png`` (the edited image alone) and ``<name>_<edit>_before_after.png``,
    ``<name>_sweep_<attributes>_<amounts>.png`` with one row per attribute, a ``.gif`` of that name for each attribute,
    ``<name>_grid_<attributes>_<amounts>.png``; and ``<name>_<edit>_pasted.png``, the photo with the edit in it. Edits
    that go too far for a picture are limited, unless ``limit=false``: then one that is not finite raises a UserError.

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
    pictures = open_pictures(config, model, console)
    if config.paste and not all(picture.photo for picture in pictures):
        raise UserError("paste=true changes photos, and images= names numbers of a data set: name files")
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
        latents = encode(self.model, pictures)
        say_unlike(self.model, pictures, self.config.seed, self.console)
        before = self._decode(latents, pictures)
        say_reconstruction(before, pictures, self.model.n_bits, "unedited images", self.console)
        if self.config.measure:
            self._report_amounts(pictures, latents)
        each = [[z[number : number + 1] for z in latents] for number in range(len(pictures))]
        limits = [self._limits(picture, own) for picture, own in zip(pictures, each, strict=True)]
        if self.config.edit:
            edits = [self._limited(self.config.edit, *pair) for pair in zip(pictures, limits, strict=True)]
            each_amount = torch.tensor([list(one.values()) for one in edits], dtype=torch.float64).T
            amounts = dict(zip(self.config.edit, each_amount, strict=True))
            after = self._decode(self.directions.edit(latents, amounts), pictures)
            for picture, old, new, made in zip(pictures, before, after, edits, strict=True):
                what = name_of_edit(made)
                self._save(picture, what, figures.to_picture(self._zoomed(new[None])[0]))
                both = self._zoomed(torch.stack([old, new]))
                self._save(picture, f"{what}_before_after", figures.grid(both, 1, row_labels=["before", _said(made)]))
                self._paste(picture, old, [made], new[None])
        for picture, own, old, limit in zip(pictures, each, before, limits, strict=True):
            if self.config.sweep:
                self._sweep(picture, own, old, self.config.sweep, limit)
            if self.config.grid:
                self._grid(picture, own, old, self.config.grid, limit)

    def _limits(self, picture: Picture, latents: list[Tensor]) -> Limits | None:
        if not self.config.limit:
            return None
        label = picture.label if self.model.flow.n_classes else None
        return Limits(self.model, self.directions, latents, label, self.config.seed)

    def _limited(self, edit: Mapping[str, float], picture: Picture, limits: Limits | None) -> dict[str, float]:
        """Returns the edit, or, and says so, what of it leaves the picture natural."""
        factor = 1.0 if limits is None else limits.factors([edit])[0]
        if factor == 1:
            return dict(edit)
        used = _times(edit, factor)
        say(self.console, f"{picture.name}: {_said(edit)} goes too far, {_said(used)} is made (limit=false: as asked)")
        return used

    def _sweep(
        self, picture: Picture, latents: list[Tensor], before: Tensor, names: Sequence[str], limits: Limits | None
    ) -> None:
        amounts = self.config.amounts
        rows: list[Tensor] = []
        for name in names:
            low, high = min(0.0, *amounts), max(0.0, *amounts)
            least, most = (low, high) if limits is None else limits.interval(name, low=low, high=high)
            if (least, most) != (low, high):
                too_far = "further is too far (limit=false: all amounts)"
                say(self.console, f"{picture.name}: {name} goes from {least:+g} to {most:+g}, {too_far}")
            edits = [{name: min(max(amount, least), most)} for amount in amounts]
            rows.append(self._edited(picture, latents, before, edits))
        labels = [f"{amount:+g}" for amount in amounts]
        large = [self._zoomed(row) for row in rows]
        self._save(
            picture,
            _name_of_all("sweep", names, amounts),
            figures.grid(torch.cat(large), len(amounts), 2, names, labels),
        )
        if self.config.gif:
            for name, row in zip(names, large, strict=True):
                path = self.folder / f"{picture.name}_{_name_of_all('sweep', [name], amounts)}.gif"
                save_gif(row, path, self.config.frame_ms)
                self.made.append(path)

    def _grid(
        self, picture: Picture, latents: list[Tensor], before: Tensor, names: Sequence[str], limits: Limits | None
    ) -> None:
        down, across = names
        amounts = self.config.amounts
        edits = [{down: first, across: second} for first in amounts for second in amounts]
        factors = [1.0] * len(edits) if limits is None else limits.factors(edits)
        short = sum(factor < 1 for factor in factors)
        if short:
            which = f"{short} of {len(edits)} edits of {down} and {across}"
            say(self.console, f"{picture.name}: {which} go too far, and are made less far (limit=false: as asked)")
        edits = [_times(edit, factor) for edit, factor in zip(edits, factors, strict=True)]
        images = self._zoomed(self._edited(picture, latents, before, edits))
        rows, columns = ([f"{name} {amount:+g}" for amount in amounts] for name in (down, across))
        self._save(picture, _name_of_all("grid", names, amounts), figures.grid(images, len(amounts), 2, rows, columns))

    def _edited(
        self, picture: Picture, latents: list[Tensor], before: Tensor, edits: Sequence[dict[str, float]]
    ) -> Tensor:
        """Edits one image in several ways, uint8 (len(edits), C, H, W), and pastes each if asked for."""
        images = self._decode_all(picture, latents, edits)
        self._paste(picture, before, edits, images)
        return images

    def _paste(self, picture: Picture, before: Tensor, edits: Sequence[Mapping[str, float]], after: Tensor) -> None:
        if self.config.paste and picture.photo is not None:
            for edit, image in zip(edits, after, strict=True):
                self._save(picture, f"{name_of_edit(edit)}_pasted", pasted(picture.photo, before, image))

    def _zoomed(self, images: Tensor) -> Tensor:
        return figures.zoomed(images, self.config.zoom)

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
        if path not in self.made:  # edits that were limited to the same amount are the same
            self.made.append(path)


def _times(edit: Mapping[str, float], factor: float) -> dict[str, float]:
    """Multiplies all amounts of an edit."""
    return {name: amount * factor + 0.0 for name, amount in edit.items()}  # no -0


def _said(edit: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {amount:+g}" for name, amount in edit.items())


def name_of_edit(edit: Mapping[str, float]) -> str:
    """Returns the part of a file name that identifies an edit."""
    return "_".join(f"{file_name(name)}{amount:+g}" for name, amount in edit.items())[:80]


def _name_of_all(kind: str, names: Sequence[str], amounts: Sequence[float]) -> str:
    """Returns the part of a file name that identifies the edits of a sweep or grid."""
    return f"{kind}_{'_'.join(map(file_name, names))[:60]}_{amounts[0]:+g}to{amounts[-1]:+g}"
