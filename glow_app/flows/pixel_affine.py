"""Affine maps of a pixel's channels, the same at every pixel: ActNorm, 1x1 convolutions and permutations."""

from abc import abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glow_app.flows.bijection import Bijection

LOGS_FACTOR = 3.0
"""Log-scales are stored divided by this, as in the authors' code, which lets them learn three times faster."""


def log_determinant(per_pixel: Tensor, x: Tensor) -> Tensor:
    """Returns the log-determinant (B,) of a map that is the same at every pixel of ``x``, given one pixel's: ()."""
    # Not expanded: torch 2.12 cannot differentiate a compiled step whose output is one number for all samples.
    return (x.shape[2] * x.shape[3] * per_pixel).repeat(x.shape[0])


class ActNorm(Bijection):
    """Activation normalisation: ``y = (x + bias) * exp(3 * logs)`` per channel.

    Initialised from data so that the channels of ``y`` have mean 0 and standard deviation 1, then trained like any
    parameter. log|det| per pixel is ``3 * sum(logs)``. Kingma & Dhariwal 2018, sec. 3.1.

    Args:
        n_channels: C.
    """

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(n_channels))
        self.logs = nn.Parameter(torch.zeros(n_channels))

    def forward(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        log_scale = LOGS_FACTOR * self.logs
        y = (x + self.bias[:, None, None]) * torch.exp(log_scale)[:, None, None]
        return y, log_determinant(log_scale.sum(), x)

    def inverse(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        return z * torch.exp(-LOGS_FACTOR * self.logs)[:, None, None] - self.bias[:, None, None]

    def initialize(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        bias, logs = standardizing(x)
        self.bias.copy_(bias)
        self.logs.copy_(logs)
        return self(x)[0]


def standardizing(x: Tensor) -> tuple[Tensor, Tensor]:
    """Computes ``bias`` and ``logs`` such that ``(x + bias) * exp(3 * logs)`` has mean 0 and std 1 per channel.

    The standard deviation is measured after centring, with 1e-6 added, as in the authors' code.

    Args:
        x: (B, C, H, W).

    Raises:
        ValueError: a channel is constant or not finite, and so has no scale.
    """
    values = x.double().transpose(0, 1).flatten(1)
    mean = values.mean(1)
    std = (values - mean[:, None]).square().mean(1).sqrt()
    useless = ~(torch.isfinite(std) & (std > 1e-6))
    if useless.any():
        channel = int(useless.nonzero()[0])
        raise ValueError(
            f"channel {channel} of {x.shape[1]} has standard deviation {std[channel].item():.3g} over the "
            f"initialisation batch of {x.shape[0]} images; initialise with more, or more varied, dequantized images"
        )
    return (-mean).to(x.dtype), (-torch.log(std + 1e-6) / LOGS_FACTOR).to(x.dtype)


class PixelLinear(Bijection):
    """``y = W x`` at every pixel, with an invertible (C, C) matrix W; log|det| per pixel is log|det W|."""

    @abstractmethod
    def matrix(self) -> tuple[Tensor, Tensor]:
        """Returns W (C, C) and log|det W| (), in the parameters' dtype, differentiable."""

    @abstractmethod
    def inverse_matrix(self) -> Tensor:
        """Returns the inverse of W, float64: solved in float32 it is too inexact if W is ill-conditioned."""

    def forward(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        matrix, logdet = self.matrix()
        return multiply(matrix, x), log_determinant(logdet, x)

    def inverse(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        return multiply(self.inverse_matrix().to(z.dtype), z)


def multiply(matrix: Tensor, x: Tensor, bias: Tensor | None = None) -> Tensor:
    """Computes ``matrix @ x + bias`` at every pixel of (B, C, H, W)."""
    # As a matrix product over the pixels, not a convolution: no TF32 on a GPU unless it is enabled.
    return F.linear(x.permute(0, 2, 3, 1), matrix, bias).permute(0, 3, 1, 2)


class InvConv1x1(PixelLinear):
    """Invertible 1x1 convolution in LU form: ``W = P L (U + diag(sign * exp(log_s)))``, ``y = W x`` at every pixel.

    Starts as a random rotation. ``P`` and ``sign`` stay fixed; ``L`` (unit lower triangular), ``U`` (strictly upper
    triangular) and ``log_s`` are learned; log|det W| is ``sum(log_s)``.
    Kingma & Dhariwal 2018, sec. 3.2.

    Args:
        n_channels: C.
    """

    p: Tensor
    sign: Tensor

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        p, lower, upper = torch.linalg.lu(random_rotation(n_channels))
        diagonal = upper.diagonal()
        self.register_buffer("p", p.float())
        self.register_buffer("sign", diagonal.sign().float())
        self.lower = nn.Parameter(lower.tril(-1).float())
        self.upper = nn.Parameter(upper.triu(1).float())
        self.log_s = nn.Parameter(diagonal.abs().log().float())

    def factors(self) -> tuple[Tensor, Tensor]:
        """Returns L and U + diag(sign * exp(log_s))."""
        identity = torch.eye(len(self.log_s), dtype=self.lower.dtype, device=self.lower.device)
        return self.lower.tril(-1) + identity, self.upper.triu(1) + torch.diag(self.sign * self.log_s.exp())

    def matrix(self) -> tuple[Tensor, Tensor]:
        lower, upper = self.factors()
        return self.p @ lower @ upper, self.log_s.sum()

    def inverse_matrix(self) -> Tensor:
        lower, upper = (factor.double() for factor in self.factors())
        p_lower_inverse = torch.linalg.solve_triangular(lower, self.p.double().T, upper=False, unitriangular=True)
        return torch.linalg.solve_triangular(upper, p_lower_inverse, upper=True)


class FullInvConv1x1(PixelLinear):
    """Invertible 1x1 convolution with a full matrix, ``y = W x``: the default of the authors' released code.

    Starts as a random rotation; log|det W| is computed from a factorisation, O(C^3). Kingma & Dhariwal 2018, sec. 3.2.

    Args:
        n_channels: C.
    """

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(random_rotation(n_channels).float())

    def matrix(self) -> tuple[Tensor, Tensor]:
        return self.weight, torch.linalg.slogdet(self.weight).logabsdet

    def inverse_matrix(self) -> Tensor:
        return torch.linalg.inv(self.weight.double())


class ChannelPermutation(PixelLinear):
    """A fixed order of the channels, ``y[c] = x[index[c]]``: the paper's ablation of the 1x1 convolution (sec. 6.1).

    Args:
        index: int64 (C,), a permutation of 0 ... C-1.
    """

    index: Tensor
    _identity: Tensor

    def __init__(self, index: Tensor) -> None:
        super().__init__()
        # A buffer, so that a reloaded model permutes as it was trained.
        self.register_buffer("index", index)
        self.register_buffer("_identity", torch.eye(len(index)), persistent=False)

    def matrix(self) -> tuple[Tensor, Tensor]:
        return self._identity[self.index], self._identity.new_zeros(())

    def inverse_matrix(self) -> Tensor:
        return self._identity[self.index].T.double()


def random_rotation(n_channels: int) -> Tensor:
    """Draws an orthogonal matrix by QR of a normal one: float64 (C, C), from torch's global generator."""
    return torch.linalg.qr(torch.randn(n_channels, n_channels, dtype=torch.float64)).Q


def channel_permutation(kind: str, n_channels: int) -> PixelLinear:
    """Creates the layer between ActNorm and the coupling: ``lu``, ``full``, ``shuffle`` or ``reverse``.

    Raises:
        ValueError: ``kind`` is none of these.
    """
    match kind:
        case "lu":
            return InvConv1x1(n_channels)
        case "full":
            return FullInvConv1x1(n_channels)
        case "shuffle":
            return ChannelPermutation(torch.randperm(n_channels))
        case "reverse":
            return ChannelPermutation(torch.arange(n_channels).flip(0))
    raise ValueError(f"permutation is {kind!r}; choose one of lu, full, shuffle, reverse")
