"""The attributes that are shown, and their strength in the latents, independent of the number of images."""

from collections.abc import Sequence

import torch
from torch import Tensor

from glow_app.latents.directions import Directions

KNOWN = ("Smiling", "Eyeglasses", "Male", "Young")
"""The attributes of faces that edits are shown of, here and in papers."""


def shown_first(names: Sequence[str]) -> list[str]:
    """Returns those of ``KNOWN`` that are among ``names``; if there are none, the first four of these."""
    return [name for name in KNOWN if name in names] or list(names[: len(KNOWN)])


def strengths(directions: Directions) -> Tensor:
    """The distance between the mean latents of images with and without each attribute: float64 (A,).

    The means of ``n`` and of ``m`` images of one distribution have a squared distance of about ``V D (1/n + 1/m)``, V
    being the variance of a latent. It is subtracted; otherwise the rarest attributes would seem the strongest. V is 1
    where directions do not say it.
    """
    squared = (directions.with_it - directions.without).double().square().sum(1)
    counts = directions.metadata.get("counts", {})
    by_chance = [sum(1 / n for n in counts[name].values()) if name in counts else 0.0 for name in directions.names]
    by_number = directions.metadata.get("variance", 1.0) * directions.units.shape[1]
    return (squared - by_number * torch.tensor(by_chance, dtype=torch.float64)).clamp(min=0).sqrt()
