"""Checks that images used for different purposes are disjoint."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

from glow_app.errors import UserError

SAME_PICTURES = ("name", "seed", "category", "distribution")
"""Options, besides the folder, that decide which pictures a data set has; others change how they look."""

SAME_SPLITS = ("partition", "validation", "validation_identities", "subset")
"""Options that decide which pictures are in which split."""


class Part(NamedTuple):
    """Consecutive images of one split.

    Attributes:
        what: their purpose, in words.
        options: the options that choose them, in words.
        data: the data set's options.
        split: name of the split.
        first: number of the first image.
        n: number of images.
        fingerprint: digest of the split's fingerprint, see :func:`glow_app.data.source.fingerprint_digest`.
    """

    what: str
    options: str
    data: Mapping[str, Any]
    split: str
    first: int
    n: int
    fingerprint: str


def require_disjoint(parts: Sequence[Part]) -> None:
    """Raises a UserError if two parts share an image, or if this cannot be determined.

    Different splits share none. Parts of one split share images if their numbers overlap and either the fingerprints
    are equal, or the pictures are the same at another size or with another preprocessing.
    """
    for a, b in combinations(parts, 2):
        if a.fingerprint != b.fingerprint:
            if not all(_same(a, b, option) for option in (*SAME_PICTURES, "root")):
                continue
            for option in SAME_SPLITS:
                if not _same(a, b, option):
                    raise UserError(
                        f"{a.what} have data.{option}={a.data.get(option)} and {b.what} "
                        f"data.{option}={b.data.get(option)}: it is unknown whether they share images; use the same"
                    )
        low, high = max(a.first, b.first), min(a.first + a.n, b.first + b.n) - 1
        if a.split == b.split and low <= high:
            raise UserError(
                f"{a.what} and {b.what} share the images {low} to {high} of {a.data['name']} {a.split}: "
                f"change {a.options}, or {b.options}"
            )


def _same(a: Part, b: Part, option: str) -> bool:
    first, second = a.data.get(option), b.data.get(option)
    if option == "root" and first and second:
        first, second = (Path(str(root)).resolve() for root in (first, second))
    return first == second
