"""Finds how far an edit can go before its picture is no longer one that the model knows.

Far from the images that a model knows its inverse first makes pictures that no data set has, and then numbers that are
not finite. Both show in the bits per dimension of the picture that comes out, encoded anew.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from math import ceil, copysign, isfinite
from typing import NamedTuple

import torch
from torch import Tensor

from glow_app.artifacts.card import Card
from glow_app.evaluation.edits import decode
from glow_app.latents.directions import Directions
from glow_app.likelihood import bits_per_dim, dequantization_noise, log_prob
from glow_app.model import Model

DEVIATIONS, DEVIATION = 3, 0.35
"""A picture is unlike the training images if its bits/dim are this many standard deviations above their mean.

The second is the standard deviation, in bits/dim, that is assumed where the model's card does not tell it.
"""

ALLOWANCE = 0.25
"""Bits/dim by which an edit may raise those of a picture, whatever these are.

Rounding to pixels alone raises them by 0.07, and most edits by 1 of ``faces64`` by up to 0.23, on test images and on
photos unlike them; where pictures break down they rise by 0.5 and more within half an amount. It is also about
``DEVIATIONS`` standard deviations of that model's test images.
"""

FURTHEST = 2.0
"""Largest amount of any attribute: no edit is tried that goes further."""

STEPS = (0.5, 0.05)
"""Distances of the amounts that are tried, first from 0 on, then between the last natural one and the next."""

BATCH = 16
"""Images that are decoded together."""

_SPLITS = (("val", "validation"), ("test", "test"))


class Usual(NamedTuple):
    """Bits/dim of the images that a model knows, as on its card.

    Attributes:
        images: ``validation``, or ``test`` if there were no validation images.
        mean: their mean bits/dim.
        most: ``DEVIATIONS`` standard deviations above it: of pictures with more one says that they are unlike them.
    """

    images: str
    mean: float
    most: float


def usual(card: Card) -> Usual | None:
    """Reads the usual bits/dim from a model's card; None if it has none."""
    known = [(split, word) for split, word in _SPLITS if f"{split}/bits_per_dim" in card.metrics]
    if not known:
        return None
    split, word = known[0]
    mean, error, n = (card.metrics.get(f"{split}/{key}") for key in ("bits_per_dim", "standard_error", "images"))
    assert mean is not None
    return Usual(word, mean, mean + DEVIATIONS * (DEVIATION if error is None or n is None else error * n**0.5))


class Limits:
    """Finds the amounts of edits that leave one picture natural.

    A picture is natural if it is finite, and takes no more bits per dimension (decoded, rounded to pixels and encoded
    anew) than the larger of those above which a picture is unlike the training images, see :func:`usual`, and of those
    of the picture before the edit plus ``ALLOWANCE``.

    >>> import glow_app
    >>> from glow_app.evaluation.limits import Limits
    >>> model = glow_app.load("faces64")
    >>> directions = glow_app.load_directions("faces64")
    >>> limits = Limits(model, directions, model.encode(model.sample(1, seed=0)))
    >>> low, high = limits.interval("Smiling", others={"Young": -0.5})
    >>> -2 <= low <= 0 <= high <= 2
    True

    Args:
        model: the model that edits.
        directions: its directions.
        latents: those of the picture, finest first, each (1, C, H, W).
        label: its class, for a conditional model.
        seed: seed of the dequantization noise, the same for all amounts.
    """

    def __init__(
        self, model: Model, directions: Directions, latents: Sequence[Tensor], label: int | None = None, seed: int = 0
    ) -> None:
        self.model = model
        self.directions = directions
        self.latents = latents
        self.label = label
        self.seed = seed

    def interval(
        self, name: str, others: Mapping[str, float] | None = None, low: float = -FURTHEST, high: float = FURTHEST
    ) -> tuple[float, float]:
        """Finds the interval of amounts of one attribute, with 0 in it, in which the picture is natural.

        Args:
            name: the attribute.
            others: attribute -> amount, edits that are made as well; one of the attribute itself is ignored.
            low: least amount that is tried, -2 to 0; beyond -2 counts as that.
            high: largest amount that is tried, 0 to 2; beyond 2 counts as that.

        Returns:
            the least and the largest natural amount, ``low`` and ``high`` or multiples of 0.05; (0, 0) if the picture
            is not natural at 0 either.

        Raises:
            UserError: there is no such attribute, or no class was given for a conditional model.
        """
        row = self.directions.column(name)
        fixed = {key: amount for key, amount in (others or {}).items() if self.directions.column(key) != row}
        ends = [max(low, -FURTHEST), min(high, FURTHEST)]
        least, most = self._reached(lambda amount: {**fixed, name: amount}, ends)
        return least, most

    def factors(self, edits: Sequence[Mapping[str, float]]) -> list[float]:
        """Finds the factors, in [0, 1], by which the amounts of edits have to be multiplied.

        It is 1 for an edit that leaves the picture natural, with amounts within [-2, 2]; for others the largest on the
        line from no edit to the whole. Each edit maps attributes to amounts.

        Raises:
            UserError: there is no such attribute, or no class was given for a conditional model.
        """
        near = [max(map(abs, edit.values()), default=0.0) <= FURTHEST for edit in edits]
        fine = iter(self.natural([edit for edit, is_near in zip(edits, near, strict=True) if is_near]))
        return [
            1.0 if is_near and next(fine) else self._factor(edit) for edit, is_near in zip(edits, near, strict=True)
        ]

    def natural(self, edits: Sequence[Mapping[str, float]]) -> list[bool]:
        """Tells for each edit (attribute -> amount) whether it leaves the picture natural."""
        return [isfinite(bits) and bits <= self.most for bits in self.bits(edits)]

    @cached_property
    def most(self) -> float:
        """Bits/dim up to which a picture is natural."""
        known = usual(self.model.card)
        own = self.bits([{}])[0] + ALLOWANCE
        return own if known is None else max(own, known.most)

    @torch.no_grad()
    def bits(self, edits: Sequence[Mapping[str, float]]) -> list[float]:
        """Computes bits/dim of the picture after each edit, decoded and encoded anew; infinite if it is not finite."""
        found: list[float] = []
        for start in range(0, len(edits), BATCH):
            moved = [self.directions.edit(self.latents, edit) for edit in edits[start : start + BATCH]]
            labels = None if self.label is None else torch.full((len(moved),), self.label, device=self.model.device)
            images, finite = decode(self.model, [torch.cat(level) for level in zip(*moved, strict=True)], labels)
            u = dequantization_noise(images, self.seed, torch.zeros(len(images), dtype=torch.int64).to(images.device))
            nats = log_prob(self.model.flow, images, u, self.model.n_bits, labels)
            found += torch.where(finite, bits_per_dim(nats, self.model.flow.n_dims), torch.inf).tolist()
        return found

    def _factor(self, edit: Mapping[str, float]) -> float:
        largest = max(map(abs, edit.values()), default=0.0)
        if not largest:
            return 0.0  # the picture is not natural without an edit either
        shares = {name: amount / largest for name, amount in edit.items()}
        end = min(largest, FURTHEST)
        (reached,) = self._reached(lambda far: {name: far * share for name, share in shares.items()}, [end])
        return reached / largest

    def _reached(self, edit: Callable[[float], Mapping[str, float]], ends: Sequence[float]) -> list[float]:
        """Finds the last amount, from 0 to each end, before the first at which ``edit`` leaves nothing natural."""
        if not self.natural([edit(0.0)])[0]:
            return [0.0 for _ in ends]
        reached = [0.0 for _ in ends]
        failed = list(ends)
        for step in STEPS:
            paths = [_path(a, b, step) for a, b in zip(reached, failed, strict=True)]
            fine = iter(self.natural([edit(amount) for path in paths for amount in path]))
            for side, path in enumerate(paths):
                results = [next(fine) for _ in path]
                n = results.index(False) if False in results else len(path)
                reached[side], failed[side] = [reached[side], *path][n], [*path, failed[side]][n]
        return reached


def _path(start: float, end: float, step: float) -> list[float]:
    """Amounts from the next of ``start`` on to ``end``, in steps, of which only the last may be shorter."""
    n = ceil(abs(end - start) / step - 1e-6)
    return [round(start + copysign(step * i, end - start), 6) for i in range(1, n)] + ([end] if n else [])
