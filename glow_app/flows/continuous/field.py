"""Vector fields ``v(t, x)``: the networks whose equation dx/dt = v(t, x) a continuous flow solves."""

import math
from abc import ABC, abstractmethod
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

N_FREQUENCIES = 8


class VectorField(nn.Module, ABC):
    """A smooth function of a time and an image, as large as the image.

    Smooth, since a solver's steps and the existence of an inverse depend on it (Chen et al. 2018, sec. 2): the
    activations are SiLUs, not ReLUs.

    Attributes:
        compute_dtype: dtype of its products, e.g. ``torch.bfloat16``; None is that of ``x``.
    """

    def __init__(self) -> None:
        super().__init__()
        self.compute_dtype: torch.dtype | None = None

    @abstractmethod
    def forward(self, t: Tensor, x: Tensor, cond: Tensor | None = None) -> Tensor:
        """Returns the velocity, (B, C, H, W) in the dtype of ``x``.

        Args:
            t: time, 0 at the base and 1 at the data: (), or (B,).
            x: (B, C, H, W).
            cond: int64 (B,) class labels of a conditional field.
        """


def time_features(t: Tensor) -> Tensor:
    """Returns ``sin`` and ``cos`` of ``pi k t``, k = 1 ... 8, and ``t``: (..., 17)."""
    angles = math.pi * t[..., None] * torch.arange(1, N_FREQUENCIES + 1, dtype=t.dtype, device=t.device)
    return torch.cat([angles.sin(), angles.cos(), t[..., None]], -1)


def place_features(x: Tensor) -> Tensor:
    """Returns numbers with ``sin`` and ``cos`` of ``pi k x / 4``, k = 1 ... 8: (B, D) -> (B, 17 D).

    Of numbers alone a network learns what varies slowly first, and thin shapes last (Tancik et al. 2020).
    """
    angles = math.pi / 4 * x[..., None] * torch.arange(1, N_FREQUENCIES + 1, dtype=x.dtype, device=x.device)
    return torch.cat([x, angles.sin().flatten(1), angles.cos().flatten(1)], 1)


class MLPField(VectorField):
    """Linear layers with SiLUs between them, of :func:`place_features` and :func:`time_features`.

    The last layer starts at zero, so that the flow starts as the identity.

    Args:
        n_dims: D = C * H * W.
        width: units per hidden layer.
        n_hidden: number of hidden layers.
        n_classes: number of classes, each with a learned vector added in the first layer; 0: none.
    """

    def __init__(self, n_dims: int, width: int, n_hidden: int, n_classes: int = 0) -> None:
        super().__init__()
        sizes = [(2 * N_FREQUENCIES + 1) * n_dims, *[width] * n_hidden]
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        self.time = nn.Linear(2 * N_FREQUENCIES + 1, width, bias=False)
        self.classes = nn.Embedding(n_classes, width) if n_classes else None
        self.last = nn.Linear(width, n_dims)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, t: Tensor, x: Tensor, cond: Tensor | None = None) -> Tensor:
        first, *others = self.hidden
        dtype = self.compute_dtype or x.dtype
        h = _linear(first, place_features(x.flatten(1)).to(dtype)) + _linear(self.time, time_features(t).to(dtype))
        if self.classes is not None:
            h = h + self.classes(cond).to(dtype)
        for layer in others:
            h = _linear(layer, F.silu(h))
        return _linear(self.last, F.silu(h)).to(x.dtype).view_as(x)


def _linear(layer: nn.Module, x: Tensor) -> Tensor:
    """Applies a linear layer in the dtype of ``x``."""
    assert isinstance(layer, nn.Linear)
    return F.linear(x, layer.weight.to(x.dtype), None if layer.bias is None else layer.bias.to(x.dtype))
