"""Encoders and decoders of a VAE: fully connected or convolutional."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TypeVar

from torch import Tensor, nn

NETWORKS = ("mlp", "conv")

MOST_WIDE = 4
"""Largest factor by which a level of convolutions is wider than the first."""


def hidden_layers(sizes: Sequence[int]) -> list[nn.Module]:
    """Returns linear layers between these numbers of units, each followed by a SiLU."""
    return [module for a, b in pairwise(sizes) for module in (_scaled(nn.Linear(a, b)), nn.SiLU())]


L = TypeVar("L", nn.Linear, nn.Conv2d)


def _scaled(layer: L) -> L:
    """Initialises a layer whose output an activation follows. He et al. 2015: signals have one scale in all layers."""
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


class MLPEncoder(nn.Sequential):
    """Hidden layers from all subpixels to features: (B, C, H, W) -> (B, width).

    Args:
        image_shape: (C, H, W).
        width: units per hidden layer.
        n_hidden: number of hidden layers.
    """

    def __init__(self, image_shape: Sequence[int], width: int, n_hidden: int) -> None:
        super().__init__(nn.Flatten(), *hidden_layers([math.prod(image_shape), *[width] * n_hidden]))
        self.n_features = width


class MLPDecoder(nn.Sequential):
    """Hidden layers from latents to the parameters of all pixels: (B, d) -> (B, n_out, H, W).

    Args:
        n_dims: d.
        image_shape: (C, H, W).
        n_out: parameters of a pixel.
        width: units per hidden layer.
        n_hidden: number of hidden layers.
    """

    def __init__(self, n_dims: int, image_shape: Sequence[int], n_out: int, width: int, n_hidden: int) -> None:
        _, height, image_width = image_shape
        last = nn.Linear(width, n_out * height * image_width)
        shape = nn.Unflatten(1, (n_out, height, image_width))
        super().__init__(*hidden_layers([n_dims, *[width] * n_hidden]), last, shape)


def _widths(width: int, n_levels: int) -> list[int]:
    """Channels of each level, from that of the image's size, level 0, on."""
    return [width * min(MOST_WIDE, 2**level) for level in range(n_levels + 1)]


def _convolutions(n_in: int, n_out: int, n: int) -> list[nn.Module]:
    layers = [_scaled(nn.Conv2d(n_out if i else n_in, n_out, 3, padding=1)) for i in range(n)]
    return [module for layer in layers for module in (layer, nn.SiLU())]


class ConvEncoder(nn.Sequential):
    """3x3 convolutions, of which the first of each level halves the sides, and one linear layer.

    (B, C, H, W) -> (B, 8 width). The channels double with each level, up to ``MOST_WIDE`` times those of the first.

    Args:
        image_shape: (C, H, W), sides divisible by ``2**n_levels``.
        width: channels before the first halving.
        n_levels: number of halvings.
        n_hidden: convolutions of each level besides the one that halves.
    """

    def __init__(self, image_shape: Sequence[int], width: int, n_levels: int, n_hidden: int) -> None:
        n_channels, height, image_width = image_shape
        layers = _convolutions(n_channels, width, 1)
        for a, b in pairwise(_widths(width, n_levels)):
            layers += [_scaled(nn.Conv2d(a, b, 3, stride=2, padding=1)), nn.SiLU(), *_convolutions(b, b, n_hidden)]
        n = _widths(width, n_levels)[-1] * (height >> n_levels) * (image_width >> n_levels)
        super().__init__(*layers, nn.Flatten(), *hidden_layers([n, 8 * width]))
        self.n_features = 8 * width


class ConvDecoder(nn.Sequential):
    """The levels of a :class:`ConvEncoder` backwards: (B, d) -> (B, n_out, H, W); pixels are repeated, then convolved.

    Args:
        n_dims: d.
        image_shape: (C, H, W), sides divisible by ``2**n_levels``.
        n_out: parameters of a pixel.
        width: channels at the image's size.
        n_levels: number of doublings.
        n_hidden: convolutions of each level besides the one after the doubling.
    """

    def __init__(
        self, n_dims: int, image_shape: Sequence[int], n_out: int, width: int, n_levels: int, n_hidden: int
    ) -> None:
        _, height, image_width = image_shape
        widths = _widths(width, n_levels)[::-1]
        smallest = (widths[0], height >> n_levels, image_width >> n_levels)
        layers = [*hidden_layers([n_dims, 8 * width, math.prod(smallest)]), nn.Unflatten(1, smallest)]
        for a, b in pairwise(widths):
            layers += [*_convolutions(a, a, n_hidden), nn.Upsample(scale_factor=2), *_convolutions(a, b, 1)]
        super().__init__(*layers, nn.Conv2d(width, n_out, 3, padding=1))


def make_networks(
    kind: str, image_shape: Sequence[int], n_dims: int, n_out: int, width: int, n_hidden: int, n_levels: int
) -> tuple[MLPEncoder | ConvEncoder, MLPDecoder | ConvDecoder]:
    """Creates an encoder and a decoder.

    Args:
        kind: one of :data:`NETWORKS`.
        image_shape: (C, H, W).
        n_dims: number of latents.
        n_out: parameters of a pixel.
        width: units per hidden layer, or channels at the image's size.
        n_hidden: hidden layers, or convolutions of each level.
        n_levels: ``conv``: halvings of the sides.

    Raises:
        ValueError: ``kind`` is neither.
    """
    match kind:
        case "mlp":
            encoder = MLPEncoder(image_shape, width, n_hidden)
            return encoder, MLPDecoder(n_dims, image_shape, n_out, width, n_hidden)
        case "conv":
            encoder = ConvEncoder(image_shape, width, n_levels, n_hidden)
            return encoder, ConvDecoder(n_dims, image_shape, n_out, width, n_levels, n_hidden)
    raise ValueError(f"the network is {kind!r}; choose one of {', '.join(NETWORKS)}")


def decode_each(decoder: nn.Module, z: Tensor) -> Tensor:
    """Applies a decoder of (B, d) to latents (..., d): (..., n_out, H, W)."""
    return decoder(z.flatten(0, -2)).unflatten(0, z.shape[:-1])
