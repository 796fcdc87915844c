"""How far to go along a direction until the images have changed as much as the two classes differ.

A step of the length of the class means' distance in the latents changes what one sees by less: what a smile changes in
one face is mostly different from what it changes in another, and the mean knows only what they share. By how much less
depends on the attribute and on the method. The authors' demo multiplies all its directions by 1.6; here the factor is
measured, with a small classifier that reads the images.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from glow_app.data.source import ImageSource
from glow_app.evaluation.edits import decode
from glow_app.evaluation.judge import BATCH, Judge, Lessons, train
from glow_app.latents.directions import Directions
from glow_app.model import Model

GAINS = torch.linspace(0.5, 2.0, 16).tolist()
"""What is tried, and no more: further out a model no longer knows what it draws."""

REACHED = 0.95
"""Part of the distance that counts as reached: the reader's probabilities approach their ends without end."""

LEARNED = 0.8
"""Part of the images that the reader learns from; the gains are measured on the others."""

N_IMAGES = 32
"""Images with each attribute, and as many without, on which a gain is measured."""


def calibrated(
    methods: Sequence[Directions],
    model: Model,
    source: ImageSource,
    indices: range,
    n_examples: int,
    seed: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Directions] | None:
    """Directions with the gains at which amount 1 is the distance between the class means in the eyes of a reader.

    The reader is a :class:`~glow_app.evaluation.judge.Judge`. With r the mean probability that it gives an attribute in
    images without it, and s in those with it, adding moves the first by ``(mean(edited) - r) / (s - r)`` distances, and
    removing moves the others likewise. Each has as its gain the smallest with which the distance is ``REACHED``, or the
    one that comes nearest. It is the same measure for all methods, so that their amounts do the same.

    Args:
        methods: directions of the same attributes by several methods, all gains 1.
        model: whose directions they are.
        source: labelled images.
        indices: which of them may be used.
        n_examples: images that the reader sees while it learns.
        seed: of the reader and of the dequantization noise.
        progress: told (done, in all) of the work.

    Returns:
        the directions, whose metadata says under ``reached`` which part of the distance amount 1 goes, for adding and
        for removing; None if there are too few images to learn from.
    """
    names = methods[0].names
    n_learned = int(LEARNED * len(indices))
    if n_learned < BATCH:
        return None
    assert source.attributes is not None, "a reader learns attributes"
    lessons = Lessons(source, indices.start, n_learned, (), torch.zeros(len(source), 0))
    reader = train(lessons, n_examples, seed, model.device, lambda done, total: progress(done, 2 * total))
    held_out = indices[n_learned:]
    gains = {one.method: torch.ones(len(names), 2, dtype=torch.float64) for one in methods}
    reached: dict[str, dict[str, tuple[float | None, float | None]]] = {one.method: {} for one in methods}
    for row, name in enumerate(names):
        column = source.attribute_names.index(name)
        has = source.attributes[held_out.start : held_out.stop, column] == 1
        absent, present = (
            _Side(model, reader, source, _some(held_out, chosen), column, seed) for chosen in (~has, has)
        )
        for one in methods:
            adding, added = absent.gain(one, name, 1.0, present.reading)
            removing, removed = present.gain(one, name, -1.0, absent.reading)
            gains[one.method][row] = torch.tensor([adding, removing])
            reached[one.method][name] = (added, removed)
        progress(n_examples + (row + 1) * n_examples // len(names), 2 * n_examples)
    return [replace(one, gains=gains[one.method], metadata={**one.metadata, "reached": reached}) for one in methods]


def _some(indices: range, chosen: Tensor) -> list[int]:
    """``N_IMAGES`` of the chosen indices, from all over."""
    among = chosen.nonzero().flatten()
    return [indices[int(among[i])] for i in torch.linspace(0, len(among) - 1, min(N_IMAGES, len(among))).long()]


class _Side:
    """Images of one class, and what a reader says of them, before and after an edit.

    Args:
        model: that edits.
        reader: that says how much of an attribute it sees.
        source: of the images.
        indices: which.
        column: number of the attribute.
        seed: of the dequantization noise.
    """

    def __init__(
        self, model: Model, reader: Judge, source: ImageSource, indices: list[int], column: int, seed: int
    ) -> None:
        self.model = model
        self.reader = reader
        self.column = column
        self.reading = float("nan")  # of no images
        if indices:
            labelled = model.flow.n_classes and source.classes is not None
            self.labels = source.classes[indices].to(model.device) if labelled and source.classes is not None else None
            self.latents = model.encode(source.fetch(indices), self.labels, seed, torch.tensor(indices))
            self.reading = self._read(self.latents)

    def gain(self, one: Directions, name: str, sign: float, other: float) -> tuple[float, float | None]:
        """By how much to multiply steps in the direction of ``sign`` to come to the reading of the other side.

        With it comes the part of the way that it goes. A gain of 1, and None, where nothing can be said: images of one
        side are missing, or the reader does not tell the sides apart.
        """
        distance = sign * (other - self.reading)
        if not distance > 0:
            return 1.0, None
        moved: dict[float, float] = {}
        for gain in GAINS:
            reading = self._read(one.edit(self.latents, {name: sign * gain}))
            moved[gain] = sign * (reading - self.reading) / distance
            if moved[gain] >= REACHED:
                return gain, moved[gain]
        nearest = max(moved, key=moved.__getitem__)
        return nearest, moved[nearest]

    @torch.no_grad()
    def _read(self, latents: Sequence[Tensor]) -> float:
        images, finite = decode(self.model, latents, self.labels)
        probabilities = self.reader(images[finite]).logits[:, self.column].sigmoid()
        return probabilities.mean().item() if finite.any() else float("nan")
