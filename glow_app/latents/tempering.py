"""Reduced latents of an image: at a lower temperature, or with some levels only."""

from collections.abc import Sequence

import torch
from torch import Tensor


def tempered(latents: Sequence[Tensor], temperature: float) -> list[Tensor]:
    """``temperature * z`` at every level: at 1 the image itself, at 0 the model's most typical one.

    Applies the temperature of sampling (Kingma & Dhariwal 2018, sec. 6.2) to the latents of any image.
    """
    return [temperature * z for z in latents]


def built_up(latents: Sequence[Tensor]) -> list[Tensor]:
    """Latents of one image with one more level in each row, coarsest first, as one batch of L.

    Levels that are left out are 0, the most typical value given the coarser levels.

    Args:
        latents: latents of one image, finest first, each (1, C, H, W).

    Returns:
        finest first, each (L, C, H, W): row ``i`` has the ``i + 1`` coarsest levels.
    """
    n = len(latents)
    included = [torch.arange(n) >= n - 1 - level for level in range(n)]
    return [z * rows.to(z)[:, None, None, None] for z, rows in zip(latents, included, strict=True)]
