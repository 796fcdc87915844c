"""The network that predicts a coupling's shift and scale: three convolutions, the last initialised to zero.

Border channel: the authors' code pads the input of a 3x3 convolution with zeros and adds one input channel that is 1 on
the padding and 0 inside, so that the network sees where the image ends. The channel is the same for every image, so its
convolution is a constant map, added to the bias.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glow_app.flows.pixel_affine import LOGS_FACTOR, standardizing


def border_map(kernel: Tensor, height: int, width: int) -> Tensor:
    """The 3x3 convolution of the border channel: ``kernel`` applied to a frame of ones around zeros.

    Args:
        kernel: (out, 1, 3, 3).
        height: rows of the image.
        width: columns of the image.

    Returns:
        (1, out, height, width), zero except along the edge.
    """
    return F.conv2d(F.pad(kernel.new_zeros(1, 1, height, width), (1, 1, 1, 1), value=1.0), kernel)


class ScaledConv2d(nn.Module):
    """``(conv(x) + border map + bias) * exp(3 * logs)``: stride 1, zero padding that keeps the size.

    Computed in the dtype of ``x``. All parameters start at zero, unless a subclass initialises them.

    Args:
        n_in: input channels, the border channel not counted.
        n_out: output channels.
        kernel_size: 1 or 3.
        border: whether there is a border channel (only for 3x3).
    """

    def __init__(self, n_in: int, n_out: int, kernel_size: int, border: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(n_out, n_in, kernel_size, kernel_size))
        self.border = nn.Parameter(torch.zeros(n_out, 1, kernel_size, kernel_size)) if border else None
        self.bias = nn.Parameter(torch.zeros(n_out))
        self.logs = nn.Parameter(torch.zeros(n_out))

    def forward(self, x: Tensor) -> Tensor:
        bias = self.bias[:, None, None]
        if self.border is not None:
            bias = bias + border_map(self.border, *x.shape[2:])
        y = F.conv2d(x, self.weight.to(x.dtype), padding=self.weight.shape[-1] // 2)
        return ((y + bias) * torch.exp(LOGS_FACTOR * self.logs)[:, None, None]).to(x.dtype)


class ActNormConv2d(ScaledConv2d):
    """A convolution followed by ActNorm. Weights start at N(0, 0.05); bias and scale are set from data.

    Kingma & Dhariwal 2018, sec. 3.3; the constant and the normalisation are those of the authors' code.
    """

    def __init__(self, n_in: int, n_out: int, kernel_size: int, border: bool) -> None:
        super().__init__(n_in, n_out, kernel_size, border)
        nn.init.normal_(self.weight, std=0.05)
        if self.border is not None:
            nn.init.normal_(self.border, std=0.05)

    def initialize(self, x: Tensor) -> Tensor:
        """Sets bias and scale so that the output over the batch ``x`` is standardised per channel; returns it."""
        self.bias.zero_()
        self.logs.zero_()
        y = self(x)
        bias, logs = standardizing(y)
        self.bias.copy_(bias)
        self.logs.copy_(logs)
        return (y + bias[:, None, None]) * torch.exp(LOGS_FACTOR * logs)[:, None, None]


class ZeroConv2d(ScaledConv2d):
    """A 3x3 convolution that starts at zero, so that the coupling starts as the identity.

    Kingma & Dhariwal 2018, sec. 3.3 (zero initialisation); the learned output scale is that of the authors' code.
    """

    def __init__(self, n_in: int, n_out: int, border: bool) -> None:
        super().__init__(n_in, n_out, kernel_size=3, border=border)


class Network(nn.Module, ABC):
    """The conditioner of a coupling: (B, n_in, H, W) -> (B, n_out, H, W).

    Args:
        compute_dtype: dtype of its convolutions or products, e.g. ``torch.bfloat16``; None is that of ``x``.
            The output always has the dtype of ``x``: the flow's trunk never leaves float32.
    """

    def __init__(self, compute_dtype: torch.dtype | None) -> None:
        super().__init__()
        self.compute_dtype = compute_dtype

    @abstractmethod
    def initialize(self, x: Tensor) -> Tensor:
        """Initialises data-dependent parameters from the batch ``x``, in its dtype, and returns the output."""


class ConvNet(Network):
    """The published conditioner: 3x3 -> ActNorm -> ReLU -> 1x1 -> ActNorm -> ReLU -> zero-initialised 3x3.

    Args:
        n_in: input channels.
        n_out: output channels.
        width: hidden channels (512 as published).
        border: border channel in both 3x3 convolutions.
        compute_dtype: dtype of the convolutions, see :class:`Network`.
    """

    def __init__(self, n_in: int, n_out: int, width: int, border: bool, compute_dtype: torch.dtype | None) -> None:
        super().__init__(compute_dtype)
        self.conv1 = ActNormConv2d(n_in, width, kernel_size=3, border=border)
        self.conv2 = ActNormConv2d(width, width, kernel_size=1, border=False)
        self.conv3 = ZeroConv2d(width, n_out, border)

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.conv1(x.to(self.compute_dtype or x.dtype)))
        h = F.relu(self.conv2(h))
        return self.conv3(h).to(x.dtype)

    def initialize(self, x: Tensor) -> Tensor:
        """Initialises both ActNorms on the batch ``x``, in its dtype, and returns the output (zeros at first)."""
        h = F.relu(self.conv1.initialize(x))
        h = F.relu(self.conv2.initialize(h))
        return self.conv3(h)
