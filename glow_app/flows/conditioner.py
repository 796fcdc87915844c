"""What a coupling asks for its shift and scale: three convolutions, the last of which starts at zero.

Every convolution here is followed by a learned bias and scale per channel, ``(conv(x) + bias) * exp(3 * logs)``, and is
computed as ONE convolution with scaled weights, gradients included: see ``flows.convolutions``.

Border channel: the authors' code pads the input of a 3x3 convolution with zeros and adds one input channel that is 1 on
the padding and 0 inside, so that the network knows where the image ends. That channel is the same for every image:
its convolution is computed once and added as a bias map.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glow_app.flows.fast import matmul
from glow_app.flows.fast.convolutions import LOGS_FACTOR, Layer, differentiate, run
from glow_app.flows.fast.inference import Owner, ScaledConvolutions
from glow_app.flows.fast.matmul import Matrices
from glow_app.flows.pixel_affine import standardizing

Gradients = Callable[[Tensor], tuple[Tensor, dict[Tensor, Tensor]]]
"""Given the gradient of an answer, to be asked once: that of ``x``, and those of the parameters."""


class ScaledConv2d(Owner):
    """``(conv(x) + border map + bias) * exp(3 * logs)``: stride 1, zero padding that keeps the size.

    The weights are scaled in the parameters' dtype, then everything is computed in the dtype of ``x``: bfloat16 inputs
    give a bfloat16 convolution. All parameters start at zero; subclasses say otherwise.

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
        self._convolutions = ScaledConvolutions()

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self._convolutions(x, self))

    def layer(self) -> Layer:
        """The parameters, as :func:`convolutions` takes them."""
        return Layer(self.weight, self.border, self.bias, self.logs)


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
        """Makes the output's channels mean 0 and standard deviation 1 over the batch ``x``; returns that output."""
        self.bias.zero_()
        self.logs.zero_()
        y = self(x)
        bias, logs = standardizing(y)
        self.bias.copy_(bias)
        self.logs.copy_(logs)
        return (y + bias[:, None, None]) * torch.exp(LOGS_FACTOR * logs)[:, None, None]


class ZeroConv2d(ScaledConv2d):
    """A 3x3 convolution that starts at zero, so that what it steers starts as the identity.

    Kingma & Dhariwal 2018, sec. 3.3 (zero initialisation); the learned output scale is that of the authors' code.
    """

    def __init__(self, n_in: int, n_out: int, border: bool) -> None:
        super().__init__(n_in, n_out, kernel_size=3, border=border)


class Network(nn.Module, ABC):
    """What a coupling asks: (B, n_in, H, W) -> (B, n_out, H, W).

    Args:
        compute_dtype: dtype of its products, e.g. ``torch.bfloat16``; None computes in the dtype of ``x``. The answer
            always has the dtype of ``x``: the flow's trunk never leaves float32.
    """

    def __init__(self, compute_dtype: torch.dtype | None) -> None:
        super().__init__()
        self.compute_dtype = compute_dtype

    @abstractmethod
    def initialize(self, x: Tensor) -> Tensor:
        """Sets what is initialised from data by the batch ``x``, in its own dtype, and returns the answer."""

    def with_gradients(self, x: Tensor) -> tuple[Tensor, Gradients]:
        """The answer, outside of any graph, and its gradients: what ``memory=reversible`` goes backward with."""
        parameters = [parameter for parameter in self.parameters() if parameter.requires_grad]
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            answer = self(x)

        def gradients(grad: Tensor) -> tuple[Tensor, dict[Tensor, Tensor]]:
            grad_x, *found = torch.autograd.grad(answer, [x, *parameters], grad)
            return grad_x, dict(zip(parameters, found, strict=True))

        return answer.detach(), gradients


class ConvNet(Network):
    """The published conditioner: 3x3 -> ActNorm -> ReLU -> 1x1 -> ActNorm -> ReLU -> zero-initialised 3x3.

    Args:
        n_in: channels of what conditions.
        n_out: channels of the answer.
        width: hidden channels (512 as published).
        border: border channel in both 3x3 convolutions.
        compute_dtype: of the convolutions, see :class:`Network`.
    """

    def __init__(self, n_in: int, n_out: int, width: int, border: bool, compute_dtype: torch.dtype | None) -> None:
        super().__init__(compute_dtype)
        self.conv1 = ActNormConv2d(n_in, width, kernel_size=3, border=border)
        self.conv2 = ActNormConv2d(width, width, kernel_size=1, border=False)
        self.conv3 = ZeroConv2d(width, n_out, border)
        self._convolutions = ScaledConvolutions()

    def forward(self, x: Tensor, matrices: Matrices | None = None) -> Tensor:
        """The answer; ``matrices``, if whoever asks has made them already, are those of :func:`joint_matrices`."""
        if matrices is not None:
            return matmul.answer(x, matrices)
        h = x.to(self.compute_dtype or x.dtype)
        return cast(Tensor, self._convolutions(h, self.conv1, self.conv2, self.conv3)).to(x.dtype)

    @torch.no_grad()
    def with_gradients(self, x: Tensor) -> tuple[Tensor, Gradients]:
        layers = self.layers()
        answer, kept = run(x.to(self.compute_dtype or x.dtype), layers)

        @torch.no_grad()
        def gradients(grad: Tensor) -> tuple[Tensor, dict[Tensor, Tensor]]:
            grad_x, found = differentiate(kept, layers, grad.to(answer.dtype))
            parameters = (parameter for layer in layers for parameter in layer)
            pairs = zip(parameters, found, strict=True)
            return cast(Tensor, grad_x).to(x.dtype), {p: g for p, g in pairs if p is not None and g is not None}

        return answer.to(x.dtype), gradients

    def layers(self) -> list[Layer]:
        """The parameters, in the order in which the convolutions are applied."""
        return [self.conv1.layer(), self.conv2.layer(), self.conv3.layer()]

    def initialize(self, x: Tensor) -> Tensor:
        """Initialises both ActNorms on the batch ``x``, in its own dtype, and returns the answer (zeros at first)."""
        h = F.relu_(self.conv1.initialize(x))
        h = F.relu_(self.conv2.initialize(h))
        return cast(Tensor, self.conv3(h))
