"""Ways to change an attribute of images by a signed amount: along directions of the latents, or in the pixels alone."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from glow_app.data.source import ImageSource
from glow_app.evaluation.edits import decode
from glow_app.latents.directions import Directions
from glow_app.likelihood import seen
from glow_app.model import Model


class Encoded(NamedTuple):
    """Images and what a model makes of them.

    Attributes:
        images: uint8 (B, C, H, W).
        latents: finest first, each (B, C, H, W).
        labels: classes of the images, for a conditional model.
    """

    images: Tensor
    latents: list[Tensor]
    labels: Tensor | None


Editor = Callable[[Encoded, str, Tensor], tuple[Tensor, Tensor]]
"""Images, attribute, amounts float64 (B,) -> edited images, uint8 (B, C, H, W), and whether each is finite, (B,)."""


def along(model: Model, directions: Directions) -> Editor:
    """Returns the editor that moves latents along directions."""

    def edit(encoded: Encoded, name: str, amounts: Tensor) -> tuple[Tensor, Tensor]:
        return decode(model, directions.edit(encoded.latents, {name: amounts}), encoded.labels)

    return edit


def random_directions(directions: Directions, seed: int) -> Directions:
    """Returns directions drawn at random, each as long as the one that it replaces.

    The distances between the means of the classes are replaced with them: no measure belongs to such directions.
    """
    drawn = torch.randn(directions.units.shape, generator=torch.Generator().manual_seed(seed))
    units = drawn / drawn.norm(dim=1, keepdim=True)
    lengths = directions.vectors.norm(dim=1, keepdim=True)
    return replace(directions, units=units, without=torch.zeros_like(units), with_it=lengths * units)


def exchanged_directions(directions: Directions) -> Directions:
    """Returns directions in which each attribute has the next one's, made as long as its own; the last has the first's.

    The distances between the means of the classes are replaced with them, as in :func:`random_directions`.
    """
    units = directions.units.roll(-1, 0)
    lengths = directions.vectors.norm(dim=1, keepdim=True)
    return replace(directions, units=units, without=torch.zeros_like(units), with_it=lengths * units)


def pixel_differences(source: ImageSource, indices: range, names: Sequence[str], batch_size: int) -> Tensor:
    """Computes the mean image with each attribute minus that without it, in grey levels: float64 (A, C, H, W).

    Args:
        source: labelled images.
        indices: indices of the images to use.
        names: attributes.
        batch_size: images read at once.
    """
    assert source.attributes is not None, "labels tell the classes apart"
    columns = [source.attribute_names.index(name) for name in names]
    has = source.attributes[indices.start : indices.stop, columns].double()
    weights = has / has.sum(0) - (1 - has) / (1 - has).sum(0)
    total = torch.zeros(len(names), *source.image_shape, dtype=torch.float64)
    for first in range(0, len(indices), batch_size):
        some = indices[first : first + batch_size]
        pixels = source.fetch(list(some)).double()
        total += torch.einsum("na,nchw->achw", weights[first : first + len(some)], pixels)
    return total


def in_pixels(model: Model, names: Sequence[str], differences: Tensor, gains: Tensor) -> Editor:
    """Returns the editor that adds mean pixel differences: ``image + amount * gain * difference``, no model involved.

    Args:
        model: tells how many grey levels images have.
        names: attributes.
        differences: from :func:`pixel_differences`.
        gains: (A,), one for each attribute.
    """

    def edit(encoded: Encoded, name: str, amounts: Tensor) -> tuple[Tensor, Tensor]:
        row = names.index(name)
        change = (amounts * gains[row]).to(differences)[:, None, None, None] * differences[row]
        moved = (encoded.images.cpu().double() + change).round().clamp(0, 255).to(torch.uint8).to(encoded.images.device)
        return seen(moved, model.n_bits), torch.ones(len(moved), dtype=torch.bool, device=moved.device)

    return edit
