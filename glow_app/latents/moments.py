"""Sums over labelled images, collected in one pass, that determine the direction of every attribute.

Their size does not depend on the number of images. They can be saved midway, and the sums of several parts of the data
add up to those of the whole.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

SUBSPACE_LIMIT = 8192
"""Most dimensions whose covariance is stored: 8192^2 float64 are half a gigabyte."""


class Moments:
    """Sums over images of their latents z (all levels in one row, finest first) and their 0/1 attributes a.

    Args:
        latent_shapes: (C, H, W) of each level, finest first.
        n_attributes: A.
        device: device of the sums.
        covariance: whether to sum ``zz`` too, by far the most work; if not, ``n_subspace`` is 0.

    Attributes:
        count: images so far.
        sums: float64 tensors: ``z`` (D,), ``squares`` () of all numbers of z, ``a`` (A,), ``az`` (A, D), ``aa`` (A, A)
            and, for the last ``n_subspace`` dimensions of z, ``zz`` (n_subspace, n_subspace).
    """

    def __init__(
        self,
        latent_shapes: Sequence[tuple[int, int, int]],
        n_attributes: int,
        device: torch.device | str = "cpu",
        covariance: bool = True,
    ) -> None:
        sizes = [math.prod(shape) for shape in latent_shapes]
        self.n_dims = sum(sizes)
        self.n_subspace, self.subspace_levels = subspace(sizes) if covariance else (0, [])
        self.count = 0

        def zeros(*shape: int) -> Tensor:
            return torch.zeros(shape, dtype=torch.float64, device=device)

        self.sums = {
            "z": zeros(self.n_dims),
            "squares": zeros(),
            "a": zeros(n_attributes),
            "az": zeros(n_attributes, self.n_dims),
            "aa": zeros(n_attributes, n_attributes),
            "zz": zeros(self.n_subspace, self.n_subspace),
        }

    def update(self, latents: Sequence[Tensor], attributes: Tensor) -> None:
        """Adds a batch.

        Args:
            latents: finest first, each (B, C, H, W).
            attributes: (B, A), 0 or 1.
        """
        z = flat(latents).double()
        a = attributes.to(z)
        inside = z[:, self.n_dims - self.n_subspace :]
        self.count += len(z)
        self.sums["z"] += z.sum(0)
        self.sums["squares"] += z.square().sum()
        self.sums["a"] += a.sum(0)
        self.sums["az"] += a.T @ z
        self.sums["aa"] += a.T @ a
        self.sums["zz"] += inside.T @ inside

    def variance(self) -> float:
        """The mean variance of a number of z."""
        mean = self.sums["z"] / self.count
        return ((self.sums["squares"] / self.count - mean.square().sum()) / self.n_dims).item()

    def state(self) -> dict[str, Tensor]:
        """The count and all sums, as tensors on the CPU."""
        return {"count": torch.tensor(self.count), **{name: value.cpu() for name, value in self.sums.items()}}

    def add_state(self, state: dict[str, Tensor]) -> None:
        """Adds the :meth:`state` of another part of the data."""
        self.count += int(state["count"])
        for name, value in self.sums.items():
            value += state[name].to(value.device)


def subspace(sizes: Sequence[int]) -> tuple[int, list[int]]:
    """Chooses the coarsest levels that together have at most ``SUBSPACE_LIMIT`` dimensions.

    Args:
        sizes: dimensions of each level's latents, finest first.

    Returns:
        the number of dimensions, and the levels, counted from 1, the finest.
    """
    kept: list[int] = []
    total = 0
    for level in range(len(sizes), 0, -1):
        if total + sizes[level - 1] > SUBSPACE_LIMIT:
            break
        total += sizes[level - 1]
        kept.insert(0, level)
    return total, kept


def flat(latents: Sequence[Tensor]) -> Tensor:
    """Concatenates all levels to one row per image, finest first: (B, D)."""
    return torch.cat([z.flatten(1) for z in latents], 1)


def unflat(rows: Tensor, latent_shapes: Sequence[tuple[int, int, int]]) -> list[Tensor]:
    """Inverts :func:`flat`."""
    parts = rows.split([math.prod(shape) for shape in latent_shapes], 1)
    return [part.reshape(-1, *shape) for part, shape in zip(parts, latent_shapes, strict=True)]
