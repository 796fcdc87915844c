"""Priors: latents are factored out whitened, i.e. standardised by the Gaussian that predicts them.

With ``z = (y - mean) / std`` and ``logdet = -sum(log std)``, the density of ``y`` under N(mean, std^2) is that of ``z``
under N(0, I) times the Jacobian: the likelihood equals that of a conditional prior, but every latent of the model is
N(0, I). Sampling at a temperature, interpolation and editing are then arithmetic on normal latents.
"""

import torch
from torch import Tensor, nn

from glow_app.flows.bijection import Bijection, deinterleave, sum_per_sample
from glow_app.flows.conditioner import ZeroConv2d, border_map
from glow_app.flows.pixel_affine import LOGS_FACTOR


def whiten(y: Tensor, mean: Tensor, log_std: Tensor) -> tuple[Tensor, Tensor]:
    """Returns ``z = (y - mean) * exp(-log_std)`` and its log-determinant (B,)."""
    return (y - mean) * torch.exp(-log_std), -sum_per_sample(log_std)


def unwhiten(z: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """Returns ``y = z * exp(log_std) + mean``."""
    return z * torch.exp(log_std) + mean


class Split(Bijection):
    """Keeps the first half of the channels and whitens the second by a Gaussian predicted from the first.

    ``forward`` returns both halves as one tensor (kept, latent), like any bijection;
    :class:`glow_app.flows.flow.Flow` separates them. Mean and log-std are interleaved in the channels of a
    zero-initialised 3x3 convolution. Kingma & Dhariwal 2018, sec. 3 and the authors' code; Dinh et al. 2016, sec. 3.6.

    Args:
        n_channels: C, before the split.
        border: whether the convolution has a border channel.
    """

    def __init__(self, n_channels: int, border: bool) -> None:
        super().__init__()
        self.conv = ZeroConv2d(n_channels // 2, n_channels, border)

    def forward(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        kept, y = x.chunk(2, 1)
        latent, logdet = whiten(y, *deinterleave(self.conv(kept)))
        return torch.cat([kept, latent], 1), logdet

    def inverse(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        return self.inverse_with_logdet(z, cond)[0]

    def inverse_with_logdet(self, z: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        kept, latent = z.chunk(2, 1)
        mean, log_std = deinterleave(self.conv(kept))
        return torch.cat([kept, unwhiten(latent, mean, log_std)], 1), sum_per_sample(log_std)


class TopPrior(Bijection):
    """Whitens all channels by a learned Gaussian: mean and log-std per channel, and per class if there are classes.

    In the authors' code this is a zero-initialised 3x3 convolution of zeros ("learntop"): only its bias, its scale and
    the border channel's kernel have an effect, so only these are parameters. Each class of a conditional model adds a
    learned vector ("ycond", in their code with a redundant bias and scale). Unlike everywhere else, mean and log-std
    are not interleaved: the means are the first half of the channels.

    Args:
        n_channels: C at the top of the flow.
        border: whether the Gaussian may differ at the image's edge.
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
