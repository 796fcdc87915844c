"""Optimizers and the learning rate's schedule."""

# pyright: reportPrivateImportUsage=false
# torch._foreach_* is how torch's own optimizers update all parameters in a few launches; it has no public name.

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from glow_app.config.train import OptimConfig
from glow_app.training.clock import Clock
from glow_app.training.fast.cuda_graph import CapturedAdam
from glow_app.training.muon import Muon, kernels_of


class PublishedAdamax(Optimizer):
    """Adamax as the authors of Glow released it.

        m = beta1 m + (1 - beta1) g,   u = max(beta2 u, |g|)
        w = w - lr * sqrt(1 - beta2^t) / (1 - beta1^t) * m / (u + eps)

    Unlike Kingma & Ba 2015, sec. 7.1 (and :class:`torch.optim.Adamax`), the step has Adam's factor
    ``sqrt(1 - beta2^t)``, which acts as a long warm-up if ``beta2`` is near 1.

    Args:
        params: parameters.
        lr: learning rate.
        betas: (beta1, beta2).
        eps: added to the denominator.
    """

    def __init__(
        self, params: Iterable[nn.Parameter], lr: float, betas: tuple[float, float], eps: float = 1e-8
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if not params:
                continue  # this update is left out
            beta1, beta2 = group["betas"]
            group["t"] = group.get("t", 0) + 1
            step_size = group["lr"] * math.sqrt(1 - beta2 ** group["t"]) / (1 - beta1 ** group["t"])
            gradients = [p.grad for p in params]
            means = [self._of(p, "mean") for p in params]
            largest = [self._of(p, "largest") for p in params]
            torch._foreach_lerp_(means, gradients, 1 - beta1)
            torch._foreach_mul_(largest, beta2)
            torch._foreach_maximum_(largest, torch._foreach_abs(gradients))
            torch._foreach_addcdiv_(params, means, torch._foreach_add(largest, group["eps"]), value=-step_size)
        return loss

    def _of(self, parameter: nn.Parameter, name: str) -> Tensor:
        state = self.state[parameter]
        if name not in state:
            state[name] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
        return state[name]


def make_optimizer(flow: nn.Module, config: OptimConfig, captured: bool) -> Optimizer:
    """Creates the optimizer ``config.name``; its state numbers the parameters in the order of :func:`largest_first`.

    Args:
        flow: module whose parameters are learned.
        config: all options.
        captured: whether updates are captured if possible, see :mod:`glow_app.training.fast.cuda_graph`.
    """
    betas, params = (config.beta1, config.beta2), largest_first(flow.parameters())
    if config.name == "muon":
        return Muon(params, kernels_of(flow), lr=config.lr, betas=betas)
    if config.name == "adamax":
        return PublishedAdamax(params, lr=config.lr, betas=betas)
    if captured:
        return CapturedAdam(params, lr=config.lr, betas=betas)
    return torch.optim.Adam(params, lr=config.lr, betas=betas, fused=True)


def largest_first(params: Iterable[nn.Parameter]) -> list[nn.Parameter]:
    """The parameters sorted by size, so that those of one size are adjacent.

    A GPU updates a few dozen in one launch, which takes as long as the largest of them: among large ones, the many
    small ones would take almost as long.
    """
    return sorted(params, key=lambda parameter: -parameter.numel())


def gradient_norm(optimizer: Optimizer) -> Tensor:
    """The 2-norm of all gradients together, a scalar on their device."""
    return torch.nn.utils.get_total_norm([p.grad for p in _updated(optimizer) if p.grad is not None])


def clip_gradients(optimizer: Optimizer, limit: float, norm: Tensor) -> None:
    """Scales all gradients so that their norm is at most ``limit``.

    Args:
        optimizer: optimizer of the parameters.
        limit: largest norm.
        norm: norm of the gradients, which is not computed again.
    """
    if norm.device.type == "cpu" and norm + 1e-6 <= limit:
        return  # torch would multiply all gradients by 1; on a GPU, this check would wait for the device
    torch.nn.utils.clip_grads_with_norm_(_updated(optimizer), limit, norm)


def _updated(optimizer: Optimizer) -> list[nn.Parameter]:
    return optimizer.param_groups[0]["params"]


def learning_rate_factor(config: OptimConfig, images_per_step: int, clock: Clock) -> Callable[[int], float]:
    """The factor of the learning rate by step: linear warm-up over images, then constant or cosine to 0.

    The first step has the factor ``images_per_step / warmup_images``. In the released code it has 0 and changes
    nothing, and every later step of the warm-up has the factor that the step before it has here.

    Args:
        config: ``warmup_images`` and ``decay``.
        images_per_step: images per update, over all devices.
        clock: clock of the run, whose end is the end of the cosine.
    """
    warmup_steps = config.warmup_images / images_per_step

    def factor(step: int) -> float:
        warm = min(1.0, (step + 1) / warmup_steps) if warmup_steps else 1.0
        if config.decay == "constant":
            return warm
        return warm * 0.5 * (1 + math.cos(math.pi * clock.part(step, first=warmup_steps)))

    return factor


def annealed_weight(step: int, n_steps: int) -> float:
    """The weight of log p while it is annealed, ``min(1, 0.01 + t / n_steps)``; Rezende & Mohamed 2015, eq. 20.

    Args:
        step: t, updates so far.
        n_steps: updates over which it rises; 0: it is 1.
    """
    return min(1.0, 0.01 + step / n_steps) if n_steps else 1.0
