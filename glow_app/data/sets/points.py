"""Data sets of points in the plane, drawn on demand."""

from collections.abc import Sequence

import torch
from torch import Tensor

from glow_app import noise
from glow_app.data.sets.densities import plane_density
from glow_app.data.source import SPLITS, ImageSource
from glow_app.errors import UserError

SPLIT_SIZES = {"train": 100_000, "val": 10_000, "test": 50_000}
"""Default number of points of each split."""

SPLIT_STRIDE = 10_000_000
"""Distance between the first points of two splits, so that splits never share a point."""

DRAWING_VERSION = 1
"""Raised when the same seed draws other points."""


class Points(ImageSource):
    """Points in the plane: images of one pixel whose two channels are x and y, float32 (2, 1, 1).

    Point i of a split is a function of the seed and ``SPLIT_STRIDE * k + i`` (k = 0, 1, 2 for train, val, test); a
    longer split starts with the points of a shorter one.

    Args:
        name: name of the distribution; see :mod:`glow_app.data.sets.densities`.
        split: ``train``, ``val`` or ``test``.
        noise: standard deviation of the blur.
        seed: seed of the points, from 0.
        n_points: number of points; None for ``SPLIT_SIZES``.

    Attributes:
        density: distribution of the points.
        points: all points, float32 (N, 2).
    """

    image_shape = (2, 1, 1)

    def __init__(self, name: str, split: str, noise: float, seed: int = 0, n_points: int | None = None) -> None:
        try:
            self.density = plane_density(name, noise)
        except ValueError as error:
            raise UserError(f"data.noise={noise:g}: {error}; choose 0.1 or so") from None
        self.name = name
        self.split = split
        self.seed = seed
        self.preprocessing = f"drawn by formula, noise {noise:g}"
        self.first = SPLIT_STRIDE * SPLITS.index(split)
        self.points = self._draw(SPLIT_SIZES[split] if n_points is None else n_points)

    def __len__(self) -> int:
        return len(self.points)

    def __getitem__(self, index: int) -> Tensor:
        return self.points[index][:, None, None]

    def fetch(self, indices: Sequence[int]) -> Tensor:
        return self.points[list(indices)][:, :, None, None]

    def item_name(self, index: int) -> str:
        """Seed and number of the point."""
        return f"{self.name}_{self.seed}_{self.first + index:08d}"

    def content(self) -> dict[str, object]:
        return {"drawing_version": DRAWING_VERSION, "seed": self.seed, "first": self.first}

    def _draw(self, n: int) -> Tensor:
        numbers = torch.arange(self.first, self.first + n)
        places = noise.fine_uniform(self.seed, noise.Stream.PLACE, numbers, 3)
        # Every other number, as version 1 has always used: recorded results were measured on these points.
        blur = noise.normal(self.seed, noise.Stream.BLUR, numbers, 4)[:, ::2]
        return self.density.points(places, blur).float()
