"""Masked couplings: a binary mask selects the numbers that stay and condition the others."""

from typing import cast

import torch
from torch import Tensor, nn

from glow_app.flows.bijection import Bijection, deinterleave, sum_per_sample
from glow_app.flows.coupling import Conditioner


class MaskedCoupling(Bijection):
    """``z = b x + (1 - b) (x exp(s(b x)) + t(b x))``; log|det| is the sum of ``(1 - b) s``. Dinh et al. 2016, sec. 3.4.

    ``s = rescale * tanh(raw)`` with one learned ``rescale`` per channel, the paper's hyperbolic tangent "multiplied by
    a learned scale" (sec. 4.1); ``t`` is the unscaled output. Shift and raw scale are interleaved in the
    conditioner's output channels.

    Args:
        conditioner: (B, C, H, W) -> (B, 2C, H, W).
        mask: ``b``, of zeros and ones, that broadcasts to (C, H, W): see :func:`checkerboard`, :func:`channel_mask`.
        n_channels: C.
    """

    mask: Tensor

    def __init__(self, conditioner: Conditioner, mask: Tensor, n_channels: int) -> None:
        super().__init__()
        self.conditioner = cast(nn.Module, conditioner)
        self.rescale = nn.Parameter(torch.ones(n_channels))
        # Not persistent: the architecture determines it.
        self.register_buffer("mask", mask.float(), persistent=False)

    def forward(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._transform(x, self.conditioner(x * self.mask))

    def inverse(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        return self.inverse_with_logdet(z, cond)[0]

    def inverse_with_logdet(self, z: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        shift, log_scale = self._shift_and_log_scale(self.conditioner(z * self.mask))
        return (z - shift) * torch.exp(-log_scale), -sum_per_sample(log_scale)

    def initialize(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        return self._transform(x, cast(Conditioner, self.conditioner).initialize(x * self.mask))[0]

    def scales(self, x: Tensor) -> Tensor:
        """Returns the factors of ``x``, (B, C, H, W): 1 where the mask is 1."""
        return self._shift_and_log_scale(self.conditioner(x * self.mask))[1].exp()

    def _transform(self, x: Tensor, output: Tensor) -> tuple[Tensor, Tensor]:
        shift, log_scale = self._shift_and_log_scale(output)
        return x * torch.exp(log_scale) + shift, sum_per_sample(log_scale)

    def _shift_and_log_scale(self, output: Tensor) -> tuple[Tensor, Tensor]:
        """Returns both, 0 where the mask is 1."""
        shift, raw = deinterleave(output)
        changed = 1 - self.mask
        return changed * shift, changed * self.rescale[:, None, None] * torch.tanh(raw)


def checkerboard(height: int, width: int, number: int) -> Tensor:
    """Creates a mask (1, H, W): ones where row + column + ``number`` is even. Dinh et al. 2016, sec. 3.4, fig. 3."""
    rows, columns = torch.arange(height)[:, None], torch.arange(width)[None]
    return ((rows + columns + number) % 2 == 0).float()[None]


def channel_mask(n_channels: int, number: int) -> Tensor:
    """Creates a mask (C, 1, 1): ones in the first and third quarter of the channels, for odd ``number`` in the others.

    In the channel order of :class:`glow_app.flows.family.real_nvp.DiagonalSqueeze`, the first and third quarters
    are the upper pixels of each 2x2 block: a partition that no checkerboard makes, as the paper requires (sec. 3.6).
    """
    quarter = torch.arange(n_channels) // (n_channels // 4)
    return ((quarter + number) % 2 == 0).float()[:, None, None]
