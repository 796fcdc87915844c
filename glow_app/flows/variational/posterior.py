"""Amortised posteriors: a normal distribution that an encoder predicts for each image, and layers of flow after it."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glow_app.flows.coupling import bounded_log_scale
from glow_app.flows.family.made import MADE, MaskedLinear, bounded
from glow_app.flows.family.planar import planar, radial

POSTERIORS = ("gaussian", "planar", "radial", "iaf", "coupling")

SMALL = 0.01
"""Deviation of the weights by which parameters of a layer depend on the image before training."""


class PosteriorLayer(nn.Module, ABC):
    """An invertible map of latents whose parameters an encoder's features decide, image by image.

    Only samples of a posterior are needed, whose densities follow: layers have no inverse.
    """

    @abstractmethod
    def condition(self, features: Tensor) -> Tensor:
        """Returns the numbers that :meth:`forward` takes from the features (B, n): (B, m)."""

    @abstractmethod
    def forward(self, z: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """Returns z and ``log|det|`` in nats: (..., B, d) and (..., B).

        Args:
            z: (..., B, d): any number of latents for each image.
            condition: (B, m).
        """


class _Amortised(PosteriorLayer):
    """A layer whose parameters themselves are linear in the features.

    Args:
        n_features: numbers of an image.
        start: the parameters before training, (m,), apart from a little that depends on the image.
    """

    def __init__(self, n_features: int, start: Tensor) -> None:
        super().__init__()
        self.parameters_of = nn.Linear(n_features, len(start))
        nn.init.normal_(self.parameters_of.weight, std=SMALL)
        with torch.no_grad():
            self.parameters_of.bias.copy_(start)

    def condition(self, features: Tensor) -> Tensor:
        return self.parameters_of(features)


class AmortisedPlanar(_Amortised):
    """A planar layer (:func:`glow_app.flows.family.planar.planar`) with w, v and b of each image.

    Rezende & Mohamed 2015, eq. 10, and sec. 4 (an inference network predicts the flow's parameters).

    Args:
        n_features: numbers of an image.
        n_dims: d.
    """

    def __init__(self, n_features: int, n_dims: int) -> None:
        w, v, b = torch.randn(n_dims) / math.sqrt(n_dims), SMALL * torch.randn(n_dims), torch.randn(1)
        super().__init__(n_features, torch.cat([w, v, b]))
        self.n_dims = n_dims

    def forward(self, z: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        w, v, b = condition.split([self.n_dims, self.n_dims, 1], -1)
        return planar(z, w, v, b[..., 0])


class AmortisedRadial(_Amortised):
    """A radial layer (:func:`glow_app.flows.family.planar.radial`) with centre, alpha and beta of each image.

    Rezende & Mohamed 2015, eq. 14, and sec. 4.

    Args:
        n_features: numbers of an image.
        n_dims: d.
    """

    def __init__(self, n_features: int, n_dims: int) -> None:
        log_alpha = torch.full((1,), 0.5 * math.log(n_dims))
        super().__init__(n_features, torch.cat([torch.randn(n_dims), log_alpha, SMALL * torch.randn(1)]))
        self.n_dims = n_dims

    def forward(self, z: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        centre, log_alpha, raw = condition.split([self.n_dims, 1, 1], -1)
        return radial(z, centre, log_alpha[..., 0], raw[..., 0])


class InverseAutoregressive(PosteriorLayer):
    """``z_i = mu_i + exp(alpha_i) z_i``, mu and alpha of a :class:`MADE` of the numbers before and of the features.

    Kingma et al. 2016, sec. 3 and algorithm 1. There the step is gated, ``sigma z + (1 - sigma) m``; here alpha is
    bounded as in :class:`glow_app.flows.family.made.MaskedAutoregressive`, and a layer starts as the identity. Each
    layer reverses the order of the numbers. Features are added in the first hidden layer and to mu and alpha.

    Args:
        n_features: numbers of an image.
        n_dims: d.
        width: units per hidden layer.
        n_hidden: number of hidden layers.
    """

    def __init__(self, n_features: int, n_dims: int, width: int, n_hidden: int) -> None:
        super().__init__()
        self.network = MADE(n_dims, width, n_hidden)
        self.to_hidden = nn.Linear(n_features, width, bias=False)
        self.to_output = nn.Linear(n_features, 2 * n_dims, bias=False)
        nn.init.zeros_(self.to_output.weight)

    def condition(self, features: Tensor) -> Tensor:
        return torch.cat([self.to_hidden(features), self.to_output(features)], -1)

    def forward(self, z: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        first, *others, last = cast(list[MaskedLinear], list(self.network.layers))
        to_hidden, to_output = condition.split([self.to_hidden.out_features, self.to_output.out_features], -1)
        z = z.flip(-1)
        h = F.relu(first(z) + to_hidden)
        for layer in others:
            h = F.relu(layer(h))
        output = last(h) + to_output
        alpha = bounded(output[..., 1::2])
        return output[..., 0::2] + torch.exp(alpha) * z, alpha.sum(-1)


class ConditionalCoupling(PosteriorLayer):
    """An affine coupling of vectors whose network sees the features besides half of the numbers.

    ``z2 = (z2 + shift(z1, features)) exp(log_scale(z1, features))``; then the halves swap. Dinh et al. 2016, sec. 3,
    with the bounded scales of :func:`glow_app.flows.coupling.bounded_log_scale`. It starts as the identity. Features
    are added in the first hidden layer and to shift and scale: by way of hidden layers alone, where they mix with
    noise, the posterior was no better than without couplings (docs/vae.md).

    Args:
        n_features: numbers of an image.
        n_dims: d, at least 2.
        width: units per hidden layer.
        n_hidden: number of hidden layers.

    Raises:
        ValueError: ``n_dims`` is below 2.
    """

    def __init__(self, n_features: int, n_dims: int, width: int, n_hidden: int) -> None:
        super().__init__()
        if n_dims < 2:
            raise ValueError(f"a coupling divides its numbers in two: it needs at least 2, not {n_dims}")
        self.n_given = (n_dims + 1) // 2
        self.to_hidden = nn.Linear(n_features, width)
        self.to_output = nn.Linear(n_features, 2 * (n_dims - self.n_given), bias=False)
        self.from_given = nn.Linear(self.n_given, width, bias=False)
        self.hidden = nn.ModuleList(nn.Linear(width, width) for _ in range(n_hidden - 1))
        self.last = nn.Linear(width, 2 * (n_dims - self.n_given))
        for start in (self.to_output.weight, self.last.weight, self.last.bias):
            nn.init.zeros_(start)

    def condition(self, features: Tensor) -> Tensor:
        return torch.cat([self.to_hidden(features), self.to_output(features)], -1)

    def forward(self, z: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        z1, z2 = z[..., : self.n_given], z[..., self.n_given :]
        to_hidden, to_output = condition.split([self.to_hidden.out_features, self.to_output.out_features], -1)
        h = F.relu(self.from_given(z1) + to_hidden)
        for layer in self.hidden:
            h = F.relu(layer(h))
        shift, raw = (self.last(h) + to_output).chunk(2, -1)
        log_scale = bounded_log_scale(raw)
        return torch.cat([(z2 + shift) * torch.exp(log_scale), z1], -1), log_scale.sum(-1)


class Posterior(nn.Module):
    """``q(z | x)``: a normal distribution of independent numbers, then layers of flow. Rezende & Mohamed 2015, sec. 4.

    ``z_0 = mu(x) + sigma(x) noise`` and ``z = f_K(... f_1(z_0))``; ``log q(z | x)`` is that of ``z_0`` minus the
    layers' log-determinants. log sigma is bounded by 5 in both directions.

    Args:
        n_features: numbers that the encoder computes of an image.
        n_dims: d.
        layers: K layers.
    """

    def __init__(self, n_features: int, n_dims: int, layers: Sequence[PosteriorLayer]) -> None:
        super().__init__()
        self.n_dims = n_dims
        self.head = nn.Linear(n_features, 2 * n_dims)
        self.layers = nn.ModuleList(layers)

    def forward(self, features: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Returns latents and their log-density ``log q(z | x)`` in nats: (..., B, d) and (..., B).

        Args:
            features: (B, n_features).
            noise: standard normal numbers (..., B, d).
        """
        mean, raw = self.head(features).chunk(2, -1)
        log_std = bounded(raw)
        z = mean + torch.exp(log_std) * noise
        log_q = -(0.5 * noise.square() + log_std).sum(-1) - 0.5 * math.log(2 * math.pi) * self.n_dims
        for layer in cast(list[PosteriorLayer], list(self.layers)):
            z, logdet = layer(z, layer.condition(features))
            log_q = log_q - logdet
        return z, log_q


def make_posterior(
    kind: str, n_features: int, n_dims: int, n_layers: int, width: int = 128, n_hidden: int = 1
) -> Posterior:
    """Creates a posterior.

    Args:
        kind: one of :data:`POSTERIORS`; ``gaussian`` has no layers.
        n_features: numbers that the encoder computes of an image.
        n_dims: d.
        n_layers: K.
        width: ``iaf`` and ``coupling``: units per hidden layer of their networks.
        n_hidden: ``iaf`` and ``coupling``: hidden layers of their networks.

    Raises:
        ValueError: ``kind`` is none of them, or a coupling has fewer than 2 numbers.
    """
    if kind not in POSTERIORS:
        raise ValueError(f"the posterior is {kind!r}; choose one of {', '.join(POSTERIORS)}")
    layers: list[PosteriorLayer] = []
    for _ in range(n_layers):
        match kind:
            case "planar":
                layers.append(AmortisedPlanar(n_features, n_dims))
            case "radial":
                layers.append(AmortisedRadial(n_features, n_dims))
            case "iaf":
                layers.append(InverseAutoregressive(n_features, n_dims, width, n_hidden))
            case "coupling":
                layers.append(ConditionalCoupling(n_features, n_dims, width, n_hidden))
    return Posterior(n_features, n_dims, layers)
