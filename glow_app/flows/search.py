"""Inverts maps with a triangular Jacobian by iteration: the inverse of masked convolutions."""

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from glow_app.errors import UserError
from glow_app.flows.flow import Flow

Function = Callable[[Tensor], tuple[Tensor, Tensor]]
"""A map, and the diagonal of its Jacobian."""

MOST_STEPS = (200, 1000)
"""Steps of a search with alpha = 1, and of a second one, damped, for the samples that the first did not reach."""

GROWTH, LEAST_ALPHA = 1.1, 1 / 64
"""Growth of the step sizes of a damped search, and the smallest step size."""

TOLERANCE = 1000.0
"""Largest error of ``f(x)``, in units of eps (1 + max|z|): 1.2e-4 of it in float32, 2.2e-13 in float64."""


class SearchFailed(UserError):
    """No inverse was found within the steps allowed."""


def search(function: Function, z: Tensor, start: Tensor) -> tuple[Tensor, int]:
    """Finds the ``x`` with ``function(x)[0] == z``.

    Song, Meng & Ermon 2019, algorithm 1: ``x <- x - alpha (f(x) - z) / diag J(x)``. Converges near a solution for
    0 < alpha < 2. Here alpha is 1, so that a number's error depends on those at earlier numbers alone. Like Newton's
    method this may jump to and fro; samples that it does not reach are searched for again, with an alpha for each
    number: halved when the number's error changes its sign and does not halve, and else growing to 1 again. A sample is
    found when the largest ``|f(x) - z|`` is at most ``TOLERANCE eps (1 + max|z|)`` and has ceased to fall; what is
    found does not depend on the other samples.

    Args:
        function: a map of (B, C, H, W) with a triangular Jacobian of positive diagonal; returns its value and that.
        z: what is searched for, (B, C, H, W); where it is not finite, neither is ``x``.
        start: first ``x``.

    Returns:
        ``x``, and the number of steps.

    Raises:
        SearchFailed: a sample is not found.
    """
    limit = TOLERANCE * torch.finfo(z.dtype).eps * (1 + _largest(z))
    done = ~torch.isfinite(_largest(z))
    x, missed, n_steps = start, torch.full_like(limit, torch.inf), 0
    for most, damped in zip(MOST_STEPS, (False, True), strict=True):
        x = torch.where(_per_sample(done), x, start)
        alpha, error, before = torch.ones_like(z), torch.zeros_like(z), torch.full_like(limit, torch.inf)
        for _ in range(most):
            value, diagonal = function(x)
            last, error = error, z - value
            missed = _largest(error)
            done |= (missed <= limit) & (missed >= (1 - alpha.flatten(1).amin(1) / 2) * before)
            if (done | ~torch.isfinite(missed)).all():
                break
            if damped:
                jumped = (error * last < 0) & (error.abs() > last.abs() / 2)
                alpha = torch.where(jumped, alpha / 2, GROWTH * alpha).clamp(LEAST_ALPHA, 1)
            x = torch.where(_per_sample(done), x, x + alpha * error / diagonal)
            before, n_steps = missed, n_steps + 1
        if done.all():
            return x, n_steps
    raise SearchFailed(
        f"the inverse of a masked convolution was not found for {int((~done).sum())} of {len(z)} samples within "
        f"{sum(MOST_STEPS):,} steps (f(x) differs from z by {missed[~done].max().item():.2g}): choose a lower "
        "temperature, or train with a lower optim.lr"
    )


def with_gradient(function: Function, x: Tensor, z: Tensor) -> Tensor:
    """Returns ``x``, found by :func:`search`, as an implicit function of ``z`` and the parameters: with gradients."""
    return x + cast(Tensor, _Implicit.apply(function, x, z - function(x)[0]))


def inverse_or_nan(flow: Flow, latents: Sequence[Tensor], cond: Tensor | None) -> Tensor:
    """Returns ``flow.inverse``, or NaN if a layer does not find its own: to ask whether images are reconstructed."""
    try:
        return flow.inverse(latents, cond)
    except SearchFailed:
        return torch.full((len(latents[0]), *flow.image_shape), torch.nan).to(latents[0])


class _Implicit(torch.autograd.Function):
    """Zeros, whose gradient with respect to ``missed = z - f(x)`` is that of ``x``: J^-1, by a search too."""

    @staticmethod
    def forward(ctx: Any, function: Function, x: Tensor, missed: Tensor) -> Tensor:
        ctx.function = function
        ctx.save_for_backward(x)
        return torch.zeros_like(missed)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, None, Tensor]:  # type: ignore[override]
        with torch.enable_grad():
            x = ctx.saved_tensors[0].requires_grad_()
            value, diagonal = ctx.function(x)

        def transposed(v: Tensor) -> tuple[Tensor, Tensor]:
            return torch.autograd.grad(value, x, v, retain_graph=True)[0], diagonal.detach()

        return None, None, search(transposed, grad, grad / diagonal.detach())[0]


def _largest(values: Tensor) -> Tensor:
    """Returns the largest absolute value of each sample, (B,)."""
    return values.abs().flatten(1).amax(1)


def _per_sample(flags: Tensor) -> Tensor:
    return flags[:, None, None, None]
