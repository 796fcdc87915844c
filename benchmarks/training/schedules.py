"""Learning-rate schedules and clipping."""

import math
from collections.abc import Callable

import torch
from torch import nn

from benchmarks.training.race import Now

Rate = Callable[[Now], float]


def cosine(warm: float = 0.08) -> Rate:
    """Linear warm-up over the part ``warm`` of the run, then a cosine to 0."""

    def rate(now: Now) -> float:
        return (
            min(1.0, now.part / warm + 1e-3) * 0.5 * (1 + math.cos(math.pi * max(0.0, (now.part - warm) / (1 - warm))))
        )

    return rate


def warm_stable_decay(warm: float = 0.08, decay: float = 0.4) -> Rate:
    """Linear warm-up, constant, then linear to 0 over the last part ``decay``."""
    return lambda now: min(1.0, now.part / warm + 1e-3, (1 - now.part) / decay)


def constant(warm_images: float = 0) -> Rate:
    """Linear warm-up over a number of images, then constant."""
    return lambda now: min(1.0, now.images / warm_images) if warm_images else 1.0


def noam(warm_steps: int = 4000, smallest: float = 0.1) -> Rate:
    """Linear over ``warm_steps`` updates, then as the inverse root of the step, down to ``smallest``."""
    return lambda now: max(
        min((now.step + 1) / warm_steps, (warm_steps / (now.step + 1)) ** 0.5),
        smallest if now.step > warm_steps else 0.0,
    )


def clip_norm(limit: float) -> Callable[[list[nn.Parameter]], object]:
    """Gradients of a norm of at most ``limit``."""
    return lambda parameters: torch.nn.utils.clip_grad_norm_(parameters, limit)


def clip_value_and_norm(value: float, norm: float) -> Callable[[list[nn.Parameter]], object]:
    """Gradients of at most ``value`` each, then of a norm of at most ``norm``."""

    def clip(parameters: list[nn.Parameter]) -> None:
        torch.nn.utils.clip_grad_value_(parameters, value)
        torch.nn.utils.clip_grad_norm_(parameters, norm)

    return clip
