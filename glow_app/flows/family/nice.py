"""NICE: additive couplings of an image as one vector, then a scaling of each number."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from glow_app.flows.bijection import Bijection, Chain, zero_logdet
from glow_app.flows.family.logit import Logit
from glow_app.flows.family.vector import vector_coupling
from glow_app.flows.flow import Flow
from glow_app.flows.pixel_affine import log_determinant
from glow_app.flows.split import TopPrior

LEAST_STD = 0.05
"""Floor of standard deviations when scales are initialised: many MNIST pixels are black in a few hundred images."""


class Flatten(Bijection):
    """Flattens an image to a vector: (B, C, H, W) -> (B, C * H * W, 1, 1).

    Args:
        image_shape: (C, H, W).
    """

    def __init__(self, image_shape: Sequence[int]) -> None:
        super().__init__()
        self.image_shape = tuple(image_shape)

    def forward(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return x.flatten(1)[:, :, None, None], zero_logdet(x)

    def inverse(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        return z.reshape(-1, *self.image_shape)


def level_of_vectors(
    image_shape: Sequence[int], steps: list[Bijection], logit: float | None, n_classes: int, memory: str
) -> Chain:
    """Returns the only level of a flow whose steps take an image as one vector.

    Args:
        image_shape: (C, H, W).
        steps: maps of (B, D, 1, 1), in order.
        logit: alpha of an initial logit transform; None for no transform.
        n_classes: number of classes, each with a learned shift and scale of the latents; 0 for none.
        memory: of the chain of steps, see :class:`glow_app.flows.bijection.Chain`.
    """
    layers: list[Bijection] = [] if logit is None else [Logit(logit)]
    layers += [Flatten(image_shape), Chain(steps, memory)]
    layers += [TopPrior(math.prod(image_shape), border=False, n_classes=n_classes)] if n_classes else []
    return Chain(layers)


class DiagonalScaling(Bijection):
    """``z = (x + bias) * exp(s)``, with a learned bias and log-scale for every channel. Dinh et al. 2014, sec. 3.3.

    The paper has no bias; the couplings' last biases could learn it as well. Here bias and scale are initialised from
    data, so that a run does not start far away from the base.

    Args:
        n_dims: D, channels of the vectors (B, D, 1, 1).
    """

    def __init__(self, n_dims: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(n_dims, 1, 1))
        self.s = nn.Parameter(torch.zeros(n_dims, 1, 1))

    def forward(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return (x + self.bias) * torch.exp(self.s), log_determinant(self.s.sum(), x)

    def inverse(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        return z * torch.exp(-self.s) - self.bias

    def initialize(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        std, mean = torch.std_mean(x, 0, correction=0)
        self.bias.copy_(-mean)
        self.s.copy_(-torch.log(std.clamp(min=LEAST_STD)))
        return self(x)[0]


class Nice(Flow):
    """The flow of Dinh, Krueger & Bengio 2014, sec. 5.1: one latent with as many numbers as the image.

    The even numbers condition the odd ones, then the odd ones condition the even ones, and so on.

    >>> import torch
    >>> from glow_app.flows import Nice, initialize
    >>> flow = Nice((1, 8, 8), n_couplings=4, n_hidden=2, width=32)
    >>> x = torch.rand(32, 1, 8, 8) - 0.5
    >>> initialize(flow, x)
    >>> [tuple(z.shape) for z in flow(x)[0]]
    [(32, 64, 1, 1)]

    Args:
        image_shape: (C, H, W).
        n_couplings: additive couplings (4 as published).
        n_hidden: hidden layers of each coupling's MLP (5 as published for MNIST).
        width: units per hidden layer (1000 as published for MNIST).
        base: ``logistic`` (published for MNIST) or ``normal``.
        logit: alpha of an initial logit transform; None for no transform, as published.
        n_classes: number of classes, each with a learned shift and scale of the latents; 0 for an unconditional model.
        memory: ``plain``, ``checkpoint`` or ``reversible``.
        anchor_every: couplings between two states that ``reversible`` stores.

    Raises:
        ValueError: an option is not one of those named.
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        n_couplings: int,
        n_hidden: int,
        width: int,
        base: str = "logistic",
        logit: float | None = None,
        n_classes: int = 0,
        memory: str = "plain",
        anchor_every: int = 32,
    ) -> None:
        n_dims = math.prod(image_shape)
        couplings = [vector_coupling("additive", "even_odd", i, n_dims, width, n_hidden) for i in range(n_couplings)]
        layers: list[Bijection] = [] if logit is None else [Logit(logit)]
        layers += [Flatten(image_shape), Chain(couplings, memory, anchor_every), DiagonalScaling(n_dims)]
        layers += [TopPrior(n_dims, border=False, n_classes=n_classes)] if n_classes else []
        super().__init__(image_shape, [Chain(layers)], [(n_dims, 1, 1)], base=base, n_classes=n_classes)
