"""Squeeze: space becomes channels."""

import torch
from torch import Tensor
from torch.nn import functional as F

from glow_app.flows.bijection import Bijection, zero_logdet


class Squeeze(Bijection):
    """Each 2x2 block of pixels becomes one pixel: (C, H, W) -> (4C, H/2, W/2).

    Channel ``4c + 2i + j`` of the result holds channel ``c`` at row ``i`` and column ``j`` of each block, the order of
    :func:`torch.pixel_unshuffle`. It only moves numbers, so the log-determinant is 0. Kingma & Dhariwal 2018, sec. 3.
    """

    def forward(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        # All that follows is per pixel or a convolution, for which channels_last is the faster layout.
        z = F.pixel_unshuffle(x, 2).contiguous(memory_format=torch.channels_last)
        return z, zero_logdet(x)

    def inverse(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        return F.pixel_shuffle(z, 2).contiguous(memory_format=torch.channels_last)
