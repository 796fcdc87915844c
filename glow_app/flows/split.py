"""Where latents leave the flow, whitened: standardised by the Gaussian that predicts them.

With ``z = (y - mean) / std`` and ``logdet = -sum(log std)``, the density of ``y`` under N(mean, std^2) is that of ``z``
under N(0, I) times the Jacobian: the likelihood is the one of a conditional prior, and yet every latent of the model
is N(0, I). Sampling at a temperature, interpolation and editing are then arithmetic on plain normal latents.
"""

import torch
from torch import Tensor, nn

from glow_app.flows.bijection import Bijection, deinterleave, sum_per_sample
from glow_app.flows.conditioner import ZeroConv2d, border_map
from glow_app.flows.pixel_affine import LOGS_FACTOR


def whiten(y: Tensor, mean: Tensor, log_std: Tensor) -> tuple[Tensor, Tensor]:
    """``z = (y - mean) * exp(-log_std)`` and its log-determinant (B,)."""
    return (y - mean) * torch.exp(-log_std), -sum_per_sample(log_std)


def unwhiten(z: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """``y = z * exp(log_std) + mean``."""
    return z * torch.exp(log_std) + mean


class Split(Bijection):
    """The first half of the channels stays, the second half leaves, whitened by a Gaussian that the first predicts.

    ``forward`` returns both halves in one tensor, (kept, latent), so that it is a bijection like any other;
    :class:`glow_app.flows.glow.Glow` takes them apart. Mean and log-std are interleaved in the channels of a
    zero-initialised 3x3 convolution. Kingma & Dhariwal 2018, sec. 3 and the authors' code; Dinh et al. 2016, sec. 3.6.

    Args:
        n_channels: C, before the split.
        border: border channel of the convolution.
    """

    def __init__(self, n_channels: int, border: bool) -> None:
        super().__init__()
        self.conv = ZeroConv2d(n_channels // 2, n_channels, border)

    def _mean_and_log_std(self, kept: Tensor) -> tuple[Tensor, Tensor]:
        return deinterleave(self.conv(kept))

    def forward(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        kept, leaving = x.chunk(2, 1)
        latent, logdet = whiten(leaving, *self._mean_and_log_std(kept))
        return torch.cat([kept, latent], 1), logdet

    def inverse(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        kept, latent = z.chunk(2, 1)
        return torch.cat([kept, unwhiten(latent, *self._mean_and_log_std(kept))], 1)


class TopPrior(Bijection):
    """Everything leaves, whitened by a learned Gaussian: mean and log-std per channel, and per class if there are any.

    In the authors' code this is a zero-initialised 3x3 convolution of zeros ("learntop"): only its bias, its scale and
    the border channel's kernel can ever matter, so only these are kept. The classes of a conditional model add one
    learned vector each ("ycond", there with a bias and a scale that change nothing). Unlike everywhere else, mean and
    log-std are not interleaved: the means are the first half of the channels.

    Args:
        n_channels: C at the top of the flow.
        border: whether the Gaussian may differ along the image's edge.
        n_classes: number of classes of ``cond``; 0 for an unconditional model.
    """

    def __init__(self, n_channels: int, border: bool, n_classes: int = 0) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(2 * n_channels))
        self.logs = nn.Parameter(torch.zeros(2 * n_channels))
        self.border = nn.Parameter(torch.zeros(2 * n_channels, 1, 3, 3)) if border else None
        self.classes = nn.Parameter(torch.zeros(n_classes, 2 * n_channels)) if n_classes else None

    def _mean_and_log_std(self, like: Tensor, cond: Tensor | None) -> tuple[Tensor, Tensor]:
        both = self.bias[None, :, None, None]
        if self.border is not None:
            both = both + border_map(self.border, like.shape[2], like.shape[3])
        both = both * torch.exp(LOGS_FACTOR * self.logs)[:, None, None]
        if self.classes is not None:
            if cond is None:
                raise ValueError(f"this model is conditional: it needs cond, a label in 0 ... {len(self.classes) - 1}")
            both = both + self.classes[cond][:, :, None, None]
        mean, log_std = both.expand(like.shape[0], -1, *like.shape[2:]).chunk(2, 1)
        return mean, log_std

    def forward(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return whiten(x, *self._mean_and_log_std(x, cond))

    def inverse(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        return unwhiten(z, *self._mean_and_log_std(z, cond))
