"""Observation models of a VAE: the distribution of an image's grey levels, given what a decoder computes."""

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

MOST_LOG_SCALE = 7.0
"""Largest absolute log-scale of a logistic component: the narrowest is an eighth as wide as one of 256 bins."""


class Observation(nn.Module, ABC):
    """A distribution over discrete images, independent over pixels given the decoder's output.

    Args:
        n_channels: C.
    """

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        self.n_channels = n_channels

    @property
    @abstractmethod
    def n_parameters(self) -> int:
        """Channels of the decoder's output."""

    @abstractmethod
    def log_prob(self, parameters: Tensor, bins: Tensor, n_bins: int) -> Tensor:
        """Returns the log-probability of images in nats: (..., B).

        Args:
            parameters: (..., B, n_parameters, H, W), the decoder's output.
            bins: int64 (B, C, H, W), grey levels 0 ... n_bins - 1.
            n_bins: number of grey levels.

        Raises:
            ValueError: these are not images of that many grey levels for this distribution.
        """

    @abstractmethod
    def mean(self, parameters: Tensor) -> Tensor:
        """Returns the mean image in [-1/2, 1/2]: (..., B, C, H, W)."""


class Bernoulli(Observation):
    """Two grey levels, the upper one with probability ``sigmoid(parameter)``. Kingma & Welling 2014, appendix C.1."""

    @property
    def n_parameters(self) -> int:
        return self.n_channels

    def log_prob(self, parameters: Tensor, bins: Tensor, n_bins: int) -> Tensor:
        if n_bins != 2:
            raise ValueError(f"a Bernoulli distribution is one of 2 grey levels, and the images have {n_bins}")
        # log sigmoid(a) of a pixel that is 1, log sigmoid(-a) of one that is 0.
        return -F.softplus((1 - 2 * bins.to(parameters.dtype)) * parameters).sum((-3, -2, -1))

    def mean(self, parameters: Tensor) -> Tensor:
        return torch.sigmoid(parameters) - 0.5


class LogisticMixture(Observation):
    """The discretised mixture of logistics of Salimans et al. 2017 (PixelCNN++), sec. 2.1 and 2.2.

    On [-1, 1], which the n_bins grey levels divide evenly, a value lies in its bin with the mass that a mixture of M
    logistic distributions has there; the two outermost bins have the tails. A component is one of all channels of a
    pixel: the mean of a channel is moved by the values of the channels before it, times coefficients in (-1, 1). The
    masses of a channel, given those before, add up to 1.

    Of ``M (1 + 2 C + C (C - 1) / 2)`` parameters the first M are logits of the weights; then there are M each of means
    and of log-scales of each channel, and of coefficients.

    Args:
        n_channels: C.
        n_components: M (10 as published for CIFAR-10).
    """

    def __init__(self, n_channels: int, n_components: int) -> None:
        super().__init__(n_channels)
        self.n_components = n_components

    @property
    def n_parameters(self) -> int:
        c = self.n_channels
        return self.n_components * (1 + 2 * c + c * (c - 1) // 2)

    def log_prob(self, parameters: Tensor, bins: Tensor, n_bins: int) -> Tensor:
        logits, means, log_scales, coefficients = self._split(parameters)
        low = (2 * bins.to(parameters.dtype) / n_bins - 1)[..., None, :, :]  # (B, C, 1, H, W)
        means, centres = torch.broadcast_tensors(means, low + 1 / n_bins)
        means = _moved(means, centres, coefficients)
        of_components = _log_mass(low - means, 2 / n_bins, log_scales, bins[..., None, :, :], n_bins).sum(-4)
        return torch.logsumexp(torch.log_softmax(logits, -3) + of_components, -3).sum((-2, -1))

    def mean(self, parameters: Tensor) -> Tensor:
        logits, means, _, coefficients = self._split(parameters)
        means = _moved(means, None, coefficients)
        mixed = (torch.softmax(logits, -3)[..., None, :, :, :] * means).sum(-3)
        return 0.5 * mixed.clamp(-1, 1)

    def _split(self, parameters: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Returns logits (..., M, H, W), means and log-scales (..., C, M, H, W), and coefficients (..., n, M, H, W)."""
        c = self.n_channels
        parts = parameters.unflatten(-3, (-1, self.n_components)).split([1, c, c, c * (c - 1) // 2], -4)
        logits, means, log_scales, coefficients = parts
        return logits.squeeze(-4), means, log_scales.clamp(-MOST_LOG_SCALE, MOST_LOG_SCALE), torch.tanh(coefficients)


def _moved(means: Tensor, values: Tensor | None, coefficients: Tensor) -> Tensor:
    """Adds to the mean of each channel the coefficients times the values of the channels before it.

    Args:
        means: (..., C, M, H, W).
        values: as ``means``; None: the moved means themselves.
        coefficients: (..., C (C - 1) / 2, M, H, W), those of channel 1, then the two of channel 2, ...
    """
    moved: list[Tensor] = []
    known = list(coefficients.unbind(-4))
    for channel, mean in enumerate(means.unbind(-4)):
        before = moved if values is None else list(values.unbind(-4))
        for value in before[:channel]:
            mean = mean + known.pop(0) * value
        moved.append(mean)
    return torch.stack(moved, -4)


def _log_mass(low: Tensor, width: float, log_scales: Tensor, bins: Tensor, n_bins: int) -> Tensor:
    """Returns the log of the mass between ``low`` and ``low + width``, centred; tails are in the outermost bins.

    ``sigmoid(b) - sigmoid(a) = sigmoid(b) sigmoid(-a) (1 - exp(a - b))``, whose logarithm is a sum without a difference
    of nearly equal numbers, however far in a tail the bin is.
    """
    inverse = torch.exp(-log_scales)
    a, b = low * inverse, (low + width) * inverse
    below = torch.where(bins == n_bins - 1, 0.0, F.logsigmoid(b))
    above = torch.where(bins == 0, 0.0, F.logsigmoid(-a))
    outermost = (bins == 0) | (bins == n_bins - 1)
    return below + above + torch.where(outermost, 0.0, torch.log(-torch.expm1(-width * inverse)))


def make_observation(kind: str, n_channels: int, n_components: int) -> Observation:
    """Creates the observation model ``bernoulli`` or ``logistic_mixture``.

    Raises:
        ValueError: ``kind`` is neither.
    """
    match kind:
        case "bernoulli":
            return Bernoulli(n_channels)
        case "logistic_mixture":
            return LogisticMixture(n_channels, n_components)
    raise ValueError(f"the likelihood is {kind!r}; choose bernoulli or logistic_mixture")


def log_mean_exp(values: Tensor) -> Tensor:
    """Returns ``log mean exp`` over the first dimension, (S, ...) -> (...)."""
    return torch.logsumexp(values, 0) - math.log(len(values))
