"""The training images that are nearest to other images: whether a model copies what it was trained on.

A model that has learned a distribution gives images that are as far from the training images as new images are; one
that has learned the training images by heart gives nearer ones.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from glow_app.data.source import ImageSource
from glow_app.likelihood import seen
from glow_app.units import Bits

CHUNK_NUMBERS = 2**22
"""Subpixels of the images that are held in float64 at a time: 32 MiB."""


class Neighbours(NamedTuple):
    """The nearest images of a data set, nearest first; of equally near ones the first.

    Attributes:
        distances: float64 (Q, k), root-mean-square difference of the subpixels, in grey levels of 256.
        indices: int64 (Q, k), of the images in the data set.
        mirrored: bool (Q, k), whether it is the mirror image that is so near.
    """

    distances: Tensor
    indices: Tensor
    mirrored: Tensor


def nearest(
    queries: Tensor,
    source: ImageSource,
    k: int,
    n_bits: Bits,
    flip: bool,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Neighbours:
    """The ``k`` images of ``source`` nearest to each query, in one pass over it.

    Exact: ``|a - b|^2 = |a|^2 + |b|^2 - 2 a.b`` of integers, in float64, which holds them all.

    Args:
        queries: uint8 (Q, C, H, W).
        source: images of that shape; all of them, if they are no more than ``k``.
        k: how many.
        n_bits: grey levels are compared as a model with so many bits sees them.
        flip: also compare with the mirror images, which a model was trained on whose data were mirrored.
        progress: told (images done, images in all).
    """
    q = _rows(queries, n_bits)
    square = torch.full((len(q), 0), 0.0, dtype=torch.float64)
    best = Neighbours(square, square.long(), square.bool())
    chunk = max(1, CHUNK_NUMBERS // q.shape[1])
    for start in range(0, len(source), chunk):
        indices = range(start, min(start + chunk, len(source)))
        images = source.fetch(indices)
        squares = _squares(q, _rows(images, n_bits))
        mirrored = torch.zeros_like(squares, dtype=torch.bool)
        if flip:
            of_mirror_images = _squares(q, _rows(images.flip(3), n_bits))
            mirrored = of_mirror_images < squares
            squares = torch.minimum(squares, of_mirror_images)
        found = Neighbours(squares, torch.tensor(indices).expand(len(q), -1), mirrored)
        both = Neighbours(*(torch.cat(pair, 1) for pair in zip(best, found, strict=True)))
        order = both.distances.sort(dim=1, stable=True).indices[:, :k]
        best = Neighbours(*(part.gather(1, order) for part in both))
        progress(indices.stop, len(source))
    return best._replace(distances=(best.distances / q.shape[1]).sqrt())


def _rows(images: Tensor, n_bits: Bits) -> Tensor:
    """The grey levels that a model of so many bits knows, as float64 (B, C H W)."""
    return seen(images, n_bits).flatten(1).double()


def _squares(a: Tensor, b: Tensor) -> Tensor:
    """Squared distances between rows: (A, D) and (B, D) -> (A, B)."""
    return a.square().sum(1)[:, None] + b.square().sum(1) - 2 * a @ b.T
