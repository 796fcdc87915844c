"""Interpolation grids while a model trains: between two validation images, and along the direction of an attribute."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import pytorch_lightning as pl
import torch
from rich.console import Console
from torch import Tensor

from glow_app import figures
from glow_app.data.source import ImageSource
from glow_app.data.stream import Batch, InOrder
from glow_app.latents.direction_methods import FEWEST, from_moments
from glow_app.latents.directions import Directions
from glow_app.latents.interpolation import between
from glow_app.latents.moments import Moments
from glow_app.likelihood import dequantize_midpoints, quantize
from glow_app.runtime.console import say
from glow_app.training.module import GlowModule
from glow_app.training.pictures.picture_writer import Pictures, PictureWriter

STEPS = 9
"""Number of images in an interpolation, both ends included."""

N_FACES = 4
"""Number of images that are edited."""

AMOUNTS = (-1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5)

N_ENCODED = 512
"""Number of training images, spread over the split, that estimate a direction: roughly, within seconds."""

SHOWN_FIRST = "Smiling"


class InterpolationGrids(Pictures):
    """Draws ``samples/step_*_interpolation.png`` and, for data with attributes, ``samples/step_*_edit_<name>.png``.

    The images are always the same, and the noise is a function of the seed: the same grids improve over time, and a
    resumed run draws what the uninterrupted one would have drawn. The direction is the difference of the means of
    ``N_ENCODED`` training images with and without the attribute; unlike in glow-directions, it is not measured in
    images.

    Args:
        writer: picture writer of the run.
        every: steps between two grids; the last step is always drawn.
        train: training images.
        val: validation images.
        batch_size: number of images that are encoded together.
        weights: returns a context in which the flow has the weights to draw with.
        console: where to report a grid that is not finite and so not drawn.
    """

    def __init__(
        self,
        writer: PictureWriter,
        every: int,
        train: ImageSource,
        val: ImageSource,
        batch_size: int,
        weights: Callable[[], AbstractContextManager[None]],
        console: Console,
    ) -> None:
        super().__init__()
        self.writer = writer
        self.every = every
        self.train = train
        self.val = val
        self.batch_size = batch_size
        self.weights = weights
        self.console = console
        known = torch.arange(len(train)) if train.labelled is None else train.labelled.nonzero().flatten()
        self.chosen = known[torch.linspace(0, len(known) - 1, min(N_ENCODED, len(known))).long()].tolist()
        self.attribute = shown_attribute(train, self.chosen)

    @torch.no_grad()
    def draw_all(self, trainer: pl.Trainer, module: GlowModule, step: int) -> None:
        # Batch sizes differ from those in training: each would be compiled again.
        with self.weights(), module.float32_evaluation(), torch.compiler.set_stance("force_eager"):
            self._interpolation(module, trainer, step)
            if self.attribute is not None:
                self._edit(module, trainer, step, self.attribute)

    def _interpolation(self, module: GlowModule, trainer: pl.Trainer, step: int) -> None:
        ends = _pair(self.val)
        if ends is None:
            return
        images = self._images(self.val, module, ends)
        latents = self._encode(module, images)
        moved = between([z[:1] for z in latents], [z[1:] for z in latents], STEPS, "linear")
        decoded = self._decode(module, moved, images.labels)
        name, caption = "val_{}-val_{}".format(*ends), "from one validation image to another"
        self._draw(trainer, decoded, "interpolation", name, caption, step, [])

    def _edit(self, module: GlowModule, trainer: pl.Trainer, step: int, name: str) -> None:
        images = self._images(self.val, module, list(range(min(N_FACES, len(self.val)))))
        latents = self._encode(module, images)
        direction = self._direction(module, name)
        amounts = torch.tensor(AMOUNTS)
        rows: list[Tensor] = []
        for number in range(len(images.images)):
            same = [z[number : number + 1].expand(len(AMOUNTS), -1, -1, -1) for z in latents]
            moved = direction.edit(same, {name: amounts})
            labels = None if images.labels is None else images.labels[number : number + 1]
            rows.append(self._decode(module, moved, labels))
        caption = f"{name}, {AMOUNTS[0]:+g} to {AMOUNTS[-1]:+g}"
        self._draw(trainer, torch.cat(rows), "edit", name, caption, step, [f"{amount:+g}" for amount in AMOUNTS])

    def _direction(self, module: GlowModule, name: str) -> Directions:
        """The direction from the mean latents of training images without the attribute to those with it."""
        assert self.train.attributes is not None
        column = self.train.attribute_names.index(name)
        shapes = module.flow.latent_shapes
        moments = Moments(shapes, 1, module.device, covariance=False)
        for start in range(0, len(self.chosen), self.batch_size):
            part = self.chosen[start : start + self.batch_size]
            latents = self._encode(module, self._images(self.train, module, part))
            moments.update(latents, self.train.attributes[part, column, None])
        made, _ = from_moments(moments, [name], shapes, model="", metadata={}, shrinkage=None)
        return next(one for one in made if one.method == "mean_difference")

    def _images(self, source: ImageSource, module: GlowModule, indices: list[int]) -> Batch:
        batch = InOrder(source, module.seed).__getitems__(indices)
        labels = module.cond(batch.labels)
        return Batch(
            batch.images.to(module.device),
            batch.positions.to(module.device),
            None if labels is None else labels.to(module.device),
        )

    def _encode(self, module: GlowModule, batch: Batch) -> list[Tensor]:
        x = dequantize_midpoints(batch.images, module.n_bits, next(module.parameters()).dtype)
        return module.flow(x, batch.labels)[0]

    def _decode(self, module: GlowModule, latents: Sequence[Tensor], labels: Tensor | None) -> Tensor:
        """Decodes one row of a grid, whose images all have the first label, to ``x``."""
        cond = None if labels is None else labels[:1].expand(len(latents[0]))
        return module.flow.inverse(list(latents), cond)

    def _draw(
        self, trainer: pl.Trainer, x: Tensor, what: str, name: str, caption: str, step: int, labels: list[str]
    ) -> None:
        """Writes a picture; only prints a line if it is not finite, as early in training."""
        if not torch.isfinite(x).all():
            say(self.console, f"step {step:>7,}   {what} {name} is not finite: not drawn")
            return
        assert isinstance(trainer.lightning_module, GlowModule)
        images = quantize(x, trainer.lightning_module.n_bits)
        grid = figures.grid(images, len(labels) or STEPS, column_labels=labels)
        suffix = what if what == "interpolation" else f"{what}_{name}"
        self.writer.write(grid, step, suffix, trainer.loggers, f"{what}/{name}", caption)


def shown_attribute(source: ImageSource, indices: list[int]) -> str | None:
    """``SHOWN_FIRST`` if enough images have it and enough have not, else the first such attribute; None without one."""
    if source.attributes is None:
        return None
    count = (source.attributes[indices] == 1).sum(0).tolist()
    enough = [
        name for name, n in zip(source.attribute_names, count, strict=True) if FEWEST <= n <= len(indices) - FEWEST
    ]
    return SHOWN_FIRST if SHOWN_FIRST in enough else next(iter(enough), None)


def _pair(source: ImageSource) -> list[int] | None:
    """The indices of the first image and the next one of its class; None if there is no other."""
    labels = torch.zeros(len(source)) if source.classes is None else source.classes
    others = (labels[1:] == labels[0]).nonzero().flatten()
    return [0, 1 + int(others[0])] if len(others) else None
