"""Runs a chain of steps in training: which activations are saved for backward, and which are recomputed.

- ``plain``: autograd saves every activation. Fastest, and memory grows with the number of steps.
- ``checkpoint``: only the flow's state between steps is saved (as small as the image); activations inside a step, a
  hundred times larger, are recomputed in the backward pass. The gradients are bitwise equal to those of ``plain``.
- ``reversible``: only the output of a chain is saved, and each step's input is computed from its output by the
  inverse. Memory does not grow with the number of steps (Gomez et al. 2017, "The reversible residual network").
  Rounding errors of the inverses accumulate, so a state is saved every ``anchor_every`` steps, and recomputed states
  are compared with saved ones from time to time.

The layers do not depend on the mode. Sampling and evaluation, without gradients, always run ``plain``.
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
"""Passes of a chain between two comparisons of recomputed with saved states."""

DRIFT_WARNING, DRIFT_LIMIT = 1e-2, 0.5
"""Errors of a recomputed state, relative to its root mean square, above which to warn, and to raise :class:`Drift`."""


class Drift(RuntimeError):
    """The states that ``memory=reversible`` recomputed are too inexact for correct gradients."""


class Step(Protocol):
    """The part of a bijection that this module uses."""

    def __call__(self, x: Tensor, cond: Tensor | None, /) -> tuple[Tensor, Tensor]: ...


class ReversibleStep(Step, Protocol):
    """A step whose input can be computed from its output."""

    def parameters(self) -> Any: ...

    def backpropagate(
        self, z: Tensor, grad_z: Tensor, grad_logdet: Tensor, cond: Tensor | None
    ) -> tuple[Tensor, Tensor, dict[Tensor, Tensor]]: ...


def run(steps: Sequence[Step], x: Tensor, cond: Tensor | None, memory: str = "plain") -> tuple[Tensor, Tensor]:
    """Applies ``steps`` in order, ``plain`` or with ``checkpoint``; returns ``z`` and the sum of the log-determinants.

    Without gradients it always runs ``plain``.
    """
    parts = [torch.zeros(x.shape[0], dtype=x.dtype, device=x.device)]
    for step in steps:
        if memory == "checkpoint" and torch.is_grad_enabled():
            # A step draws no random numbers, so there is no generator state to save for the second run.
            x, step_logdet = checkpoint(step, x, cond, use_reentrant=False, preserve_rng_state=False)
        else:
            x, step_logdet = step(x, cond)
        parts.append(step_logdet)
    return x, torch.stack(parts).sum(0)


def run_reversible(
    steps: Sequence[ReversibleStep], x: Tensor, cond: Tensor | None, anchor_every: int, check: bool
) -> tuple[Tensor, Tensor]:
    """Applies ``steps`` in order; with ``check``, the backward pass compares recomputed states with saved ones."""
    parameters = [parameter for step in steps for parameter in step.parameters()]
    return cast(tuple[Tensor, Tensor], _Reversible.apply(steps, anchor_every, check, cond, x, *parameters))


class _Reversible(torch.autograd.Function):
    """A chain as one graph operation; parameters are inputs, so that gradient hooks (data parallelism) run as usual."""

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
        # The input is saved only to be compared: a saved tensor occupies memory until backward.
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
        z, cond, *saved = ctx.saved_tensors
        anchors = dict(zip(ctx.anchored, saved, strict=True))
        if ctx.needs_input_grad[3]:
            cond = cond.detach().requires_grad_()
        gradients: dict[Tensor, Tensor] = {}
        for number in range(len(ctx.steps) - 1, -1, -1):
            z, grad_z, step_gradients = ctx.steps[number].backpropagate(z, grad_z, grad_logdet, cond)
            for tensor, gradient in step_gradients.items():
                gradients[tensor] = gradients[tensor] + gradient if tensor in gradients else gradient
            if number in anchors:
                if ctx.check:
                    _compare(z, anchors[number], number)
                z = anchors[number]
        grad_cond = None if cond is None else gradients.get(cond)
        return None, None, None, grad_cond, grad_z, *(gradients.get(parameter) for parameter in ctx.parameters)


def _compare(computed: Tensor, saved: Tensor, number: int) -> None:
    drift = ((computed - saved).abs().max() / saved.square().mean().sqrt()).item()
    if not drift <= DRIFT_LIMIT:
        raise Drift(
            f"memory=reversible: the state before step {number} of a level was recomputed with an error of {drift:.2g} "
            "of its size, so gradients are wrong; use memory=checkpoint, scale=bounded or a smaller anchor_every"
        )
    if drift > DRIFT_WARNING:
        warnings.warn(
            f"memory=reversible: the state before step {number} of a level was recomputed with an error of {drift:.2g} "
            "of its size; a smaller anchor_every reduces it",
            RuntimeWarning,
            stacklevel=2,
        )
