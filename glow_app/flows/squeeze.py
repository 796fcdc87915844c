"""Squeeze: space becomes channels."""

from torch import Tensor
from torch.nn import functional as F

from glow_app.flows.bijection import Bijection, zero_logdet


class Squeeze(Bijection):
    """Each 2x2 block of pixels becomes one pixel: (C, H, W) -> (4C, H/2, W/2).

    Channel ``4c + 2i + j`` of the result holds channel ``c`` at row ``i`` and column ``j`` of each block, the order of
    :func:`torch.pixel_unshuffle`. It permutes numbers, so the log-determinant is 0. Kingma & Dhariwal 2018, sec. 3.
    """

    def forward(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return F.pixel_unshuffle(x, 2), zero_logdet(x)

    def inverse(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        return F.pixel_shuffle(z, 2)
