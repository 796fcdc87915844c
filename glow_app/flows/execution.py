"""How a chain of steps runs in training: what is kept for the gradient, and what is computed again.

- ``plain``: autograd keeps every activation. Fastest, and memory grows with the number of steps.
- ``checkpoint``: only the flow's state between steps is kept (as small as the image); the inside of a step, a hundred
  times larger, is computed again in the backward pass. The gradients are the same bits as those of ``plain``.

The layers know nothing of it. Sampling and evaluation, without gradients, run ``plain`` whatever the setting.
"""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

_StepRunner = Callable[[nn.Module, Tensor, Tensor | None], tuple[Tensor, Tensor]]


def run(steps: Iterable[nn.Module], x: Tensor, cond: Tensor | None, memory: str) -> tuple[Tensor, Tensor]:
    """Applies ``steps`` in order; returns ``z`` and the sum of the log-determinants (B,)."""
    run_step = _RUNNERS[memory] if torch.is_grad_enabled() else _run_plain
    logdet = torch.zeros(x.shape[0], dtype=x.dtype, device=x.device)
    for step in steps:
        x, step_logdet = run_step(step, x, cond)
        logdet = logdet + step_logdet
    return x, logdet


def _run_plain(step: nn.Module, x: Tensor, cond: Tensor | None) -> tuple[Tensor, Tensor]:
    return step(x, cond)


def _run_checkpoint(step: nn.Module, x: Tensor, cond: Tensor | None) -> tuple[Tensor, Tensor]:
    # A step draws no random numbers, so there is no generator state to keep for the second run.
    return checkpoint(step, x, cond, use_reentrant=False, preserve_rng_state=False)


_RUNNERS: dict[str, _StepRunner] = {"plain": _run_plain, "checkpoint": _run_checkpoint}

MEMORY_MODES = tuple(_RUNNERS)
