"""A small U-Net: the vector field of pictures."""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glow_app.flows.continuous.field import N_FREQUENCIES, VectorField, _linear, time_features

GROUPS = 8
"""Groups of a group normalisation."""


class Conv2d(nn.Conv2d):
    """A convolution in the dtype of its input, with padding that keeps the size at stride 1."""

    def __init__(self, n_in: int, n_out: int, kernel_size: int, stride: int = 1) -> None:
        super().__init__(n_in, n_out, kernel_size, stride, padding=kernel_size // 2)

    def forward(self, input: Tensor) -> Tensor:
        assert self.bias is not None
        dtype = input.dtype
        return F.conv2d(input, self.weight.to(dtype), self.bias.to(dtype), self.stride, self.padding)


class GroupNorm(nn.GroupNorm):
    """Group normalisation (Wu & He 2018) with statistics in float32, in the dtype of its input."""

    def __init__(self, n_channels: int) -> None:
        super().__init__(GROUPS, n_channels)

    def forward(self, input: Tensor) -> Tensor:
        return F.group_norm(input, GROUPS, self.weight.to(input.dtype), self.bias.to(input.dtype), self.eps)


class ResBlock(nn.Module):
    """``skip(x) + conv(silu((1 + scale) * norm(conv(silu(norm(x)))) + shift))``; scale and shift depend on the time.

    The second convolution starts at zero. Dhariwal & Nichol 2021, sec. 3 ("adaptive group normalisation").

    Args:
        n_in: input channels.
        n_out: output channels.
        n_features: numbers that describe time and class.
    """

    def __init__(self, n_in: int, n_out: int, n_features: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = GroupNorm(n_in), Conv2d(n_in, n_out, 3)
        self.norm2, self.conv2 = GroupNorm(n_out), Conv2d(n_out, n_out, 3)
        self.modulation = nn.Linear(n_features, 2 * n_out)
        self.skip = nn.Identity() if n_in == n_out else Conv2d(n_in, n_out, 1)
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(cast(Tensor, self.conv2.bias))

    def forward(self, x: Tensor, features: Tensor) -> Tensor:
        scale, shift = _linear(self.modulation, features)[..., None, None].chunk(2, -3)
        h = self.norm2(self.conv1(F.silu(self.norm1(x))))
        return self.skip(x) + self.conv2(F.silu(h * (1 + scale) + shift))


class Attention(nn.Module):
    """Each pixel plus an average over all pixels, weighted by a softmax of products. Vaswani et al. 2017, one head.

    The last layer starts at zero.

    Args:
        n_channels: C.
    """

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        self.norm = GroupNorm(n_channels)
        self.inside = Conv2d(n_channels, 3 * n_channels, 1)
        self.outside = Conv2d(n_channels, n_channels, 1)
        nn.init.zeros_(self.outside.weight)
        nn.init.zeros_(cast(Tensor, self.outside.bias))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.inside(self.norm(x)).flatten(2).chunk(3, 1)
        weights = torch.softmax(q.transpose(1, 2) @ k / q.shape[1] ** 0.5, 2)
        return x + self.outside((v @ weights.transpose(1, 2)).view_as(x))


class UNet(VectorField):
    """Residual blocks at several scales, down and up again, with the states on the way down joined on the way up.

    Pixels are first put together by ``patch`` x ``patch``. Each level has ``n_blocks`` residual blocks on the way down
    and one more on the way up; from one to the next the sides halve and the width doubles, up to four times that of the
    first. Attention, between two blocks, is at the smallest. Time and class modulate every block. Ronneberger et al.
    2015; Ho et al. 2020, appendix B.

    Args:
        n_channels: C of the images.
        width: channels of the first level, a multiple of 8.
        n_levels: number of levels.
        n_blocks: residual blocks of a level on the way down; one more on the way up.
        patch: side of the patches.
        n_classes: number of classes; 0: none.
    """

    def __init__(
        self, n_channels: int, width: int, n_levels: int, n_blocks: int, patch: int = 1, n_classes: int = 0
    ) -> None:
        super().__init__()
        widths = [width * min(4, 2**level) for level in range(n_levels)]
        n_features = 2 * width
        self.patch = patch
        self.time = nn.Linear(2 * N_FREQUENCIES + 1, n_features)
        self.features = nn.Linear(n_features, n_features)
        self.classes = nn.Embedding(n_classes, n_features) if n_classes else None
        self.first = Conv2d(n_channels * patch**2, width, 3)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        channels, joined = width, [width]
        for level, wide in enumerate(widths):
            for _ in range(n_blocks):
                self.down.append(ResBlock(channels, wide, n_features))
                channels = wide
                joined.append(channels)
            if level < n_levels - 1:
                self.down.append(Conv2d(channels, channels, 3, stride=2))
                joined.append(channels)
        self.middle = nn.ModuleList(
            [ResBlock(channels, channels, n_features), Attention(channels), ResBlock(channels, channels, n_features)]
        )
        for level, wide in reversed(list(enumerate(widths))):
            for _ in range(n_blocks + 1):
                self.up.append(ResBlock(channels + joined.pop(), wide, n_features))
                channels = wide
            if level:
                self.up.append(Conv2d(channels, channels, 3))
        self.norm, self.last = GroupNorm(width), Conv2d(width, n_channels * patch**2, 3)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(cast(Tensor, self.last.bias))

    def forward(self, t: Tensor, x: Tensor, cond: Tensor | None = None) -> Tensor:
        dtype = self.compute_dtype or x.dtype
        features = _linear(self.features, F.silu(_linear(self.time, time_features(t).to(dtype))))
        if self.classes is not None:
            features = features + self.classes(cond).to(dtype)
        features = F.silu(features)
        h = self.first(F.pixel_unshuffle(x.to(dtype), self.patch))
        joined = [h]
        for layer in self.down:
            h = layer(h, features) if isinstance(layer, ResBlock) else layer(h)
            joined.append(h)
        before, attention, after = self.middle
        h = after(attention(before(h, features)), features)
        for layer in self.up:
            if isinstance(layer, ResBlock):
                h = layer(torch.cat([h, joined.pop()], 1), features)
            else:
                h = layer(F.interpolate(h, scale_factor=2.0, mode="nearest"))
        return F.pixel_shuffle(self.last(F.silu(self.norm(h))), self.patch).to(x.dtype)
