"""The strength of attributes in the latents, independent of the number of images."""

import torch
from torch import Tensor

from glow_app.latents.directions import Directions


def strengths(directions: Directions) -> Tensor:
    """The distance between the mean latents of images with and without each attribute: float64 (A,).

    Latents have about unit variance, so the means of ``n`` and of ``m`` images of one distribution have a squared
    distance of about ``D (1/n + 1/m)``. It is subtracted; otherwise the rarest attributes would seem the strongest.
    """
    squared = (directions.with_it - directions.without).double().square().sum(1)
    counts = directions.metadata.get("counts", {})
    by_chance = [sum(1 / n for n in counts[name].values()) if name in counts else 0.0 for name in directions.names]
    n_dims = directions.units.shape[1]
    return (squared - n_dims * torch.tensor(by_chance, dtype=torch.float64)).clamp(min=0).sqrt()
