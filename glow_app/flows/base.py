"""Base distributions: the distributions of a flow's latents under the model.

All numbers of all latents are independent and identically distributed, symmetric about 0, which is the mode. Latents
drawn at temperature ``T`` are ``T`` times those drawn at 1; at 0 they are the mode. With the normal base they have
standard deviation ``T``, as in Kingma & Dhariwal 2018, sec. 6.2.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from glow_app import noise
from glow_app.flows.bijection import sum_per_sample


class Base(ABC):
    """The distribution of one latent number."""

    @abstractmethod
    def draw(self, seed: int, positions: Tensor, n: int) -> Tensor:
        """Draws ``n`` numbers for each sample, a function of (seed, position of the sample): float64 (B, n).

        Args:
            seed: any integer.
            positions: int64 (B,), the indices of the samples.
            n: numbers per sample.
        """

    @abstractmethod
    def log_prob_of(self, z: Tensor) -> Tensor:
        """The log-density of one latent (B, ...), in nats, summed over its numbers: (B,)."""

    def log_prob(self, latents: Sequence[Tensor]) -> Tensor:
        """The log-density of all latents together, in nats: (B,)."""
        total = torch.zeros(len(latents[0]), dtype=latents[0].dtype, device=latents[0].device)
        for z in latents:
            total = total + self.log_prob_of(z)
        return total


class Normal(Base):
    """N(0, 1): the base of Glow (Kingma & Dhariwal 2018, sec. 3) and of Real NVP (Dinh et al. 2016, sec. 3)."""

    def draw(self, seed: int, positions: Tensor, n: int) -> Tensor:
        return noise.normal(seed, noise.Stream.LATENTS, positions, n)

    def log_prob_of(self, z: Tensor) -> Tensor:
        return -0.5 * (sum_per_sample(z.square()) + math.log(2 * math.pi) * z[0].numel())


class Logistic(Base):
    """The logistic distribution of scale 1, ``log p(z) = -log(1 + e^z) - log(1 + e^-z)``: Dinh et al. 2014, sec. 3.4.

    Its tails are heavier than those of the normal; its standard deviation is ``pi / sqrt(3)``, 1.81.
    """

    def draw(self, seed: int, positions: Tensor, n: int) -> Tensor:
        return noise.logistic(seed, noise.Stream.LATENTS, positions, n)

    def log_prob_of(self, z: Tensor) -> Tensor:
        return -sum_per_sample(F.softplus(z) + F.softplus(-z))


BASES: dict[str, Base] = {"normal": Normal(), "logistic": Logistic()}


def base_distribution(name: str) -> Base:
    """Returns the base of this name.

    Raises:
        ValueError: no base has this name.
    """
    if name not in BASES:
        raise ValueError(f"base is {name!r}; choose one of {', '.join(BASES)}")
    return BASES[name]
