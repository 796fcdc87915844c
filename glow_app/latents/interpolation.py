"""Paths from one list of latents to another.

A straight line between two samples of N(0, I) passes through vectors shorter than samples, which decode to typical,
smooth images. The spherical path keeps the length, and with it the texture.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

PATHS = ("linear", "spherical")


def linear(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """``(1 - t) a + t b``, exactly ``a`` at 0 and ``b`` at 1. Kingma & Dhariwal 2018, sec. 6.2.

    Args:
        a: (1, C, H, W).
        b: (1, C, H, W).
        t: (n,) in [0, 1].

    Returns:
        (n, C, H, W).
    """
    return torch.lerp(a, b, t.to(a).view(-1, 1, 1, 1))


def spherical(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """``sin((1-t) w)/sin(w) a + sin(t w)/sin(w) b`` with ``w`` the angle between a and b (Shoemake 1985).

    It is ``a`` at 0 and ``b`` at 1. If the two are (nearly) parallel or opposite, the path is undefined or not unique,
    and the straight line is used. Shapes as in :func:`linear`.
    """
    wide_a, wide_b = a.double(), b.double()
    cosine = (wide_a * wide_b).sum() / (wide_a.norm() * wide_b.norm())
    angle = torch.arccos(cosine.clamp(-1, 1))
    sine = torch.sin(angle)
    if not sine > 1e-6:
        return linear(a, b, t)
    at = t.to(wide_a).view(-1, 1, 1, 1)
    return (torch.sin((1 - at) * angle) / sine * wide_a + torch.sin(at * angle) / sine * wide_b).to(a.dtype)


def between(start: Sequence[Tensor], end: Sequence[Tensor], steps: int, path: str) -> list[Tensor]:
    """Returns ``steps`` lists of latents from ``start`` to ``end``, both included, as one batch.

    Levels are interpolated separately: under the model they are independent.

    Args:
        start: latents of one image.
        end: latents of one image.
        steps: at least 2.
        path: ``linear`` or ``spherical``.

    Raises:
        ValueError: the path is neither.
    """
    if path not in PATHS:
        raise ValueError(f"path is {path!r}; choose one of {', '.join(PATHS)}")
    move = linear if path == "linear" else spherical
    t = torch.linspace(0, 1, steps, dtype=torch.float64)
    levels: list[Tensor] = []
    for a, b in zip(start, end, strict=True):
        a, b = a.to(torch.promote_types(a.dtype, b.dtype)), b.to(torch.promote_types(a.dtype, b.dtype))
        moved = move(a, b, t)
        moved[0], moved[-1] = a[0], b[0]  # without rounding errors: the end points are the images themselves
        levels.append(moved)
    return levels


def chain(points: Sequence[Sequence[Tensor]], steps: int, path: str) -> list[Tensor]:
    """Joins the points, each once, by paths: ``(len(points) - 1) * (steps - 1) + 1`` lists, as one batch."""
    parts = [between(a, b, steps, path) for a, b in pairwise(points)]
    whole = [parts[0], *([z[1:] for z in part] for part in parts[1:])]
    return [torch.cat(level) for level in zip(*whole, strict=True)]


def square(corners: Sequence[Sequence[Tensor]], steps: int, path: str) -> list[Tensor]:
    """A grid between four corners, row by row: ``steps * steps`` lists, as one batch.

    Args:
        corners: top left, top right, bottom left, bottom right.
        steps: images along each side.
        path: ``linear`` or ``spherical``.
    """
    left, right = (between(corners[side], corners[side + 2], steps, path) for side in (0, 1))
    rows = [
        between([z[row : row + 1] for z in left], [z[row : row + 1] for z in right], steps, path)
        for row in range(steps)
    ]
    return [torch.cat(level) for level in zip(*rows, strict=True)]
