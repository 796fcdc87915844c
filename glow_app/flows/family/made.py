"""MADE, a network whose outputs see only earlier inputs, and the autoregressive layer that it makes."""

from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glow_app.flows.bijection import Bijection, deinterleave, sum_per_sample
from glow_app.flows.conditioner import Network

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"relu": F.relu, "tanh": torch.tanh}


BOUND = 5.0
"""Largest log-deviation of a conditional, in both directions."""


class MaskedLinear(nn.Linear):
    """A linear layer without the weights from units of a higher degree than that of the output.

    Degrees ascend in both, so that an output sees a prefix of the inputs.

    Args:
        columns: degrees of the inputs.
        rows: degrees of the outputs, 0 ... n_dims.
        n_dims: D.
    """

    columns: Tensor
    rows: Tensor

    def __init__(self, columns: list[int], rows: list[int], n_dims: int) -> None:
        super().__init__(len(columns), len(rows))
        self.register_buffer("columns", torch.tensor(columns), persistent=False)
        self.register_buffer("rows", torch.tensor(rows), persistent=False)
        found = Counter(rows)
        self.counts = [found[degree] for degree in range(n_dims + 1)]
        """Number of outputs of each degree."""

    def forward(self, input: Tensor) -> Tensor:
        return F.linear(input, self.masked_weight().to(input.dtype), self.bias.to(input.dtype))

    def masked_weight(self) -> Tensor:
        """Returns the weights (out, in), 0 where an output does not see an input."""
        return self.weight * (self.rows[:, None] >= self.columns)

    def by_degree(self, dtype: torch.dtype) -> list[Callable[[Tensor], Tensor]]:
        """Returns a map for each degree: from the inputs (B, n) that its outputs see, which come first, to these."""
        weights, biases = self.weight.to(dtype).split(self.counts), self.bias.to(dtype).split(self.counts)
        return [
            lambda h, weight=weight, bias=bias: F.linear(h, weight[:, : h.shape[1]], bias)
            for weight, bias in zip(weights, biases, strict=True)
        ]


class MADE(Network):
    """A masked network: (B, D, 1, 1) -> (B, 2D, 1, 1), whose outputs 2i and 2i + 1 see the inputs 0 ... i - 1.

    Germain et al. 2015. Every hidden unit has a degree m, 1 ... D - 1, and sees the inputs and units of degrees up to
    m, where input i has degree i + 1. Degrees are sequential as in Papamakarios et al. 2017: equally many units of
    each, here in ascending order, and spread evenly over 1 ... D - 1 if there are fewer units. The last layer starts at
    zero. Another order of the inputs is :class:`glow_app.flows.family.vector.Reordered`.

    Args:
        n_dims: D.
        width: units per hidden layer.
        n_hidden: number of hidden layers.
        activation: ``relu`` or ``tanh``.
        compute_dtype: dtype of the products, see :class:`glow_app.flows.conditioner.Network`.

    Raises:
        ValueError: ``activation`` is neither.
    """

    def __init__(
        self,
        n_dims: int,
        width: int,
        n_hidden: int,
        activation: str = "relu",
        compute_dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(compute_dtype)
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation is {activation!r}; choose one of {', '.join(ACTIVATIONS)}")
        self.activation = activation
        self.n_dims = n_dims
        inputs, outputs = list(range(1, n_dims + 1)), [i // 2 for i in range(2 * n_dims)]
        hidden = [1 + unit * (n_dims - 1) // width for unit in range(width)]
        degrees = [inputs, *[hidden] * n_hidden, outputs]
        self.layers = nn.ModuleList(MaskedLinear(a, b, n_dims) for a, b in pairwise(degrees))
        *before, last = self._layers
        for layer in before:
            nn.init.kaiming_normal_(layer.weight, nonlinearity=activation)  # type: ignore[arg-type]
            nn.init.zeros_(layer.bias)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    @property
    def _layers(self) -> list[MaskedLinear]:
        return cast(list[MaskedLinear], list(self.layers))

    def forward(self, x: Tensor) -> Tensor:
        h = x.flatten(1).to(self.compute_dtype or x.dtype)
        *before, last = self._layers
        for layer in before:
            h = ACTIVATIONS[self.activation](layer(h))
        return last(h).to(x.dtype)[:, :, None, None]

    def initialize(self, x: Tensor) -> Tensor:
        return self(x)

    def in_turn(self, z: Tensor, find: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """Finds the inputs one after the other: input i is ``find(z[:, i], outputs of i)``.

        D passes through the network. Each of them computes those units alone whose last input has just been found, so
        all of them together take as many products as one.

        Args:
            z: (B, D, 1, 1).
            find: from (B, 1) and (B, 2), the outputs 2i and 2i + 1, to (B, 1).

        Returns:
            (B, D, 1, 1), the inputs.
        """
        activate, dtype = ACTIVATIONS[self.activation], self.compute_dtype or z.dtype
        *before, last = [layer.by_degree(dtype) for layer in self._layers]
        found = z.new_zeros(len(z), 0)
        units = [found.to(dtype)] * len(before)
        for i, given in enumerate(z.flatten(1).split(1, 1)):
            h = found.to(dtype)
            for number, of_degree in enumerate(before):
                h = units[number] = torch.cat([units[number], activate(of_degree[i](h))], 1)
            found = torch.cat([found, find(given, last[i](h).to(z.dtype))], 1)
        return found[:, :, None, None]


class MaskedAutoregressive(Bijection):
    """``z_i = (x_i - mu_i) exp(-alpha_i)``, mu and alpha functions of the numbers before; log|det| is ``-sum(alpha)``.

    The density of ``x`` is a product of Gaussian conditionals with means mu and log-deviations alpha, which one
    :class:`MADE` predicts. ``forward`` is 1 pass through the network, ``inverse`` is D passes, one for each dimension.
    Papamakarios et al. 2017, sec. 3.1. There alpha has no bounds; here it is ``raw / (1 + |raw| / 5)``, between -5 and
    5: without, a point far from all others may get a gradient that ends the training.

    Args:
        network: predicts mu and the raw alpha, interleaved.
    """

    def __init__(self, network: MADE) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        mu, raw = deinterleave(self.network(x))
        alpha = bounded(raw)
        return (x - mu) * torch.exp(-alpha), -sum_per_sample(alpha)

    def inverse(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        return self.network.in_turn(z, lambda z, both: z * torch.exp(bounded(both[:, 1:])) + both[:, :1])

    def scales(self, x: Tensor) -> Tensor:
        """Returns the factors of ``x``, (B, D, 1, 1)."""
        return torch.exp(-bounded(deinterleave(self.network(x))[1]))


def bounded(raw: Tensor) -> Tensor:
    """Returns ``raw / (1 + |raw| / BOUND)``, near to ``raw`` around 0 and never outside of -BOUND ... BOUND."""
    return raw / (1 + raw.abs() / BOUND)
