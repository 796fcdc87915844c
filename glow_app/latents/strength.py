"""How much an attribute shows in the latents, whatever the number of images that it was found from."""

import torch
from torch import Tensor

from glow_app.latents.directions import Directions


def strengths(directions: Directions) -> Tensor:
    """The distance between the mean latents of images with and without each attribute: float64 (A,).

    Latents have about unit variance, so that means of ``n`` and of ``m`` images without any difference lie at a squared
    distance of ``D (1/n + 1/m)``. That is taken off, or the rarest attributes would seem to be the strongest.
    """
    squared = (directions.with_it - directions.without).double().square().sum(1)
    counts = directions.metadata.get("counts", {})
    by_chance = [sum(1 / n for n in counts[name].values()) if name in counts else 0.0 for name in directions.names]
    n_dims = directions.units.shape[1]
    return (squared - n_dims * torch.tensor(by_chance, dtype=torch.float64)).clamp(min=0).sqrt()
