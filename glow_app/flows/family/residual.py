"""The conditioner of Real NVP: a convolutional residual network with weight normalisation."""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glow_app.flows.bijection import Bijection
from glow_app.flows.conditioner import Network
from glow_app.flows.family.batchnorm import normalisation


class WeightNormConv2d(nn.Module):
    """A convolution whose weights are ``gain * v / |v|`` for each output channel (Salimans & Kingma 2016).

    Stride 1, zero padding that keeps the size; computed in the dtype of ``x``.

    Args:
        n_in: input channels.
        n_out: output channels.
        kernel_size: 1 or 3.
        zero: whether gains, and so the output, start at 0.
    """

    def __init__(self, n_in: int, n_out: int, kernel_size: int, zero: bool = False) -> None:
        super().__init__()
        self.v = nn.Parameter(torch.empty(n_out, n_in, kernel_size, kernel_size))
        nn.init.kaiming_normal_(self.v, nonlinearity="relu")
        self.gain = nn.Parameter(torch.zeros(n_out) if zero else self._lengths().detach())
        self.bias = nn.Parameter(torch.zeros(n_out))

    def forward(self, x: Tensor) -> Tensor:
        weight = self.v * (self.gain / self._lengths())[:, None, None, None]
        return F.conv2d(x, weight.to(x.dtype), self.bias.to(x.dtype), padding="same")

    def _lengths(self) -> Tensor:
        return torch.linalg.vector_norm(self.v, dim=(1, 2, 3))


class ResidualBlock(nn.Module):
    """``h + conv(relu(norm(conv(relu(norm(h))))))``, 3x3 convolutions (He et al. 2016).

    Args:
        width: channels.
        kind: kind of normalisation, see :func:`glow_app.flows.family.batchnorm.normalisation`.
        momentum: momentum of batch normalisation.
    """

    def __init__(self, width: int, kind: str, momentum: float) -> None:
        super().__init__()
        self.norm1 = normalisation(kind, width, momentum)
        self.conv1 = WeightNormConv2d(width, width, 3)
        self.norm2 = normalisation(kind, width, momentum)
        self.conv2 = WeightNormConv2d(width, width, 3)

    def forward(self, h: Tensor) -> Tensor:
        return h + self.conv2(normalised(self.norm2, self.conv1(normalised(self.norm1, h))))

    def initialize(self, h: Tensor) -> Tensor:
        """Initialises the normalisations on ``h``, and returns the output."""
        inner = self.conv1(F.relu(self.norm1.initialize(h)))
        return h + self.conv2(F.relu(self.norm2.initialize(inner)))


class ResidualNet(Network):
    """3x3 -> residual blocks -> normalisation -> ReLU -> zero-initialised 1x1. Dinh et al. 2016, sec. 3.6 and 4.1.

    Args:
        n_in: input channels.
        n_out: output channels.
        width: hidden channels.
        n_blocks: residual blocks.
        kind: kind of normalisation, see :func:`glow_app.flows.family.batchnorm.normalisation`.
        momentum: momentum of batch normalisation.
        compute_dtype: dtype of the convolutions, see :class:`glow_app.flows.conditioner.Network`.
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        width: int,
        n_blocks: int,
        kind: str,
        momentum: float,
        compute_dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(compute_dtype)
        self.first = WeightNormConv2d(n_in, width, 3)
        self.blocks = nn.ModuleList(ResidualBlock(width, kind, momentum) for _ in range(n_blocks))
        self.norm = normalisation(kind, width, momentum)
        self.last = WeightNormConv2d(width, n_out, 1, zero=True)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x.to(self.compute_dtype or x.dtype))
        for block in self.blocks:
            h = block(h)
        return self.last(normalised(self.norm, h)).to(x.dtype)

    def initialize(self, x: Tensor) -> Tensor:
        h = self.first(x)
        for block in self.blocks:
            h = cast(ResidualBlock, block).initialize(h)
        return cast(Tensor, self.last(F.relu(self.norm.initialize(h))))


def normalised(norm: Bijection, h: Tensor) -> Tensor:
    """Returns ``relu(norm(h))`` in the dtype of ``h``, normalised in the dtype of the trunk."""
    trunk = h.float() if h.dtype in (torch.bfloat16, torch.float16) else h
    return F.relu(norm(trunk)[0]).to(h.dtype)
