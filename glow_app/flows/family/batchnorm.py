"""The batch normalisation of Real NVP, which normalises a flow's channels by batch statistics."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
import torch.distributed
from torch import Tensor

from glow_app.flows.bijection import Bijection
from glow_app.flows.flow import Flow
from glow_app.flows.pixel_affine import ActNorm, log_determinant

KEPT = 0.9
"""Smallest weight of the old running average when a training batch updates it."""

NORMALISATIONS = ("batchnorm", "actnorm")

EPSILON = 1e-4
"""Added to variances, to avoid a division by 0 if a channel is constant in a batch."""


class BatchNorm(Bijection):
    """``z = (x - mean) / std`` per channel, by statistics of recent batches; log|det| per pixel is ``-sum(log std)``.

    In evaluation and in the inverse the statistics are running averages, so the layer is a fixed affine map. In
    training they are ``momentum * average + (1 - momentum) * batch``, where only the batch term has a gradient: the
    variant of Dinh et al. 2016, sec. 3.7 and appendix E, for very small batches. A momentum of 0, the default, is plain
    batch normalisation (docs/equal_terms.md explains why). The averages move by a tenth towards each batch, or by
    ``1 - momentum`` if that is less, as in the paper.

    ``forward`` does not change the averages: :meth:`update` moves them after the backward pass, so that a step computed
    twice (``memory=checkpoint``) returns the same twice. In a process group all ranks normalise by the statistics of
    all of their batches, and so compute the same as a single process.

    This normalises the whole output of a coupling, like the paper; its released code normalises only the changed half.

    Args:
        n_channels: C.
        momentum: weight of the average, 0 ... 1.
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, n_channels: int, momentum: float) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("mean", torch.zeros(n_channels))
        self.register_buffer("variance", torch.ones(n_channels))
        self._pending: tuple[Tensor, Tensor] | None = None

    def forward(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        mean, variance = self._training_statistics(x) if self.training else (self.mean, self.variance)
        log_std = 0.5 * torch.log(variance + EPSILON)
        scale = torch.exp(-log_std)
        z = torch.addcmul(_per_pixel(-mean * scale), x, _per_pixel(scale))
        return z, log_determinant(-log_std.sum(), x)

    def inverse(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        return z * _per_pixel(torch.sqrt(self.variance + EPSILON)) + _per_pixel(self.mean)

    def inverse_with_logdet(self, z: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        # By the averages, in training too, where `forward` takes those of a batch.
        return self.inverse(z), log_determinant(0.5 * torch.log(self.variance + EPSILON).sum(), z)

    def initialize(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        """Sets the averages to the statistics of ``x``, and returns ``z``."""
        mean, variance = _moments(x)
        self.mean.copy_(mean)
        self.variance.copy_(variance)
        return self(x)[0]

    def update(self) -> None:
        """Moves the averages towards the last training batch, if its statistics are finite."""
        if self._pending is None:
            return
        mean, variance = self._pending
        finite = torch.isfinite(mean).all() & torch.isfinite(variance).all()  # a tensor: no GPU sync
        self.mean.copy_(torch.where(finite, mean, self.mean))
        self.variance.copy_(torch.where(finite, variance, self.variance))
        self._pending = None

    def _training_statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean, variance = _moments(x)
        if _Synchronisation.enabled and torch.distributed.is_available() and torch.distributed.is_initialized():
            mean_of_all = cast(Tensor, _MeanOverRanks.apply(mean))
            variance = cast(Tensor, _MeanOverRanks.apply(variance + (mean - mean_of_all).square()))
            mean = mean_of_all
        weight = max(self.momentum, KEPT)
        self._pending = (mean.detach().lerp(self.mean, weight), variance.detach().lerp(self.variance, weight))
        return mean.lerp(self.mean, self.momentum), variance.lerp(self.variance, self.momentum)


class NormalisedFlow(Flow):
    """A flow that keeps the running statistics of its batch normalisations; the arguments are those of ``Flow``."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._norms = [module for module in self.modules() if isinstance(module, BatchNorm)]

    def update_statistics(self) -> None:
        for norm in self._norms:
            norm.update()

    def learned(self) -> list[Tensor]:
        """Returns the parameters, then the running statistics."""
        return [*self.parameters(), *(statistic for norm in self._norms for statistic in (norm.mean, norm.variance))]


class _MeanOverRanks(torch.autograd.Function):
    """The mean over ranks; the backward pass averages the gradients of all ranks."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        return _mean_over_ranks(value)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        return _mean_over_ranks(grad)


def _mean_over_ranks(value: Tensor) -> Tensor:
    total = value.clone(memory_format=torch.contiguous_format)
    torch.distributed.all_reduce(total)
    return total / torch.distributed.get_world_size()


class _Synchronisation:
    enabled = True


@contextmanager
def alone() -> Iterator[None]:
    """Normalises by the statistics of a rank's own batch: for code that not all ranks run."""
    _Synchronisation.enabled = False
    try:
        yield
    finally:
        _Synchronisation.enabled = True


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Computes mean and variance per channel, on a CPU twice as fast as ``torch.var_mean`` over three dimensions."""
    pixels = x.permute(0, 2, 3, 1).flatten(0, 2)
    mean = pixels.mean(0)
    return mean, (pixels - mean).square().mean(0)


def _per_pixel(values: Tensor) -> Tensor:
    return values[:, None, None]


def normalisation(kind: str, n_channels: int, momentum: float) -> Bijection:
    """Creates the normalisation ``batchnorm`` (published for Real NVP) or ``actnorm`` (Glow's).

    Args:
        kind: ``batchnorm`` or ``actnorm``.
        n_channels: C.
        momentum: momentum of :class:`BatchNorm`.

    Raises:
        ValueError: ``kind`` is neither.
    """
    match kind:
        case "batchnorm":
            return BatchNorm(n_channels, momentum)
        case "actnorm":
            return ActNorm(n_channels)
    raise ValueError(f"normalisation is {kind!r}; choose one of {', '.join(NORMALISATIONS)}")
