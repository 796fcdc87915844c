"""Finds the nearest training images, to check whether a model copies its training data.

Samples of a model that has learned the distribution are as far from the training images as new images are. Samples of
a model that has memorised the training images are nearer.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from glow_app.data.source import ImageSource
from glow_app.likelihood import seen
from glow_app.units import Bits

CHUNK_NUMBERS = 2**22
"""Subpixels held in float64 at a time: 32 MiB."""


class Neighbours(NamedTuple):
    """The nearest images of a data set, nearest first; ties in the order of the data set.

    Attributes:
        distances: float64 (Q, k), root-mean-square difference of the subpixels, in grey levels of 256.
        indices: int64 (Q, k), indices of the images in the data set.
        mirrored: bool (Q, k), whether the distance is that of the mirror image.
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
    """Finds the ``k`` images of ``source`` nearest to each query, in one pass.

    Exact: ``|a - b|^2 = |a|^2 + |b|^2 - 2 a.b`` of integers, which float64 represents exactly.

    Args:
        queries: uint8 (Q, C, H, W).
        source: images of that shape; if there are at most ``k``, all are returned.
        k: number of neighbours.
        n_bits: bits of a model; grey levels are compared as it sees them.
        flip: whether to compare with the mirror images too, for a model trained on mirrored images.
        progress: called with (images done, total).
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
    """Images as a model of ``n_bits`` sees them, float64 (B, C H W)."""
    return seen(images, n_bits).flatten(1).double()


def _squares(a: Tensor, b: Tensor) -> Tensor:
    """Squared distances between rows: (A, D) and (B, D) -> (A, B)."""
    return a.square().sum(1)[:, None] + b.square().sum(1) - 2 * a @ b.T
