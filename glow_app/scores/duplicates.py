"""Near-duplicates among any number of images, by signatures of their directions (locality-sensitive hashing).

Bit k of a signature is the sign of ``<r_k, v>``, r_k being a random direction and v what is compared: small pixels
without their mean, or the latent of the coarsest level. Two vectors at an angle t differ in a bit with probability
``t / pi`` (Charikar 2002, "Similarity estimation techniques from rounding algorithms", sec. 3), so that the share of
bits in which two signatures differ estimates the angle. Pairs are sought only among signatures that agree in one of
``BANDS`` bands of bits, which takes sorting instead of comparing all pairs.
"""

import math
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from glow_app.noise import Stream, normal

BITS, WORD = 192, 48
"""Bits of a signature, and of one of its words: float64 has whole numbers of 53 bits."""

WORDS = BITS // WORD

BANDS = 12
"""Bands of 16 bits: they find 98 of 100 pairs of cosine 0.97, and 9,996 of 10,000 of 0.99, see :func:`recall`."""

LEAST = 0.97
"""Estimated cosine from which on two images are near-duplicates."""

SMALL = 8
"""Side of the small pixels that are compared."""

WINDOW = 16
"""Following signatures with which each is compared in a band; of more that agree, the rest are found through these."""


class Pair(NamedTuple):
    """Two images that are nearly the same.

    Attributes:
        first: number of the first image.
        second: number of the second, which is larger.
        likeness: estimated cosine.
    """

    first: int
    second: int
    likeness: float


def small_pixels(images: Tensor) -> Tensor:
    """Means over a grid of ``SMALL`` x ``SMALL`` squares of each channel: uint8 (B, C, H, W) -> float32 (B, d)."""
    return adaptive_avg_pool2d(images.float(), SMALL).flatten(1)


def signatures(vectors: Tensor) -> Tensor:
    """Signatures of vectors (B, d), as ``WORDS`` whole numbers each: float64 (B, WORDS)."""
    bits = (vectors @ _directions(vectors.shape[1]).to(vectors).T > 0).view(len(vectors), WORDS, WORD).cpu()
    return (bits * 2.0 ** torch.arange(WORD, dtype=torch.float64)).sum(2)


@cache
def _directions(n: int) -> Tensor:
    """Random directions, float64 (BITS, n)."""
    return normal(0, Stream.PIXELS, torch.arange(BITS), n)


def recall(cosine: float) -> float:
    """Probability that two vectors of some cosine agree in at least one band."""
    agree = (1 - math.acos(cosine) / math.pi) ** (BITS // BANDS)
    return 1 - (1 - agree) ** BANDS


def near_duplicates(words: Sequence[Tensor], numbers: Tensor) -> list[Pair]:
    """Finds pairs of images whose signatures are at most an angle of ``LEAST`` apart, most alike first.

    Takes time n log n, and 8 ``WORDS`` + 16 bytes of memory for an image.

    Args:
        words: ``WORDS`` columns of :func:`signatures`, float64 (n,) each.
        numbers: int64 (n,), the numbers of these images, ascending.
    """
    signed = np.stack([word.numpy().astype(np.uint64) for word in words], 1)
    most = math.floor(BITS * math.acos(LEAST) / math.pi)
    per_word, width = BANDS // WORDS, WORD * WORDS // BANDS
    found: dict[tuple[int, int], int] = {}
    for band in range(BANDS):
        word, shift = divmod(band, per_word)
        keys = (signed[:, word] >> np.uint64(shift * width)) & np.uint64(2**width - 1)
        order = np.lexsort((*signed.T, keys))  # in a band those that are the same altogether are neighbours
        for step in range(1, min(WINDOW, len(order) - 1) + 1):
            left, right = order[:-step], order[step:]
            same = keys[left] == keys[right]
            left, right = left[same], right[same]
            apart = np.bitwise_count(signed[left] ^ signed[right]).sum(1, dtype=np.int64)
            near = apart <= most
            for a, b, differ in zip(left[near].tolist(), right[near].tolist(), apart[near].tolist(), strict=True):
                found[min(a, b), max(a, b)] = differ
    pairs = [
        Pair(int(numbers[a]), int(numbers[b]), math.cos(math.pi * differ / BITS)) for (a, b), differ in found.items()
    ]
    return sorted(pairs, key=lambda pair: (-pair.likeness, pair.first, pair.second))


def groups(pairs: Sequence[tuple[int, int]]) -> list[list[int]]:
    """The images that pairs connect, each group ascending; groups by their first image."""
    parent: dict[int, int] = {}

    def root(number: int) -> int:
        parent.setdefault(number, number)
        while parent[number] != number:
            parent[number] = parent[parent[number]]
            number = parent[number]
        return number

    for pair in pairs:
        first, second = sorted(map(root, pair))
        parent[second] = first
    members: dict[int, list[int]] = {}
    for number in sorted(parent):
        members.setdefault(root(number), []).append(number)
    return [members[first] for first in sorted(members)]
