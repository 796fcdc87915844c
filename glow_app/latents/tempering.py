"""Less of an image's latents: at a lower temperature, or of some levels only."""

from collections.abc import Sequence

import torch
from torch import Tensor


def tempered(latents: Sequence[Tensor], temperature: float) -> list[Tensor]:
    """``temperature * z`` at every level: at 1 the image itself, at 0 the model's most typical one.

    What the temperature does to samples (Kingma & Dhariwal 2018, sec. 6.2), for the latents of any image.
    """
    return [temperature * z for z in latents]


def built_up(latents: Sequence[Tensor]) -> list[Tensor]:
    """One image from its coarsest latents alone, then with one finer level after the other, as one batch of L.

    Levels that are left out are 0: what the model thinks most typical, given the coarser ones.

    Args:
        latents: of one image, finest first, each (1, C, H, W).

    Returns:
        finest first, each (L, C, H, W): row ``i`` has the ``i + 1`` coarsest levels.
    """
    n = len(latents)
    there = [torch.arange(n) >= n - 1 - level for level in range(n)]
    return [z * rows.to(z)[:, None, None, None] for z, rows in zip(latents, there, strict=True)]
