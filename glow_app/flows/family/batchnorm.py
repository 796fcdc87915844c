"""Normalisation of a flow's channels by the statistics of batches: the batch normalisation of Real NVP."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
import torch.distributed
from torch import Tensor

from glow_app.flows.bijection import Bijection
from glow_app.flows.pixel_affine import ActNorm, log_determinant

KEPT = 0.9
"""Share of a running average that a training batch leaves, at least."""

NORMALISATIONS = ("batchnorm", "actnorm")

EPSILON = 1e-4
"""Added to variances, so that a channel that is constant in a batch does not divide by 0."""


class BatchNorm(Bijection):
    """``z = (x - mean) / std`` per channel, by statistics of recent batches; log|det| per pixel is ``-sum(log std)``.

    In evaluation, and in the inverse, they are running averages, so that the layer is an affine map like any other. In
    training they are ``momentum * average + (1 - momentum) * (of this batch)``, of which the last term alone has a
    gradient: the variant of Dinh et al. 2016, sec. 3.7 and appendix E, made for very small batches. With a momentum of
    0 it is plain batch normalisation, the default (docs/family.md says why). The averages move by a tenth
    towards each batch, or by ``1 - momentum`` if that is less, as in the paper.

    ``forward`` changes nothing: what it has found in a training batch is taken over by :meth:`update`, after the
    gradient, so that a step that is computed twice (``memory=checkpoint``) gives the same twice. Several processes
    that train together normalise by the statistics of all of their batches, and so compute what one would.

    The paper normalises the whole output of a coupling, as is done here; its released code only the changed half.

    Args:
        n_channels: C.
        momentum: share of the average, 0 ... 1.
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, n_channels: int, momentum: float) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("mean", torch.zeros(n_channels))
        self.register_buffer("variance", torch.ones(n_channels))
        self._found: tuple[Tensor, Tensor] | None = None

    def forward(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        mean, variance = self._mixed(x) if self.training else (self.mean, self.variance)
        log_std = 0.5 * torch.log(variance + EPSILON)
        scale = torch.exp(-log_std)
        z = torch.addcmul(_per_pixel(-mean * scale), x, _per_pixel(scale))
        return z, log_determinant(-log_std.sum(), x)

    def inverse(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        return z * _per_pixel(torch.sqrt(self.variance + EPSILON)) + _per_pixel(self.mean)

    def initialize(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        """The averages begin with the statistics of ``x``."""
        mean, variance = _moments(x)
        self.mean.copy_(mean)
        self.variance.copy_(variance)
        return self(x)[0]

    def update(self) -> None:
        """The averages move towards the last training batch, unless it is not finite."""
        if self._found is None:
            return
        mean, variance = self._found
        good = torch.isfinite(mean).all() & torch.isfinite(variance).all()  # not asked: a GPU would wait
        self.mean.copy_(torch.where(good, mean, self.mean))
        self.variance.copy_(torch.where(good, variance, self.variance))
        self._found = None

    def _mixed(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean, variance = _moments(x)
        if _Together.wanted and torch.distributed.is_available() and torch.distributed.is_initialized():
            of_all = cast(Tensor, _MeanOfAll.apply(mean))
            variance = cast(Tensor, _MeanOfAll.apply(variance + (mean - of_all).square()))
            mean = of_all
        kept = max(self.momentum, KEPT)
        self._found = (mean.detach().lerp(self.mean, kept), variance.detach().lerp(self.variance, kept))
        return mean.lerp(self.mean, self.momentum), variance.lerp(self.variance, self.momentum)


class _MeanOfAll(torch.autograd.Function):
    """The mean over processes, each of which then has gradients of its own with respect to it."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        return _mean_of_all(value)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        return _mean_of_all(grad)


def _mean_of_all(value: Tensor) -> Tensor:
    total = value.clone(memory_format=torch.contiguous_format)
    torch.distributed.all_reduce(total)
    return total / torch.distributed.get_world_size()


class _Together:
    wanted = True


@contextmanager
def alone() -> Iterator[None]:
    """Inside, a process normalises by the statistics of its own batch: for what not all processes compute."""
    _Together.wanted = False
    try:
        yield
    finally:
        _Together.wanted = True


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of every channel. On a CPU twice as fast as ``torch.var_mean`` over three dimensions."""
    pixels = x.permute(0, 2, 3, 1).flatten(0, 2)
    mean = pixels.mean(0)
    return mean, (pixels - mean).square().mean(0)


def _per_pixel(values: Tensor) -> Tensor:
    return values[:, None, None]


def normalisation(kind: str, n_channels: int, momentum: float) -> Bijection:
    """``batchnorm`` (published for Real NVP) or ``actnorm`` (Glow's, in its place).

    Args:
        kind: one of these.
        n_channels: C.
        momentum: of :class:`BatchNorm`.

    Raises:
        ValueError: ``kind`` is none of these.
    """
    match kind:
        case "batchnorm":
            return BatchNorm(n_channels, momentum)
        case "actnorm":
            return ActNorm(n_channels)
    raise ValueError(f"normalisation is {kind!r}; choose one of {', '.join(NORMALISATIONS)}")
