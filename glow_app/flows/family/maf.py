"""MAF and IAF: autoregressive layers, each with a MADE, in one direction or turned round."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from glow_app import noise
from glow_app.flows.bijection import Bijection
from glow_app.flows.family.batchnorm import NormalisedFlow
from glow_app.flows.family.batchnorm import normalisation as make_normalisation
from glow_app.flows.family.made import MADE, MaskedAutoregressive
from glow_app.flows.family.nice import level_of_vectors
from glow_app.flows.family.vector import Reordered


class Inverse(Bijection):
    """A bijection turned round: its forward map is the inverse, and its inverse the forward map.

    Args:
        inside: the bijection.
    """

    def __init__(self, inside: Bijection) -> None:
        super().__init__()
        self.inside = inside

    def forward(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.inside.inverse_with_logdet(x, cond)

    def inverse(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        return self.inside(z, cond)[0]

    def inverse_with_logdet(self, z: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.inside(z, cond)


def order_of_layer(number: int, n_dims: int, seed: int | None) -> Tensor:
    """Returns the order of the dimensions in a layer, int64 (D,): each reverses the one before, or, by a seed, random.

    Args:
        number: index of the layer.
        n_dims: D.
        seed: seed of random orders; None for reversals, as in Papamakarios et al. 2017, sec. 3.1.
    """
    if seed is not None:
        return noise.permutation(seed, noise.Stream.DIMENSIONS, number, n_dims)
    return torch.arange(n_dims) if number % 2 == 0 else torch.arange(n_dims).flip(0)


class MAF(NormalisedFlow):
    """The masked autoregressive flow of Papamakarios, Pavlakou & Murray 2017, of an image as one vector of D numbers.

    Each layer is a :class:`glow_app.flows.family.made.MaskedAutoregressive` and a normalisation (sec. 3.1). Latents and
    ``log_prob`` take 1 pass through each layer's network; ``inverse`` and samples take D passes, one for each number.

    >>> import torch
    >>> from glow_app.flows import MAF, initialize
    >>> flow = MAF((1, 4, 4), n_layers=2, n_hidden=1, width=32)
    >>> x = torch.rand(32, 1, 4, 4) - 0.5
    >>> initialize(flow, x)
    >>> [tuple(z.shape) for z in flow(x)[0]]
    [(32, 16, 1, 1)]

    Args:
        image_shape: (C, H, W); points in the plane are (2, 1, 1).
        n_layers: number of autoregressive layers.
        n_hidden: hidden layers of each MADE.
        width: units per hidden layer.
        activation: ``relu`` or ``tanh``, of the hidden layers.
        normalisation: ``batchnorm`` (published) or ``actnorm``, after each layer.
        momentum: momentum of batch normalisation, see :class:`glow_app.flows.family.batchnorm.BatchNorm`.
        order_seed: see :func:`order_of_layer`.
        logit: alpha of an initial logit transform; None for no transform.
        n_classes: number of classes, each with a learned shift and scale of the latents; 0 for an unconditional model.
        memory: ``plain`` or ``checkpoint``; see :class:`glow_app.flows.bijection.Chain`.

    Raises:
        ValueError: an option is not one of those named.
    """

    decodes_in_turn = True

    def __init__(
        self,
        image_shape: Sequence[int],
        n_layers: int,
        n_hidden: int,
        width: int,
        activation: str = "relu",
        normalisation: str = "batchnorm",
        momentum: float = 0.0,
        order_seed: int | None = None,
        logit: float | None = None,
        n_classes: int = 0,
        memory: str = "plain",
    ) -> None:
        if memory == "reversible":
            raise ValueError("memory=reversible would invert layers that take a pass per dimension; choose checkpoint")
        n_dims = math.prod(image_shape)
        steps: list[Bijection] = []
        for number in range(n_layers):
            layer = MaskedAutoregressive(MADE(n_dims, width, n_hidden, activation))
            steps += [
                Reordered(self._directed(layer), order_of_layer(number, n_dims, order_seed)),
                make_normalisation(normalisation, n_dims, momentum),
            ]
        level = level_of_vectors(image_shape, steps, logit, n_classes, memory)
        super().__init__(image_shape, [level], [(n_dims, 1, 1)], n_classes=n_classes)

    @staticmethod
    def _directed(layer: MaskedAutoregressive) -> Bijection:
        return layer


class IAF(MAF):
    """The inverse autoregressive flow of Kingma et al. 2016: a :class:`MAF` whose layers are turned round.

    Samples and ``inverse`` take 1 pass through each layer's network; latents and ``log_prob``, and so training by
    likelihood, take D passes, one for each number of the image. The arguments are those of :class:`MAF`.
    """

    decodes_in_turn = False

    @staticmethod
    def _directed(layer: MaskedAutoregressive) -> Bijection:
        return Inverse(layer)
