"""Couplings on vectors: (B, D) as (B, D, 1, 1), images of one pixel with D channels.

So vectors have the interface of images, and layers that act on channels accept them: couplings, here with an
:class:`MLP` as conditioner, ActNorm, 1x1 convolutions (any invertible matrix, as long as D is small), permutations.
Layers that halve the image, such as :class:`glow_app.flows.squeeze.Squeeze`, do not. A flow of vectors is

>>> import torch
>>> from glow_app.flows import Chain, Flow, initialize, vector_coupling
>>> steps = [vector_coupling("affine", "halves", i % 2, n_dims=2, width=16, n_hidden=2) for i in range(4)]
>>> flow = Flow((2, 1, 1), [Chain(steps)], [(2, 1, 1)])
>>> points = torch.randn(100, 2)[:, :, None, None]
>>> initialize(flow, points)
>>> tuple(flow.log_prob(points).shape), tuple(flow.sample(5).flatten(1).shape)
((100,), (5, 2))
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glow_app.flows.bijection import Bijection
from glow_app.flows.conditioner import Network
from glow_app.flows.coupling import AdditiveCoupling, AffineCoupling

PARTITIONS = ("even_odd", "halves")


class MLP(Network):
    """Linear layers with ReLUs between them: (B, n_in, 1, 1) -> (B, n_out, 1, 1). Dinh et al. 2014, sec. 5.1.

    The last layer starts at zero, so that the coupling starts as the identity, as in Glow.

    Args:
        n_in: input numbers.
        n_out: output numbers.
        width: units per hidden layer.
        n_hidden: number of hidden layers, each with a ReLU.
        compute_dtype: dtype of the products, see :class:`glow_app.flows.conditioner.Network`.
    """

    def __init__(
        self, n_in: int, n_out: int, width: int, n_hidden: int, compute_dtype: torch.dtype | None = None
    ) -> None:
        super().__init__(compute_dtype)
        sizes = [n_in, *[width] * n_hidden]
        hidden = [nn.Linear(a, b) for a, b in pairwise(sizes)]
        for layer in hidden:
            # He et al. 2015: activations have the same scale in every layer.
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
        self.hidden = nn.ModuleList(hidden)
        self.last = nn.Linear(sizes[-1], n_out)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, x: Tensor) -> Tensor:
        h = x.flatten(1).to(self.compute_dtype or x.dtype)
        for layer in [*self.hidden, self.last]:
            h = F.linear(h, layer.weight.to(h.dtype), layer.bias.to(h.dtype))
            if layer is not self.last:
                h = F.relu(h)
        return h.to(x.dtype)[:, :, None, None]

    def initialize(self, x: Tensor) -> Tensor:
        return self(x)


class Reordered(Bijection):
    """A bijection applied to reordered channels, whose order is then restored: ``z[order] = inside(x[order])``.

    Args:
        inside: a bijection that keeps the shape.
        order: int64 (C,), a permutation of 0 ... C-1.

    Raises:
        ValueError: ``order`` is no permutation.
    """

    order: Tensor
    back: Tensor

    def __init__(self, inside: Bijection, order: Tensor) -> None:
        super().__init__()
        # Weights are counted on the meta device, where tensors have no values.
        if not order.is_meta and (missing := set(range(len(order))).difference(order.tolist())):
            raise ValueError(f"order is no permutation of 0 ... {len(order) - 1}: {min(missing)} is missing")
        self.inside = inside
        self.register_buffer("order", order, persistent=False)
        self.register_buffer("back", order.argsort(), persistent=False)

    def forward(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        z, logdet = self.inside(x[:, self.order], cond)
        return z[:, self.back], logdet

    def inverse(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        return self.inside.inverse(z[:, self.order], cond)[:, self.back]

    def inverse_with_logdet(self, z: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x, logdet = self.inside.inverse_with_logdet(z[:, self.order], cond)
        return x[:, self.back], logdet

    def initialize(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        return self.inside.initialize(x[:, self.order], cond)[:, self.back]

    def backpropagate(
        self, z: Tensor, grad_z: Tensor, grad_logdet: Tensor, cond: Tensor | None
    ) -> tuple[Tensor, Tensor, dict[Tensor, Tensor]]:
        x, grad_x, others = self.inside.backpropagate(z[:, self.order], grad_z[:, self.order], grad_logdet, cond)
        return x[:, self.back], grad_x[:, self.back], others

    def decompose(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        z, parts = self.inside.decompose(x[:, self.order], cond)
        return z[:, self.back], parts


def vector_coupling(
    kind: str, partition: str, number: int, n_dims: int, width: int, n_hidden: int, scale: str = "bounded"
) -> Reordered:
    """Creates a coupling of vectors (B, D, 1, 1) whose conditioner is an :class:`MLP`.

    Args:
        kind: ``affine`` or ``additive``.
        partition: numbers that condition the others: ``even_odd`` (Dinh et al. 2014, sec. 5.1) or ``halves``.
        number: index of the coupling; if odd, the two parts swap roles.
        n_dims: D, at least 2.
        width: units per hidden layer of the MLP.
        n_hidden: number of hidden layers.
        scale: scale map of an affine coupling, ``sigmoid`` or ``bounded``.

    Raises:
        ValueError: an option is not one of those named, or ``n_dims`` is below 2.
    """
    if n_dims < 2:
        raise ValueError(f"a coupling divides its numbers in two: it needs at least 2, not {n_dims}")
    every = torch.arange(n_dims)
    match partition:
        case "even_odd":
            parts = [every[0::2], every[1::2]]
        case "halves":
            parts = list(every.chunk(2))
        case _:
            raise ValueError(f"partition is {partition!r}; choose one of {', '.join(PARTITIONS)}")
    # The coupling conditions on its first ceil(D / 2) channels, so for an odd D one channel may change its part.
    order = torch.cat(parts if number % 2 == 0 else parts[::-1])
    conditioning = (n_dims + 1) // 2
    changed = n_dims - conditioning
    match kind:
        case "affine":
            return Reordered(AffineCoupling(MLP(conditioning, 2 * changed, width, n_hidden), scale), order)
        case "additive":
            return Reordered(AdditiveCoupling(MLP(conditioning, changed, width, n_hidden)), order)
    raise ValueError(f"coupling is {kind!r}; choose affine or additive")
