"""The functions of the demo page, without the page: from choices to pictures.

A :class:`Studio` is shared by all users of the page. Each user has a :class:`Subject`, the picture to edit, and
:class:`Moves`, its edits. None of the three ever changes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path, PurePath
from typing import NamedTuple, cast

import torch
from PIL import Image
from torch import Tensor

from glow_app.commands.common import file_name
from glow_app.commands.photos import Photo, unlike
from glow_app.data.alignment import Eyes, of_eyes, paste, take
from glow_app.data.image import Channels, CorruptImage, open_image
from glow_app.data.landmarks import Face, find_faces
from glow_app.data.picture import fitted, placement_of
from glow_app.data.source import ImageSource
from glow_app.errors import UserError
from glow_app.evaluation.limits import Limits
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


INTERVALS = 64
"""Intervals of amounts that are remembered: while a slider is dragged, the same is asked for again and again."""

FIND_THE_FACE = "Find the face"
"""The control that aligns a photo."""


class Upload(NamedTuple):
    """A photo that a user opened.

    Attributes:
        content: its encoded bytes.
        photo: its name, and where the picture lies in it.
    """

    content: bytes
    photo: Photo


@dataclass(frozen=True, eq=False)
class Subject:
    """A picture that the user chose.

    Attributes:
        name: display name.
        key: beginning of the names of files, as ``glow-edit`` names a picture.
        latents: finest first, each (1, C, H, W); for a sample, those at temperature 1.
        pixels: uint8 (C, H, W), unedited.
        label: class, for a conditional model.
        temperature: initial temperature.
        upload: the photo that it was taken from, if any.
        notes: what there is to say about it.
    """

    name: str
    key: str
    latents: tuple[Tensor, ...]
    pixels: Tensor
    label: int | None
    temperature: float
    upload: Upload | None = None
    notes: tuple[str, ...] = ()


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
        seed: seed of samples, and of the noise of bits per dimension.
        eyes: where the eyes are in the training images; by default what the model's card says.

    Attributes:
        attributes: names of the attributes, the strongest first.
    """

    def __init__(
        self,
        model: Model,
        directions: Directions | None,
        source: ImageSource | None,
        seed: int,
        eyes: Eyes | None = None,
    ) -> None:
        self.model = model
        self.directions = directions
        self.source = source
        self.seed = seed
        self.eyes = eyes or model.card.eyes
        self.attributes: tuple[str, ...] = ()
        if directions is not None:
            directions.require(model.digest)
            order = strengths(directions).argsort(descending=True, stable=True)
            self.attributes = tuple(directions.names[i] for i in order)
        self._interval = lru_cache(maxsize=INTERVALS)(self._find_interval)

    def sampled(self, number: int, label: int | None = None) -> Subject:
        """Draws the sample of this number, up to rounding the one of ``glow-sample first=number``."""
        if self.model.flow.n_classes and label is None:
            label = number % self.model.flow.n_classes
        latents = self.model.flow.sample_latents(1, 1.0, self.seed, number)
        pixels = self.model.decode(tempered(latents, SAMPLED_AT), label)[0].cpu()
        return Subject(f"sample {number:,}", f"sample_{number}", tuple(latents), pixels, label, SAMPLED_AT)

    def gallery(self, n: int) -> list[Subject]:
        """Draws the first ``n`` samples that are finite.

        Raises:
            UserError: too few of the first ``10 n`` are.
        """
        drawn: list[Subject] = []
        for number in range(10 * n):
            try:
                drawn.append(self.sampled(number))
            except UserError:  # not finite
                continue
            if len(drawn) == n:
                return drawn
        raise UserError(f"of the first {10 * n} samples of this model only {len(drawn)} are finite: train it further")

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
        split = self.source.split
        return self._subject(f"{split} image {index:,}", f"{split}_{index}", self.source[index], label)

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
        image = self._photo(content, name)
        placement = placement_of(image.size, self.model.image_shape, self.model.card.data)
        pixels = fitted(image, self.model.image_shape, self.model.card.data)
        return self._of_photo(Upload(content, Photo(Path(name), placement, aligned=False)), pixels, label)

    def faces(self, subject: Subject) -> list[tuple[Face, Image.Image]]:
        """Finds the faces in the photo that a subject was taken from, from left to right, and cuts each out.

        Raises:
            UserError: it is not from a photo, no face is in it, or the extra ``align`` is missing.
        """
        if subject.upload is None:
            raise UserError("only in a photo that was opened can a face be found")
        image = self._photo(*subject.upload)
        faces = find_faces(image)
        if not faces:
            name = subject.upload.photo.path
            raise UserError(f"{name}: no face is found; choose a photo that shows one from the front, or crop it")
        return [(face, image.crop(face.box)) for face in faces]

    def aligned(self, subject: Subject, face: Face) -> Subject:
        """Takes the picture from its photo anew, so that the eyes of a face are where those of the training images are.

        Raises:
            UserError: it is not from a photo, or the model does not know where the eyes belong.
        """
        if subject.upload is None or self.eyes is None:
            raise UserError("only the face in a photo can be found, for a model that knows where the eyes belong")
        content, photo = subject.upload
        _, height, width = self.model.image_shape
        placement = of_eyes(face.eyes, self.eyes, height, width)
        pixels = take(self._photo(content, photo), placement, height, width)
        return self._of_photo(Upload(content, Photo(photo.path, placement, aligned=True)), pixels, subject.label)

    def pasted(self, subject: Subject, moves: Moves) -> Image.Image:
        """Returns the photo that a subject was taken from, at its own size, with the edits in it.

        Raises:
            UserError: it is not from a photo, or the edit is refused as by :meth:`after`.
        """
        if subject.upload is None:
            raise UserError("only into a photo that was opened can an edit be pasted back")
        content, photo = subject.upload
        change = self.after(subject, moves).to(torch.float32) - subject.pixels.to(torch.float32)
        return paste(self._photo(content, photo, 3), change, photo.placement)

    def _photo(self, content: bytes, photo: Photo | str, channels: int | None = None) -> Image.Image:
        name = photo if isinstance(photo, str) else str(photo.path)
        try:
            return open_image(content, cast(Channels, channels or self.model.image_shape[0]), name)
        except CorruptImage as error:
            raise UserError(f"{error.name}: {error.found}") from error

    def _of_photo(self, upload: Upload, pixels: Tensor, label: int | None) -> Subject:
        path = upload.photo.path
        subject = self._subject(path.name, file_name(path.stem), pixels, label)
        labels = None if subject.label is None else torch.tensor([subject.label])
        advice = f"press “{FIND_THE_FACE}”"
        notes = unlike(self.model, [upload.photo], pixels[None], labels, self.seed, advice)
        return replace(subject, upload=upload, notes=tuple(notes))

    def _subject(self, name: str, key: str, pixels: Tensor, label: int | None) -> Subject:
        label = label if self.model.flow.n_classes else None
        latents = self.model.encode(pixels, label)
        reconstructed = self.model.decode(latents, label)[0].cpu()
        if not torch.equal(reconstructed, seen(pixels, self.model.n_bits)):
            name += " (not reconstructed exactly)"
        return Subject(name, key, tuple(latents), reconstructed, label, 1.0)

    def after(self, subject: Subject, moves: Moves) -> Tensor:
        """Returns the edited subject, uint8 (C, H, W).

        Raises:
            UserError: the image is not finite, or the other picture is of another class.
        """
        return self._decode(self._moved(subject, moves), subject)[0]

    def limited(self, subject: Subject, moves: Moves, before: Moves) -> Moves:
        """Returns the moves, the attribute that has changed no further than the picture stays natural.

        The others stay as they are; see :class:`glow_app.evaluation.limits.Limits`. Nothing is limited on its way to 0.

        Args:
            subject: the picture.
            moves: the moves that are asked for.
            before: those that are shown.
        """
        changed = [name for name, amount in moves.amounts.items() if amount != before.amounts.get(name, 0)]
        if self.directions is None or len(changed) != 1:
            return moves
        name, amount = changed[0], moves.amounts[changed[0]]
        if abs(amount) < abs(before.amounts.get(name, 0)) and amount * before.amounts.get(name, 0) >= 0:
            return moves
        others = tuple((key, value) for key, value in moves.amounts.items() if key != name and value)
        low, high = self._interval(subject, moves.temperature, name, others)
        return replace(moves, amounts={**moves.amounts, name: min(max(amount, low), high)})

    def _find_interval(
        self, subject: Subject, temperature: float, name: str, others: tuple[tuple[str, float], ...]
    ) -> tuple[float, float]:
        assert self.directions is not None
        latents = tempered(subject.latents, temperature)
        return Limits(self.model, self.directions, latents, subject.label, self.seed).interval(name, dict(others))

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
