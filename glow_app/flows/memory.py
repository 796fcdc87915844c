"""How a chain of steps runs in training: what is kept for the gradient, and what is computed again.

- ``plain``: autograd keeps every activation. Fastest, and memory grows with the number of steps.
- ``checkpoint``: only the flow's state between steps is kept (as small as the image); the inside of a step, a hundred
  times larger, is computed again in the backward pass. The gradients are the same bits as those of ``plain``.
- ``reversible``: of a whole chain only the output is kept, and each step's input is computed from its output by the
  inverse. Memory does not grow with the number of steps (Gomez et al. 2017, "The reversible residual network").
  Rounding errors of the inverses add up, so that every ``anchor_every`` steps a state is kept after all, and from time
  to time what was computed is compared with what was kept.

The layers know nothing of it. Sampling and evaluation, without gradients, run ``plain`` whatever the setting.
"""

import warnings
from collections.abc import Sequence
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

MEMORY_MODES = ("plain", "checkpoint", "reversible")

CHECK_EVERY = 100
"""Passes of a chain between two comparisons of computed with kept states."""

DRIFT_WARNING, DRIFT_LIMIT = 1e-2, 0.5
"""Largest error of a recomputed state, relative to the state's root mean square, that passes in silence, or at all."""


class Drift(RuntimeError):
    """Inverses have lost the states of ``memory=reversible``, and with them the gradient."""


class Step(Protocol):
    """What this module needs of a bijection."""

    def __call__(self, x: Tensor, cond: Tensor | None) -> tuple[Tensor, Tensor]: ...


class ReversibleStep(Step, Protocol):
    """What it needs of one whose input it computes from its output."""

    def parameters(self) -> Any: ...

    def backpropagate(
        self, z: Tensor, grad_z: Tensor, grad_logdet: Tensor, cond: Tensor | None
    ) -> tuple[Tensor, Tensor, dict[Tensor, Tensor]]: ...


def run(steps: Sequence[Step], x: Tensor, cond: Tensor | None, memory: str) -> tuple[Tensor, Tensor]:
    """Applies ``steps`` in order, ``plain`` or with ``checkpoint``; returns ``z`` and the sum of the log-determinants.

    What needs no gradient runs ``plain``.
    """
    parts = [torch.zeros(x.shape[0], dtype=x.dtype, device=x.device)]
    for step in steps:
        if memory == "checkpoint" and torch.is_grad_enabled():
            # A step draws no random numbers, so there is no generator state to keep for the second run.
            x, step_logdet = checkpoint(step, x, cond, use_reentrant=False, preserve_rng_state=False)
        else:
            x, step_logdet = step(x, cond)
        parts.append(step_logdet)
    return x, torch.stack(parts).sum(0)


def run_reversible(
    steps: Sequence[ReversibleStep], x: Tensor, cond: Tensor | None, anchor_every: int, check: bool
) -> tuple[Tensor, Tensor]:
    """As :func:`run`; with ``check``, the backward pass compares the states that it computes with kept ones."""
    parameters = [parameter for step in steps for parameter in step.parameters()]
    return cast(tuple[Tensor, Tensor], _Reversible.apply(steps, anchor_every, check, cond, x, *parameters))


class _Reversible(torch.autograd.Function):
    """A chain as one operation of the graph. Parameters are explicit inputs, so that whatever waits for their gradients
    (the all-reduce of data parallelism) is told of them as usual.
    """

    @staticmethod
    def forward(
        ctx: Any,
        steps: Sequence[ReversibleStep],
        anchor_every: int,
        check: bool,
        cond: Tensor | None,
        x: Tensor,
        *parameters: nn.Parameter,
    ) -> tuple[Tensor, Tensor]:
        # The input is kept only where it is compared: otherwise what made it could not be freed.
        anchors = {0: x} if check else {}
        logdet = torch.zeros(x.shape[0], dtype=x.dtype, device=x.device)
        with torch.no_grad():
            for number, step in enumerate(steps):
                if number and number % anchor_every == 0:
                    anchors[number] = x
                x, step_logdet = step(x, cond)
                logdet = logdet + step_logdet
        ctx.steps, ctx.parameters, ctx.anchored = steps, parameters, list(anchors)
        ctx.check = check
        ctx.save_for_backward(x, cond, *anchors.values())
        return x, logdet

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_z: Tensor, grad_logdet: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        z, cond, *kept = ctx.saved_tensors
        anchors = dict(zip(ctx.anchored, kept, strict=True))
        if ctx.needs_input_grad[3]:
            cond = cond.detach().requires_grad_()
        gradients: dict[Tensor, Tensor] = {}
        for number in range(len(ctx.steps) - 1, -1, -1):
            z, grad_z, of_step = ctx.steps[number].backpropagate(z, grad_z, grad_logdet, cond)
            for tensor, gradient in of_step.items():
                gradients[tensor] = gradients[tensor] + gradient if tensor in gradients else gradient
            if number in anchors:
                if ctx.check:
                    _compare(z, anchors[number], number)
                z = anchors[number]
        of_cond = None if cond is None else gradients.get(cond)
        return None, None, None, of_cond, grad_z, *(gradients.get(parameter) for parameter in ctx.parameters)


def _compare(computed: Tensor, kept: Tensor, number: int) -> None:
    drift = ((computed - kept).abs().max() / kept.square().mean().sqrt()).item()
    if not drift <= DRIFT_LIMIT:
        raise Drift(
            f"memory=reversible: the state before step {number} of a level came back with an error of {drift:.2g} of "
            "its size, so that gradients are wrong; use memory=checkpoint, scale=bounded or a smaller anchor_every"
        )
    if drift > DRIFT_WARNING:
        warnings.warn(
            f"memory=reversible: the state before step {number} of a level came back with an error of {drift:.2g} of "
            "its size; a smaller anchor_every makes it smaller",
            RuntimeWarning,
            stacklevel=2,
        )
