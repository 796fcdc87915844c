"""Affine maps of a pixel's channels, y = A x + b, the same at every pixel: ActNorm, 1x1 convolutions, permutations.

They form a group: two of them in a row are a third one. A step's ActNorm and 1x1 convolution therefore run as one
matrix product, forward and back, and so do their inverses. What a factor is decides how it is multiplied: a diagonal
scales rows or columns, a permutation reorders them, and only what is left costs a matrix product.
"""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Generic, NamedTuple, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glow_app.flows.bijection import Bijection
from glow_app.flows.fast.convolutions import LOGS_FACTOR


class PixelMap(NamedTuple):
    """``y = matrix @ x + bias`` at every pixel; or, with a leading dimension, one such map for each of K layers.

    Attributes:
        matrix: (C, C), or (K, C, C).
        bias: (C,), or (K, C).
        logdet: (), or (K,): log|det matrix|, what one pixel adds to the log-determinant, in nats.
    """

    matrix: Tensor
    bias: Tensor
    logdet: Tensor

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Maps (B, C, H, W); returns the result and the log-determinant (B,)."""
        return self.transform(x), log_determinant(self.logdet, x)

    def transform(self, x: Tensor) -> Tensor:
        """The result alone."""
        # As a matrix product over the pixels, not a convolution: no TF32 on a GPU unless somebody asks for it.
        return F.linear(x.permute(0, 2, 3, 1), self.matrix, self.bias).permute(0, 3, 1, 2)

    def then(self, other: "PixelScaling") -> "PixelMap":
        """The one map that equals this one followed by ``other``."""
        return PixelMap(
            matrix=other.scale[..., None] * self.matrix,
            bias=other.scale * self.bias + other.bias,
            logdet=self.logdet + other.logdet,
        )

    def unbind(self) -> "list[PixelMap]":
        """The single maps of K layers."""
        parts = zip(self.matrix.unbind(), self.bias.unbind(), self.logdet.unbind(), strict=True)
        return [PixelMap(*of_one) for of_one in parts]

    def to(self, dtype: torch.dtype) -> "PixelMap":
        """The same map in another dtype."""
        return PixelMap(self.matrix.to(dtype), self.bias.to(dtype), self.logdet.to(dtype))


class PixelScaling(NamedTuple):
    """``y = scale * x + bias`` at every pixel: a :class:`PixelMap` whose matrix is diagonal.

    Attributes:
        scale: (C,), or (K, C).
        bias: (C,), or (K, C).
        logdet: (), or (K,): the sum of log|scale|, in nats.
    """

    scale: Tensor
    bias: Tensor
    logdet: Tensor

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Maps (B, C, H, W); returns the result and the log-determinant (B,)."""
        y = torch.addcmul(self.bias[:, None, None], x, self.scale[:, None, None])
        return y, log_determinant(self.logdet, x)

    def then(self, other: PixelMap) -> PixelMap:
        """The one map that equals this one followed by ``other``."""
        return PixelMap(
            matrix=other.matrix * self.scale[..., None, :],
            bias=(other.matrix @ self.bias[..., None])[..., 0] + other.bias,
            logdet=self.logdet + other.logdet,
        )

    def to(self, dtype: torch.dtype) -> "PixelScaling":
        """The same map in another dtype."""
        return PixelScaling(self.scale.to(dtype), self.bias.to(dtype), self.logdet.to(dtype))


def log_determinant(per_pixel: Tensor, x: Tensor) -> Tensor:
    """That of a map which is the same at every pixel of ``x``, for each sample: (B,)."""
    # Not expanded: torch 2.12 cannot go backward through a compiled step whose answer is one number for all samples.
    return (x.shape[2] * x.shape[3] * per_pixel).repeat(x.shape[0])


AnyMap = TypeVar("AnyMap", PixelMap, PixelScaling)


class PixelAffine(Bijection, Generic[AnyMap]):
    """A bijection that is a :class:`PixelMap` or a :class:`PixelScaling`."""

    assemble: Callable[..., AnyMap]
    """The map, differentiable, from :meth:`tensors`, or from those of K layers stacked: a static method."""

    @abstractmethod
    def tensors(self) -> tuple[Tensor, ...]:
        """What :meth:`assemble` makes the map from."""

    def pixel_map(self) -> AnyMap:
        """The map, in the parameters' dtype, differentiable."""
        return self.assemble(*self.tensors())

    @abstractmethod
    def inverse_map(self) -> AnyMap:
        """The inverse map, solved in float64 (a float32 solution would lose what the matrix' conditioning costs)."""

    def forward(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.pixel_map()(x)

    def inverse(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        return self.inverse_map().to(z.dtype)(z)[0]


class ActNorm(PixelAffine[PixelScaling]):
    """Activation normalisation: ``y = (x + bias) * exp(3 * logs)`` per channel.

    Initialised from data such that the channels of ``y`` have mean 0 and standard deviation 1, then trained like any
    parameter. log|det| per pixel is ``3 * sum(logs)``. Kingma & Dhariwal 2018, sec. 3.1.

    Args:
        n_channels: C.
    """

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(n_channels))
        self.logs = nn.Parameter(torch.zeros(n_channels))

    def tensors(self) -> tuple[Tensor, ...]:
        return self.bias, self.logs

    @staticmethod
    def assemble(bias: Tensor, logs: Tensor) -> PixelScaling:
        log_scale = LOGS_FACTOR * logs
        scale = log_scale.exp()
        return PixelScaling(scale, bias * scale, log_scale.sum(-1))

    def inverse_map(self) -> PixelScaling:
        log_scale = LOGS_FACTOR * self.logs.double()
        return PixelScaling(torch.exp(-log_scale), -self.bias.double(), -log_scale.sum())

    def initialize(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        bias, logs = standardizing(x)
        self.bias.copy_(bias)
        self.logs.copy_(logs)
        return self(x)[0]


def standardizing(x: Tensor) -> tuple[Tensor, Tensor]:
    """``bias`` and ``logs`` for which ``(x + bias) * exp(3 * logs)`` has mean 0 and standard deviation 1 per channel.

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


class InvConv1x1(PixelAffine[PixelMap]):
    """Invertible 1x1 convolution in LU form: ``W = P L (U + diag(sign * exp(log_s)))``, ``y = W x`` at every pixel.

    Starts as a random rotation. ``P`` and ``sign`` stay fixed; ``L`` (unit lower triangular), ``U`` (strictly upper
    triangular) and ``log_s`` are learned; log|det W| is ``sum(log_s)``, without a determinant to compute.
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

    def tensors(self) -> tuple[Tensor, ...]:
        return self.p, self.lower, self.upper, self.sign, self.log_s

    @staticmethod
    def assemble(p: Tensor, lower: Tensor, upper: Tensor, sign: Tensor, log_s: Tensor) -> PixelMap:
        lower, upper = _factors(lower, upper, sign, log_s)
        # A product with P reorders rows: row i is the one in which row i of P has its 1.
        matrix = torch.take_along_dim(lower @ upper, p.argmax(-1, keepdim=True), -2)
        return PixelMap(matrix, torch.zeros_like(log_s), log_s.sum(-1))

    def inverse_map(self) -> PixelMap:
        factors = _factors(self.lower, self.upper, self.sign, self.log_s)
        lower, upper = (factor.double() for factor in factors)
        p_lower_inverse = torch.linalg.solve_triangular(lower, self.p.double().T, upper=False, unitriangular=True)
        matrix = torch.linalg.solve_triangular(upper, p_lower_inverse, upper=True)
        return PixelMap(matrix, torch.zeros_like(self.log_s, dtype=torch.float64), -self.log_s.double().sum())


def _factors(lower: Tensor, upper: Tensor, sign: Tensor, log_s: Tensor) -> tuple[Tensor, Tensor]:
    """L and U + diag(sign * exp(log_s))."""
    identity = torch.eye(log_s.shape[-1], dtype=lower.dtype, device=lower.device)
    return lower.tril(-1) + identity, upper.triu(1) + torch.diag_embed(sign * log_s.exp())


class FullInvConv1x1(PixelAffine[PixelMap]):
    """Invertible 1x1 convolution with a full matrix, ``y = W x``: the default of the authors' released code.

    Starts as a random rotation; log|det W| is computed from a factorisation, O(C^3). Kingma & Dhariwal 2018, sec. 3.2.

    Args:
        n_channels: C.
    """

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(random_rotation(n_channels).float())

    def tensors(self) -> tuple[Tensor, ...]:
        return (self.weight,)

    @staticmethod
    def assemble(weight: Tensor) -> PixelMap:
        return PixelMap(weight, torch.zeros_like(weight[..., 0]), torch.linalg.slogdet(weight).logabsdet)

    def inverse_map(self) -> PixelMap:
        matrix = torch.linalg.inv(self.weight.double())
        return PixelMap(matrix, torch.zeros_like(matrix[0]), torch.linalg.slogdet(matrix).logabsdet)


class ChannelPermutation(PixelAffine[PixelMap]):
    """A fixed order of the channels, ``y[c] = x[index[c]]``: the paper's ablation of the 1x1 convolution (sec. 6.1).

    Args:
        index: int64 (C,), a permutation of 0 ... C-1.
    """

    index: Tensor
    _zeros: Tensor

    def __init__(self, index: Tensor) -> None:
        super().__init__()
        # A buffer, so that a reloaded model permutes as it was trained.
        self.register_buffer("index", index)
        self.register_buffer("_zeros", torch.zeros(len(index)), persistent=False)

    def _matrix(self) -> Tensor:
        identity = torch.eye(len(self.index), dtype=self._zeros.dtype, device=self.index.device)
        return identity[self.index]

    def tensors(self) -> tuple[Tensor, ...]:
        return self._matrix(), self._zeros

    @staticmethod
    def assemble(matrix: Tensor, zeros: Tensor) -> PixelMap:
        return PixelMap(matrix, zeros, zeros.sum(-1))

    def inverse_map(self) -> PixelMap:
        zeros = self._zeros.double()
        return PixelMap(self._matrix().double().T, zeros, zeros.sum())


def joint_map(layers: Sequence[PixelAffine[AnyMap]]) -> AnyMap:
    """The maps of K layers of one class and size, assembled together: a few large operations in place of many small."""
    tensors = zip(*(layer.tensors() for layer in layers), strict=True)
    return cast(AnyMap, type(layers[0]).assemble(*(torch.stack(of_all) for of_all in tensors)))


def random_rotation(n_channels: int) -> Tensor:
    """The orthogonal factor of a QR decomposition of a normal matrix: float64 (C, C), from torch's generator."""
    return torch.linalg.qr(torch.randn(n_channels, n_channels, dtype=torch.float64)).Q


def channel_mixing(kind: str, n_channels: int) -> PixelAffine[PixelMap]:
    """What stands between ActNorm and the coupling: ``lu``, ``full``, ``shuffle`` or ``reverse``.

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
