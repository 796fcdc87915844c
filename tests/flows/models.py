"""Small Glows for tests."""

from typing import Any

import torch

from glow_app.flows import Glow, initialize
from glow_app.flows.fast import accelerate
from tests.contracts.bijections import perturb


def small_glow(
    image_shape: tuple[int, int, int] = (3, 8, 8),
    trained: bool = True,
    dtype: torch.dtype = torch.float64,
    **options: Any,
) -> Glow:
    """An initialised Glow, accelerated as all that are built or loaded.

    ``trained`` moves its parameters away from where they start.
    """
    torch.manual_seed(0)
    options = {"n_levels": 2, "n_steps": 2, "width": 8} | options
    glow = Glow(image_shape, **options).to(dtype)
    x = torch.rand(64, *image_shape, dtype=dtype) - 0.5
    initialize(glow, x, torch.arange(64) % glow.n_classes if glow.n_classes else None)
    if trained:
        perturb(glow, 0.03)
    return accelerate(glow)
