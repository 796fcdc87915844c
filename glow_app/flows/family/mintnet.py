"""MintNet: residual layers of masked convolutions, whose Jacobian is triangular with a positive diagonal."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glow_app.flows.bijection import Bijection, Chain, sum_per_sample
from glow_app.flows.emerging import Reversed, check_odd
from glow_app.flows.family.logit import Logit
from glow_app.flows.flow import Flow
from glow_app.flows.pixel_affine import ActNorm
from glow_app.flows.search import search, with_gradient
from glow_app.flows.split import Split, TopPrior
from glow_app.flows.squeeze import Squeeze


class MaskedConv2d(nn.Module):
    """A convolution with a triangular matrix, in the order of rows, columns and channels; padding keeps the size.

    Channels are in groups of C, of which each has the degrees 0 ... C - 1. An output sees all channels of earlier
    pixels, and at its own pixel those of lower degrees and its own degree. The weights for its own degree are the
    diagonal: ``sign * |weight|``.

    Args:
        n_in: input channels.
        n_out: output channels.
        n_channels: C.
        kernel_size: side of the kernel, odd.
        signs: (n_out / C, n_in / C), of -1 and 1: signs of the diagonal from each group to each.
        std: deviation of the sum that an output computes of standard normal inputs, when training starts.

    Raises:
        ValueError: the kernel's size is even, or C does not divide the channels.
    """

    earlier: Tensor
    diagonal: Tensor

    def __init__(self, n_in: int, n_out: int, n_channels: int, kernel_size: int, signs: Tensor, std: float) -> None:
        super().__init__()
        check_odd(kernel_size)
        if n_in % n_channels or n_out % n_channels:
            raise ValueError(f"{n_in} and {n_out} channels are no whole groups of {n_channels}")
        into, of = torch.arange(n_out) % n_channels, torch.arange(n_in) % n_channels
        place = torch.arange(kernel_size**2).view(kernel_size, kernel_size)
        middle = kernel_size**2 // 2
        earlier = (place < middle) | ((place == middle) & (of[:, None, None] < into[:, None, None, None]))
        diagonal = (place == middle) & (of[:, None, None] == into[:, None, None, None])
        # Not persistent: the architecture determines them.
        self.register_buffer("earlier", earlier.float(), persistent=False)
        by_channel = signs.repeat_interleave(n_channels, 0).repeat_interleave(n_channels, 1)
        self.register_buffer("diagonal", diagonal * by_channel[:, :, None, None], persistent=False)
        n_seen = n_in * (kernel_size**2 // 2 + 0.5)
        self.weight = nn.Parameter(torch.randn(n_out, n_in, kernel_size, kernel_size) * std / n_seen**0.5)
        self.bias = nn.Parameter(torch.zeros(n_out))
        self.n_channels = n_channels

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the output (B, n_out, H, W), and the diagonal (n_out / C, n_in / C, C)."""
        kernel = self.weight * self.earlier + self.weight.abs() * self.diagonal
        middle = kernel.shape[-1] // 2
        blocks = kernel[:, :, middle, middle].unflatten(1, (-1, self.n_channels)).unflatten(0, (-1, self.n_channels))
        return F.conv2d(x, kernel, self.bias, padding=middle), blocks.diagonal(dim1=1, dim2=3)


class MintLayer(Bijection):
    """``z = t x + W3 h(W2 h(W1 x + b1) + b2) + b3`` with masked convolutions W and h = ELU; a residual layer.

    The Jacobian is triangular, with the diagonal ``t + diag(W3) h'(.) diag(W2) h'(.) diag(W1)``, summed over the groups
    of hidden channels; it is positive, since t is, and the product of the three diagonals, whichever groups are passed
    through. log|det| is the sum of its logarithms. Song, Meng & Ermon 2019, sec. 3.1; W1, W2 and W3 are what the paper
    writes as sums over i and j, stacked.

    ``inverse`` is the paper's algorithm 1, ``x <- x - alpha (f(x) - z) / diag J(x)`` from ``x = z / t``. Alpha is 1
    (published: 0 < alpha < 2); samples that it does not reach are searched for again with a smaller alpha for the
    numbers that jump to and fro. A sample is found when ``|f(x) - z|`` is at most 1.2e-4 (1 + max|z|) in float32, or
    2.2e-13 (1 + max|z|) in float64, and does not fall further: see :mod:`glow_app.flows.search`.

    Departures: t has a value for each channel, not for each number; it is an exponential, where published it is |t|.
    Hidden groups have fixed signs of their diagonals, plus and minus in turn. Published, W1 and W3 learn them and W2
    follows, so that the layer would jump when a weight passes 0.

    Args:
        n_channels: C.
        n_groups: K, hidden groups of C channels each.
        kernel_size: side of the kernels, odd (3 as published).

    Attributes:
        n_steps: steps that the last ``inverse`` took.

    Raises:
        ValueError: ``kernel_size`` is even or below 1.
    """

    def __init__(self, n_channels: int, n_groups: int, kernel_size: int = 3) -> None:
        super().__init__()
        width = n_channels * n_groups
        signs = 1.0 - 2.0 * (torch.arange(n_groups) % 2)
        self.log_t = nn.Parameter(torch.zeros(n_channels))
        self.first = MaskedConv2d(n_channels, width, n_channels, kernel_size, signs[:, None], 1.0)
        self.second = MaskedConv2d(width, width, n_channels, kernel_size, signs[:, None] * signs, 1.0)
        # Small, so that the layer starts near the identity; not 0, where |weight| would have no gradient.
        self.last = MaskedConv2d(width, n_channels, n_channels, kernel_size, signs[None], 0.01)
        self.n_steps = 0

    def forward(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        z, diagonal = self._map(x)
        return z, sum_per_sample(torch.log(diagonal))

    def inverse(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        with torch.no_grad():
            x, self.n_steps = search(self._map, z, z * torch.exp(-self.log_t)[:, None, None])
        return with_gradient(self._map, x, z) if torch.is_grad_enabled() else x

    def scales(self, x: Tensor) -> Tensor:
        """Returns the diagonal of the Jacobian, (B, C, H, W)."""
        return self._map(x)[1]

    def _map(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Returns ``z`` and the diagonal of the Jacobian, both (B, C, H, W)."""
        t = torch.exp(self.log_t)[:, None, None]
        by_group = (-1, len(self.log_t))
        h, d1 = self.first(x)
        h = F.elu(h)
        slope = slope_of_elu(h).unflatten(1, by_group) * d1[:, 0, :, None, None]
        h, d2 = self.second(h)
        h = F.elu(h)
        slope = slope_of_elu(h).unflatten(1, by_group) * torch.einsum("ijc,bjchw->bichw", d2, slope)
        h, d3 = self.last(h)
        return t * x + h, t + torch.einsum("jc,bjchw->bchw", d3[0], slope)


def slope_of_elu(h: Tensor) -> Tensor:
    """Returns the derivative of ELU, given its value: 1 above 0, and ``exp(x)``, which is ``h + 1``, below."""
    return 1 + h.clamp(max=0)


class MintNet(Flow):
    """The flow of Song, Meng & Ermon 2019, sec. 3.3: layers of masked convolutions, in opposite orders in turn.

    x -> [n_layers x (ActNorm -> MintLayer) -> Squeeze -> Split] x (n_levels - 1) -> n_layers x (...) -> TopPrior

    Departures: half of the channels leaves after each level, whitened, as in Glow, and ActNorm comes before each
    layer; published, all numbers pass through all layers. A level has ``width // C`` hidden groups, but at least one;
    published are 85, 21 and 5 of them on CIFAR-10, which are 255, 252 and 240 hidden channels.

    >>> import torch
    >>> from glow_app.flows import MintNet, initialize
    >>> flow = MintNet((3, 8, 8), n_levels=2, n_layers=2, width=24)
    >>> x = torch.rand(32, 3, 8, 8) - 0.5
    >>> initialize(flow, x)
    >>> latents, logdet = flow(x)
    >>> [tuple(z.shape) for z in latents]
    [(32, 6, 4, 4), (32, 6, 4, 4)]
    >>> torch.allclose(flow.inverse(latents), x, atol=1e-4)
    True

    Args:
        image_shape: (C, H, W), H and W divisible by ``2**(n_levels - 1)``; points in the plane are (2, 1, 1).
        n_levels: number of levels; the last does not squeeze.
        n_layers: masked layers of each level.
        width: hidden channels of each layer, at most; see above.
        kernel_size: side of the kernels, odd.
        logit: alpha of an initial logit transform; None for no transform.
        n_classes: number of classes of the top prior; 0 for an unconditional model.
        memory: ``plain`` or ``checkpoint``; see :class:`glow_app.flows.bijection.Chain`.

    Raises:
        ValueError: the shape is not divisible, or an option is not one of those named.
    """

    decodes_by_search = True

    def __init__(
        self,
        image_shape: Sequence[int],
        n_levels: int,
        n_layers: int,
        width: int,
        kernel_size: int = 3,
        logit: float | None = None,
        n_classes: int = 0,
        memory: str = "plain",
    ) -> None:
        n_channels, height, width_pixels = image_shape
        if height % 2 ** (n_levels - 1) or width_pixels % 2 ** (n_levels - 1):
            raise ValueError(
                f"{n_levels} levels halve the image {n_levels - 1} times, but {height}x{width_pixels} "
                f"is not divisible by {2 ** (n_levels - 1)}"
            )
        if memory == "reversible":
            raise ValueError("memory=reversible would invert layers that search; choose checkpoint")

        def layers(channels: int) -> list[Bijection]:
            made: list[Bijection] = []
            for number in range(n_layers):
                layer = MintLayer(channels, max(1, width // channels), kernel_size)
                made += [ActNorm(channels), Reversed(layer) if number % 2 else layer]
            return made

        levels: list[Bijection] = []
        latent_shapes: list[tuple[int, int, int]] = []
        for level in range(n_levels):
            inside: list[Bijection] = [] if logit is None or level else [Logit(logit)]
            inside += [Chain(layers(n_channels), memory)]
            size = height >> level, width_pixels >> level
            if level < n_levels - 1:
                inside += [Squeeze(), Split(4 * n_channels, border=True)]
                n_channels *= 2
                size = size[0] // 2, size[1] // 2
            else:
                inside += [TopPrior(n_channels, border=True, n_classes=n_classes)]
            levels.append(Chain(inside))
            latent_shapes.append((n_channels, *size))
        super().__init__(image_shape, levels, latent_shapes, n_classes=n_classes)

    @property
    def steps_of_search(self) -> list[int]:
        return [layer.n_steps for layer in self.modules() if isinstance(layer, MintLayer)]
