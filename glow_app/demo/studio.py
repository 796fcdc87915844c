"""The functions of the demo page, without the page: from choices to pictures.

A :class:`Studio` is shared by all users of the page. Each user has a :class:`Subject`, the picture to edit, and
:class:`Moves`, its edits. None of the three ever changes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import cast

import torch
from torch import Tensor

from glow_app.data.image import Channels, CorruptImage, open_image
from glow_app.data.picture import fitted
from glow_app.data.source import ImageSource
from glow_app.errors import UserError
from glow_app.latents.directions import Directions
from glow_app.latents.interpolation import between
from glow_app.latents.strength import strengths
from glow_app.latents.tempering import built_up, tempered
from glow_app.likelihood import seen
from glow_app.model import Model

SAMPLED_AT = 0.7
"""Temperature of new samples."""

FILM_STEPS = 16
"""Frames of an animation, one way."""

BLEND_STEPS = 21
"""Positions between two pictures: 0, 0.05, ..., 1."""


@dataclass(frozen=True)
class Subject:
    """A picture that the user chose.

    Attributes:
        name: display name.
        latents: finest first, each (1, C, H, W); for a sample, those at temperature 1.
        pixels: uint8 (C, H, W), unedited.
        label: class, for a conditional model.
        temperature: initial temperature.
    """

    name: str
    latents: tuple[Tensor, ...]
    pixels: Tensor
    label: int | None
    temperature: float


@dataclass(frozen=True)
class Moves:
    """The edits of a subject, in this order.

    Attributes:
        temperature: factor of the latents.
        amounts: attribute -> amount.
        other: picture to interpolate to.
        position: position on the way to it, in [0, 1], in steps of ``1 / (BLEND_STEPS - 1)``.
        path: ``linear`` or ``spherical``.
    """

    temperature: float
    amounts: Mapping[str, float] = field(default_factory=dict)
    other: Subject | None = None
    position: float = 0.0
    path: str = "linear"


class Studio:
    """Opens pictures, edits them, and draws new ones, with one model.

    Args:
        model: the model.
        directions: its attribute vectors, if any.
        source: images of its data set; None if they are not available.
        seed: seed of samples and of the dequantization noise.

    Attributes:
        attributes: names of the attributes, the strongest first.
    """

    def __init__(self, model: Model, directions: Directions | None, source: ImageSource | None, seed: int) -> None:
        self.model = model
        self.directions = directions
        self.source = source
        self.seed = seed
        self.attributes: tuple[str, ...] = ()
        if directions is not None:
            directions.require(model.digest)
            order = strengths(directions).argsort(descending=True, stable=True)
            self.attributes = tuple(directions.names[i] for i in order)

    def sampled(self, number: int, label: int | None = None) -> Subject:
        """Draws the sample of this number, up to rounding the one of ``glow-sample first=number``."""
        if self.model.flow.n_classes and label is None:
            label = number % self.model.flow.n_classes
        latents = self.model.flow.sample_latents(1, 1.0, self.seed, number)
        pixels = self.model.decode(tempered(latents, SAMPLED_AT), label)[0].cpu()
        return Subject(f"sample {number:,}", tuple(latents), pixels, label, SAMPLED_AT)

    def of_data_set(self, index: int) -> Subject:
        """Returns an image of the data set.

        Raises:
            UserError: there is no image of this number, or its file is damaged.
        """
        if self.source is None:
            raise UserError("the data set of this model is not on this machine")
        if not 0 <= index < len(self.source):
            raise UserError(f"image {index}: {self.source.name} {self.source.split} has 0 to {len(self.source) - 1}")
        label = None if self.source.classes is None else int(self.source.classes[index])
        return self._subject(f"{self.source.split} image {index:,}", self.source[index], index, label)

    def opened(self, content: bytes, name: str, label: int | None = None) -> Subject:
        """Opens an uploaded picture as :func:`glow_app.data.picture.open_picture` opens files.

        Args:
            content: encoded bytes.
            name: name of the file.
            label: class, for a conditional model.

        Raises:
            UserError: it is not an image, or too large.
        """
        name = PurePath(name).name[-60:]
        try:
            image = open_image(content, cast(Channels, self.model.image_shape[0]), name)
        except CorruptImage as error:
            raise UserError(f"{error.name}: {error.found}") from error
        return self._subject(name, fitted(image, self.model.image_shape, self.model.card.data), 0, label)

    def _subject(self, name: str, pixels: Tensor, position: int, label: int | None) -> Subject:
        label = label if self.model.flow.n_classes else None
        latents = self.model.encode(pixels, label, self.seed, torch.tensor([position]))
        reconstructed = self.model.decode(latents, label)[0].cpu()
        if not torch.equal(reconstructed, seen(pixels, self.model.n_bits)):
            name += " (not reconstructed exactly)"
        return Subject(name, tuple(latents), reconstructed, label, 1.0)

    def after(self, subject: Subject, moves: Moves) -> Tensor:
        """Returns the edited subject, uint8 (C, H, W).

        Raises:
            UserError: the image is not finite, or the other picture is of another class.
        """
        return self._decode(self._moved(subject, moves), subject)[0]

    def built_up(self, subject: Subject, moves: Moves) -> Tensor:
        """Builds :meth:`after` up from its coarsest latents, level by level: uint8 (L, C, H, W)."""
        return self._decode(built_up(self._moved(subject, moves)), subject)

    def film(self, subject: Subject, moves: Moves) -> Tensor:
        """Interpolates from the unedited subject to :meth:`after`: uint8 (FILM_STEPS, C, H, W)."""
        start = tempered(subject.latents, subject.temperature)
        return self._decode(between(start, self._moved(subject, moves), FILM_STEPS, moves.path), subject)

    def _moved(self, subject: Subject, moves: Moves) -> Sequence[Tensor]:
        latents = tempered(subject.latents, moves.temperature)
        if self.directions is not None:
            amounts = {name: amount for name, amount in moves.amounts.items() if amount}
            latents = self.directions.edit(latents, amounts)
        if moves.other is None or not moves.position:
            return latents
        if moves.other.label != subject.label:
            raise UserError("the two pictures are of different classes, and the model decodes one at a time")
        end = tempered(moves.other.latents, moves.other.temperature)
        frame = round(moves.position * (BLEND_STEPS - 1))
        return [z[frame : frame + 1] for z in between(latents, end, BLEND_STEPS, moves.path)]

    def _decode(self, latents: Sequence[Tensor], subject: Subject) -> Tensor:
        return self.model.decode(latents, subject.label).cpu()
