"""Measures how far to move along a direction until images change as much as the two classes differ.

A step as long as the distance between the class means in the latents changes images by less than the classes differ: a
smile changes each face differently, and the means hold only what these changes share. How much less depends on the
attribute and the method. The authors' demo multiplies all its directions by 1.6; here the factor is measured with a
small classifier of images, the reader.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import isfinite

import torch
from torch import Tensor

from glow_app.data.source import ImageSource
from glow_app.evaluation.edits import decode
from glow_app.evaluation.judge import BATCH, Judge, Lessons, train
from glow_app.latents.directions import Directions
from glow_app.model import Model

GAINS = torch.linspace(0.5, 2.0, 16).tolist()
"""Gains that are tried. Larger ones leave the distribution that the model has learned."""

REACHED = 0.95
"""Fraction of the distance that counts as reached: the reader's probabilities approach 0 and 1 only slowly."""

LEARNED = 0.8
"""Fraction of the images that the reader learns from; the gains are measured on the others."""

N_IMAGES = 32
"""Images with an attribute, and as many without, on which its gain is measured."""


def calibrated(
    methods: Sequence[Directions],
    model: Model,
    source: ImageSource,
    indices: range,
    n_examples: int,
    seed: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Directions] | None:
    """Sets gains so that amount 1 covers the distance between the class means, as a reader measures it.

    The reader is a :class:`~glow_app.evaluation.judge.Judge`. Let r be its mean probability of an attribute over images
    without it, and s over images with it. Adding moves the first by ``(mean(edited) - r) / (s - r)`` distances, and
    removing moves the others likewise. Each gain is the smallest at which the mean of the two is ``REACHED``, or the
    one that comes nearest. All methods share this measure, so equal amounts have equal effects.

    Args:
        methods: directions of the same attributes by several methods, all gains 1.
        model: the model of the directions.
        source: labelled images.
        indices: indices of the images to use.
        n_examples: training examples of the reader.
        seed: seed of the reader.
        progress: called with (done, total).

    Returns:
        the directions, with the fraction of the distance that amount 1 covers, for adding and for removing, in their
        metadata under ``reached``; None if there are too few images to learn from.
    """
    names = methods[0].names
    n_learned = int(LEARNED * len(indices))
    if n_learned < BATCH:
        return None
    assert source.attributes is not None, "a reader learns attributes"
    lessons = Lessons(source, indices.start, n_learned, (), torch.zeros(len(source), 0))
    reader = train(lessons, n_examples, seed, model.device, lambda done, total: progress(done, 2 * total))
    held_out = indices[n_learned:]
    gains = {one.method: torch.ones(len(names), dtype=torch.float64) for one in methods}
    reached: dict[str, dict[str, tuple[float | None, float | None]]] = {one.method: {} for one in methods}
    for row, name in enumerate(names):
        column = source.attribute_names.index(name)
        has = source.attributes[held_out.start : held_out.stop, column] == 1
        absent, present = (
            _Side(model, reader, source, _evenly_spaced(held_out, chosen), column) for chosen in (~has, has)
        )
        for one in methods:
            gains[one.method][row], reached[one.method][name] = _gain(one, name, absent, present)
        progress(n_examples + (row + 1) * n_examples // len(names), 2 * n_examples)
    return [replace(one, gains=gains[one.method], metadata={**one.metadata, "reached": reached}) for one in methods]


def _evenly_spaced(indices: range, chosen: Tensor) -> list[int]:
    """Up to ``N_IMAGES`` of the chosen indices, evenly spaced."""
    among = chosen.nonzero().flatten()
    return [indices[int(among[i])] for i in torch.linspace(0, len(among) - 1, min(N_IMAGES, len(among))).long()]


def _gain(
    one: Directions, name: str, absent: "_Side", present: "_Side"
) -> tuple[float, tuple[float | None, float | None]]:
    """Returns the gain of an attribute, and the fractions of the way that it covers by adding and by removing.

    Returns 1 and None if images of one side are missing, if the reader does not tell the sides apart, or if no gain
    leaves finite images.
    """
    if not present.reading > absent.reading:
        return 1.0, (None, None)
    covered: dict[float, tuple[float, float]] = {}
    for gain in GAINS:
        added = absent.covered(one, name, gain, present.reading)
        removed = present.covered(one, name, -gain, absent.reading)
        if isfinite(added + removed):
            covered[gain] = added, removed
        if (added + removed) / 2 >= REACHED:
            return gain, covered[gain]
    if not covered:
        return 1.0, (None, None)
    nearest = max(covered, key=lambda gain: sum(covered[gain]))
    return nearest, covered[nearest]


class _Side:
    """Images of one class, and a reader's predictions for them, before and after an edit.

    Args:
        model: the model that edits.
        reader: classifier of the attributes.
        source: source of the images.
        indices: indices of the images.
        column: number of the attribute.
    """

    def __init__(self, model: Model, reader: Judge, source: ImageSource, indices: list[int], column: int) -> None:
        self.model = model
        self.reader = reader
        self.column = column
        self.reading = float("nan")  # without images
        if indices:
            labelled = model.flow.n_classes and source.classes is not None
            self.labels = source.classes[indices].to(model.device) if labelled and source.classes is not None else None
            self.latents = model.encode(source.fetch(indices), self.labels)
            self.reading = self._read(self.latents)

    def covered(self, one: Directions, name: str, amount: float, other: float) -> float:
        """Returns the fraction of the way to the reading of the other side that an edit by ``amount`` covers.

        NaN if no edited image is finite.
        """
        reading = self._read(one.edit(self.latents, {name: amount}))
        return (reading - self.reading) / (other - self.reading)

    @torch.no_grad()
    def _read(self, latents: Sequence[Tensor]) -> float:
        images, finite = decode(self.model, latents, self.labels)
        probabilities = self.reader(images[finite]).logits[:, self.column].sigmoid()
        return probabilities.mean().item() if finite.any() else float("nan")
