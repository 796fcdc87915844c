"""Planar and radial flows: layers that change a vector along one direction, or around one point.

Both have determinants in closed form by the matrix determinant lemma, and inverses by one number: a root of one
equation, or of a quadratic. Rezende & Mohamed 2015, sec. 4.1 and appendix A.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glow_app.flows.bijection import Bijection
from glow_app.flows.family.maf import Inverse
from glow_app.flows.family.nice import DiagonalScaling, level_of_vectors
from glow_app.flows.flow import Flow

DIRECTIONS = ("generating", "normalising")

LEAST_SLOPE = 1e-3
"""Smallest slope of a layer along its direction: with 0, as published, rounding alone would be infinite there."""

MOST_STEPS = 200
"""Steps after which a search ends in any case."""


def slope(raw: Tensor) -> Tensor:
    """Returns ``LEAST_SLOPE + softplus(raw + c)``, with the c for which it is 1 at 0: what makes a layer invertible.

    Minus 1 it is the published ``m(raw) = -1 + log(1 + exp(raw))``, except for the floor and for c, by which a layer
    with ``raw = 0`` is the identity.
    """
    return LEAST_SLOPE + F.softplus(raw + math.log(math.expm1(1 - LEAST_SLOPE)))


class PlanarLayer(Bijection):
    """``z = x + u tanh(w.x + b)`` of vectors, all of which move along the one direction u.

    By the matrix determinant lemma ``det = 1 + (u.w) tanh'(w.x + b)``, and so the layer is invertible if ``u.w > -1``.
    Rezende & Mohamed 2015, eq. 10 to 12. As in their appendix A.1, u is ``v + (s - 1 - w.v) w / |w|^2`` with a learned
    v, for which ``1 + u.w = s``, the :func:`slope` of ``w.v``.

    ``inverse`` searches for the number ``a = w.x + b``, the only root of ``a + (s - 1) tanh(a) = w.z + b``, which lies
    within |s - 1| of the right side. Newton's steps, and bisection wherever they leave the bracket or do not halve, end
    when a step, or the bracket, is not more than 4 eps times ``1 + |w.z + b| + |s - 1|``, or the equation is met to 2
    eps of that.

    Args:
        n_dims: D, channels of the vectors (B, D, 1, 1).
    """

    def __init__(self, n_dims: int) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(n_dims) / math.sqrt(n_dims))
        self.v = nn.Parameter(0.01 * torch.randn(n_dims))
        self.b = nn.Parameter(torch.randn(()))

    def forward(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        z, logdet = planar(x.flatten(1), self.w, self.v, self.b)
        return z[:, :, None, None], logdet

    def inverse(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        return self.inverse_with_logdet(z)[0]

    def inverse_with_logdet(self, z: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        u, s = invertible_direction(self.w, self.v)
        t = z.flatten(1) @ self.w + self.b
        with torch.no_grad():
            a = root(t, s)
            h = torch.tanh(a)
            steepness = h * h + s * (1 - h * h)
        # A step of 0 or of rounding, whose gradient is that of an implicit function.
        a = a - (a + (s - 1) * h - t) / steepness
        h = torch.tanh(a)
        return z - (h[:, None] * u)[:, :, None, None], -_log_determinant(h, s)


def planar(x: Tensor, w: Tensor, v: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Computes ``x + u tanh(w.x + b)`` and its log-determinant; see :class:`PlanarLayer`.

    Args:
        x: (..., D).
        w: (D,), or (..., D) for parameters of each vector's own.
        v: as ``w``.
        b: (), or (...).

    Returns:
        (..., D) and (...).
    """
    u, s = invertible_direction(w, v)
    h = torch.tanh(torch.linalg.vecdot(x, w) + b)
    return x + h[..., None] * u, _log_determinant(h, s)


def invertible_direction(w: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Returns u, as large as w, and ``1 + u.w``, which is above 0, of vectors (..., D); see :class:`PlanarLayer`."""
    raw = torch.linalg.vecdot(w, v)
    s = slope(raw)
    length = w.square().sum(-1, keepdim=True).clamp(min=torch.finfo(w.dtype).tiny)
    return v + (s - 1 - raw)[..., None] * w / length, s


def _log_determinant(h: Tensor, s: Tensor) -> Tensor:
    """Returns ``log(1 + (s - 1) (1 - h^2))``, as a sum of what is positive: near the edge a difference would be 0."""
    return torch.log(h * h + s * (1 - h * h))


def root(t: Tensor, s: Tensor) -> Tensor:
    """Solves ``a + (s - 1) tanh(a) = t`` for (B,); see :class:`PlanarLayer`.

    Args:
        t: right side, (B,); where it is not finite, neither is the root.
        s: slope at 0, a scalar above 0.
    """
    reach = (s - 1).abs()
    low, high = t - reach, t + reach
    scale = torch.finfo(t.dtype).eps * (1 + t.abs() + reach)
    a, moved = t, 2 * reach.expand_as(t)
    done = ~torch.isfinite(t)
    for _ in range(MOST_STEPS):
        h = torch.tanh(a)
        missed = t - a - (s - 1) * h
        step = missed / (h * h + s * (1 - h * h))
        done = done | (step.abs() <= 4 * scale) | (missed.abs() <= 2 * scale) | (high - low <= 4 * scale)
        if done.all():
            break
        low, high = torch.where(missed >= 0, a, low), torch.where(missed <= 0, a, high)
        good = (a + step >= low) & (a + step <= high) & (step.abs() <= 0.5 * moved)
        following = torch.where(good, a + step, 0.5 * (low + high))
        moved, a = (following - a).abs(), torch.where(done, a, following)
    return a


class RadialLayer(Bijection):
    """``z = x + beta (x - c) / (alpha + r)`` with ``r = |x - c|``: vectors move away from a centre c, or towards it.

    By the matrix determinant lemma ``det = (1 + beta h)^(D-1) (1 + beta alpha h^2)``, ``h = 1 / (alpha + r)``.
    Rezende & Mohamed 2015, eq. 14. alpha is positive, and the layer is invertible if ``beta > -alpha`` (appendix A.2):
    ``1 + beta / alpha`` is the :func:`slope` of a learned number.

    ``inverse`` is exact: ``R = |z - c|`` is ``r + beta r / (alpha + r)``, and r the positive root of
    ``r^2 + (alpha + beta - R) r - alpha R = 0``.

    Args:
        n_dims: D, channels of the vectors (B, D, 1, 1).
    """

    def __init__(self, n_dims: int) -> None:
        super().__init__()
        self.centre = nn.Parameter(torch.randn(n_dims))
        self.log_alpha = nn.Parameter(torch.full((), 0.5 * math.log(n_dims)))
        self.raw = nn.Parameter(0.01 * torch.randn(()))

    def forward(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        z, logdet = radial(x.flatten(1), self.centre, self.log_alpha, self.raw)
        return z[:, :, None, None], logdet

    def inverse(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        return self.inverse_with_logdet(z)[0]

    def inverse_with_logdet(self, z: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        away = z.flatten(1) - self.centre
        distance = torch.linalg.vector_norm(away, dim=1)
        alpha = self.log_alpha.exp()
        b = slope(self.raw) * alpha - distance
        root_of_square = torch.sqrt(b * b + 4 * alpha * distance)
        # Of the two forms of the root, the one without a difference; both are finite on either side, for gradients.
        r = torch.where(b < 0, (root_of_square - b) / 2, 2 * alpha * distance / (root_of_square + b.clamp(min=0)))
        factor, logdet = _radial_at(r, alpha, slope(self.raw), len(self.centre))
        return (self.centre + away / factor[:, None])[:, :, None, None], -logdet


def radial(x: Tensor, centre: Tensor, log_alpha: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
    """Computes ``x + beta (x - c) / (alpha + r)`` and its log-determinant; see :class:`RadialLayer`.

    Args:
        x: (..., D).
        centre: c: (D,), or (..., D) for parameters of each vector's own.
        log_alpha: log alpha: (), or (...).
        raw: the number whose :func:`slope` is ``1 + beta / alpha``: (), or (...).

    Returns:
        (..., D) and (...).
    """
    away = x - centre
    factor, logdet = _radial_at(torch.linalg.vector_norm(away, dim=-1), log_alpha.exp(), slope(raw), x.shape[-1])
    return centre + factor[..., None] * away, logdet


def _radial_at(r: Tensor, alpha: Tensor, s: Tensor, n_dims: int) -> tuple[Tensor, Tensor]:
    """Returns ``1 + beta / (alpha + r)`` and the log-determinant at a distance r, both as large as r.

    As sums of what is positive: near the edge differences would be 0.
    """
    factor = (r + s * alpha) / (alpha + r)
    along = (r * (2 * alpha + r) + s * alpha * alpha) / (alpha + r).square()
    return factor, (n_dims - 1) * torch.log(factor) + torch.log(along)


class PlanarFlow(Flow):
    """The planar flow of Rezende & Mohamed 2015, sec. 4.1, of an image as one vector of D numbers.

    Layers are a :class:`PlanarLayer` each; a scale and a bias of each number stand at the side of the latents, which
    make the base a normal distribution of learned mean and width. The paper's layers lead from latents to x
    (``generating``): samples and their densities are formulas, and latents and ``log_prob`` take a search in each
    layer. ``normalising`` layers lead from x to latents, and it is the other way round.

    >>> import torch
    >>> from glow_app.flows import PlanarFlow, initialize
    >>> flow = PlanarFlow((2, 1, 1), n_layers=8)
    >>> x = torch.randn(100, 2, 1, 1)
    >>> initialize(flow, x)
    >>> torch.allclose(flow.inverse(flow(x)[0]), x, atol=1e-5)
    True

    Args:
        image_shape: (C, H, W); points in the plane are (2, 1, 1).
        n_layers: K.
        direction: ``generating`` (published) or ``normalising``, the direction in which the layers are formulas.
        logit: alpha of an initial logit transform; None for no transform.
        n_classes: number of classes, each with a learned shift and scale of the latents; 0 for an unconditional model.
        memory: ``plain`` or ``checkpoint``; see :class:`glow_app.flows.bijection.Chain`.

    Raises:
        ValueError: an option is not one of those named.
    """

    layer: type[Bijection] = PlanarLayer

    def __init__(
        self,
        image_shape: Sequence[int],
        n_layers: int,
        direction: str = "generating",
        logit: float | None = None,
        n_classes: int = 0,
        memory: str = "plain",
    ) -> None:
        if direction not in DIRECTIONS:
            raise ValueError(f"direction is {direction!r}; choose one of {', '.join(DIRECTIONS)}")
        if memory == "reversible":
            raise ValueError("memory=reversible would search in every layer; choose checkpoint")
        n_dims = math.prod(image_shape)
        layers: list[Bijection] = [self.layer(n_dims) for _ in range(n_layers)]  # type: ignore[call-arg]
        if direction == "generating":
            layers = [Inverse(layer) for layer in layers]
        level = level_of_vectors(image_shape, [*layers, DiagonalScaling(n_dims)], logit, n_classes, memory)
        super().__init__(image_shape, [level], [(n_dims, 1, 1)], n_classes=n_classes)
        self.decodes_by_search = self.layer is PlanarLayer and direction == "normalising"


class RadialFlow(PlanarFlow):
    """The radial flow of Rezende & Mohamed 2015, sec. 4.1: a :class:`PlanarFlow` of radial layers.

    Both directions are formulas; which of them is the paper's decides which densities a few layers can have. The
    arguments are those of :class:`PlanarFlow`.
    """

    layer = RadialLayer
