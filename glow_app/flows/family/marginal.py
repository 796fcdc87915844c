"""The marginal layer of Gaussianization: each number by itself becomes normal, through a mixture of logistics."""

import math
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glow_app.flows.bijection import Bijection, sum_per_sample
from glow_app.flows.pixel_affine import LOGS_FACTOR, standardizing

LEAST_SCALE = 1e-7
"""Smallest scale of a component, as in the authors' code."""

TOGETHER = 256
"""Samples that are initialised at a time: a layer needs ``n_components`` numbers for each number of a sample."""

MOST_STEPS = 200
"""Steps after which a search ends in any case."""

HALF_LOG_2_PI = 0.5 * math.log(2 * math.pi)


class MarginalGaussianization(Bijection):
    """``z = Phi^-1(F(x))`` for each number, F a learned mixture of logistics and Phi the normal distribution function.

    Meng et al. 2020. log|det| is the sum of ``log f(x) - log phi(z)``, in closed form. Both tails are exact:
    everything is computed from log F and log(1 - F), where the authors' code goes over to ``sqrt(-2 log F)``.
    Weights of the components are learned too, which are equal there.

    ``inverse`` searches. With ``t = logit Phi(z)``, the quantile of component k is ``m_k + s_k t``. At the smallest of
    these no component has more than Phi(z) below it, and at the largest none has less, so the root lies between.
    Newton's steps for ``logit F(x) = t``, and bisection wherever they leave the bracket or do not halve, end for a
    number when a step, or the bracket, is not more than 16 eps times the larger end of the first bracket (2e-6 of it in
    float32, 4e-15 in float64), or when ``t`` is met to 8 eps times ``1 + |t|``, which is the rounding of ``logit F``.

    Initialised as a kernel density estimate of the data, see :meth:`initialize`.

    Args:
        n_dims: D, channels of the vectors (B, D, 1, 1).
        n_components: K, logistics in each mixture.
    """

    def __init__(self, n_dims: int, n_components: int) -> None:
        super().__init__()
        normal = torch.special.ndtri((torch.arange(n_components) + 0.5) / n_components)
        self.locations = nn.Parameter(normal.repeat(n_dims, 1))
        self.log_scales = nn.Parameter(torch.full((n_dims, n_components), math.log(bandwidth(n_components))))
        self.weights = nn.Parameter(torch.zeros(n_dims, n_components))
        """Logarithms, up to a constant, (D, K)."""

    def forward(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        z, log_slope = self._transform(x)
        return z, sum_per_sample(log_slope)

    def inverse(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        t = (torch.special.log_ndtr(z) - torch.special.log_ndtr(-z)).flatten(1)
        with torch.no_grad():
            x = self._quantiles(t)
        if torch.is_grad_enabled():
            # Its value is x, its gradient that of an implicit function.
            logit, log_slope = self._logit(x)
            missed = t - logit
            x = x + (missed - missed.detach()) * torch.exp(-log_slope.detach())
        return x[:, :, None, None]

    def initialize(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        """Makes each mixture a kernel density estimate of its number in ``x``, and returns ``z``.

        The K locations are quantiles of the data, (k + 1/2) / K; if there are K samples, the samples themselves, as
        published. Weights are equal, and scales are the published bandwidth times the data's standard deviation.

        Raises:
            ValueError: a number is constant over the samples.
        """
        _, logs = standardizing(x)
        n = self.locations.shape[1]
        self.locations.copy_(quantiles(x.flatten(1), n).T)
        self.log_scales.copy_((math.log(bandwidth(n)) - LOGS_FACTOR * logs)[:, None].expand_as(self.log_scales))
        self.weights.zero_()
        return torch.cat([self(part)[0] for part in x.split(TOGETHER)])

    def scales(self, x: Tensor) -> Tensor:
        """Returns dz/dx of each number, (B, D, 1, 1)."""
        return torch.exp(self._transform(x)[1])

    def _transform(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Returns ``z`` and log dz/dx, both (B, D, 1, 1)."""
        t, log_slope = self._logit(x.flatten(1))
        z = cast(Tensor, _NormalScore.apply(t))
        return z[:, :, None, None], (log_slope + _log_slope_of_score(t, z))[:, :, None, None]

    def _logit(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Returns ``logit F(x) = log F(x) - log(1 - F(x))`` and the logarithm of its slope: (B, D) of (B, D)."""
        log_scales = self.log_scales.clamp(min=math.log(LEAST_SCALE))
        a = (x[:, :, None] - self.locations) * torch.exp(-log_scales)
        log_weights = F.log_softmax(self.weights, 1)
        # logsigmoid of a and of -a share the logarithm; written so, that the gradients are right at a = 0 too.
        distance = a.abs()
        shared = torch.log1p(torch.exp(-distance))
        log_cdf = torch.logsumexp(log_weights + 0.5 * (a - distance) - shared, 2)
        log_survival = torch.logsumexp(log_weights - 0.5 * (a + distance) - shared, 2)
        log_density = torch.logsumexp(log_weights - log_scales - distance - 2 * shared, 2)
        return log_cdf - log_survival, log_density - log_cdf - log_survival

    def _quantiles(self, t: Tensor) -> Tensor:
        """Solves ``logit F(x) = t`` for (B, D)."""
        scales = self.log_scales.clamp(min=math.log(LEAST_SCALE)).exp()
        low, high = (self.locations + scales * t[:, :, None]).aminmax(dim=2)
        eps = torch.finfo(t.dtype).eps
        tolerance = 16 * eps * torch.maximum(low.abs(), high.abs())
        rounding = 8 * eps * (1 + t.abs())
        x, moved = low.lerp(high, 0.5), high - low
        done = torch.zeros_like(t, dtype=torch.bool)
        for _ in range(MOST_STEPS):
            found, log_slope = self._logit(x)
            missed = t - found
            step = missed * torch.exp(-log_slope)
            done |= (step.abs() <= tolerance) | (missed.abs() <= rounding) | (high - low <= tolerance)
            if done.all():
                break
            low, high = torch.where(found <= t, x, low), torch.where(found >= t, x, high)
            # Without halving, steps may go to and fro for ever where the slope changes by orders of magnitude.
            good = (x + step >= low) & (x + step <= high) & (step.abs() <= 0.5 * moved)
            following = torch.where(good, x + step, low.lerp(high, 0.5))
            moved, x = (following - x).abs(), torch.where(done, x, following)
        return x


def bandwidth(n: int) -> float:
    """Returns the scale of logistic kernels at ``n`` points of standard deviation 1.

    It has the least asymptotic mean squared error of the density if that is normal. As in the code of Meng et al. 2020.
    """
    return (4 * math.sqrt(math.pi) / (math.pi**4 * n)) ** 0.2


def quantiles(points: Tensor, n: int) -> Tensor:
    """Returns the quantiles (k + 1/2) / n, k = 0 ... n - 1, of each column of (B, D), interpolated: (n, D)."""
    ordered = points.sort(0).values
    last = len(points) - 1
    place = ((torch.arange(n, device=points.device, dtype=torch.float64) + 0.5) / n * len(points) - 0.5).clamp(0, last)
    lower = place.long()
    share = (place - lower).to(points.dtype)[:, None]
    return ordered[lower].lerp(ordered[(lower + 1).clamp(max=last)], share)


class _NormalScore(torch.autograd.Function):
    """``z`` with ``Phi(z) = sigmoid(t)``, whose gradient is finite however far ``t`` is from 0."""

    @staticmethod
    def forward(ctx: Any, t: Tensor) -> Tensor:
        log_tail = F.logsigmoid(-t.abs())  # that of the closer tail
        # Beyond, exp would underflow in float32; the quantile's asymptote and three Newton steps are exact there.
        near = log_tail > -40
        far = log_tail.clamp(max=-40)
        beyond = -torch.sqrt(-2 * far - torch.log(-4 * math.pi * far))
        for _ in range(3):
            log_cdf = torch.special.log_ndtr(beyond)
            beyond = beyond - (log_cdf - far) * torch.exp(log_cdf + 0.5 * beyond.square() + HALF_LOG_2_PI)
        z = -t.sign() * torch.where(near, torch.special.ndtri(log_tail.exp()), beyond)
        ctx.save_for_backward(t, z)
        return z

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        return grad * torch.exp(_log_slope_of_score(*ctx.saved_tensors))


def _log_slope_of_score(t: Tensor, z: Tensor) -> Tensor:
    """The logarithm of dz/dt where ``Phi(z) = sigmoid(t)``."""
    return F.logsigmoid(t) + F.logsigmoid(-t) + 0.5 * z.square() + HALF_LOG_2_PI
