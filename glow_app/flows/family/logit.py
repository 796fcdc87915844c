"""The logit transform: from pixels in a box to all real numbers."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from glow_app.flows.bijection import Bijection, sum_per_sample


class Logit(Bijection):
    """``z = logit(alpha + (1 - 2 alpha) (x + 1/2))`` for ``x`` in [-1/2, 1/2]: no density is wasted outside the box.

    Dinh et al. 2016, sec. 4.1, with alpha = 0.05. There the argument is printed as ``alpha + (1 - alpha) x / 256``,
    which reaches 1, where the logit is infinite, for the brightest pixels; their released code keeps alpha off both
    ends, as this layer does. The inverse maps every number into a box slightly larger than that of pixels.

    Args:
        alpha: smallest distance of the logit's argument from 0 and 1; above 0, below 1/2.
    """

    def __init__(self, alpha: float) -> None:
        super().__init__()
        self.alpha = alpha

    def forward(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        p = self.alpha + (1 - 2 * self.alpha) * (x + 0.5)
        log_p, log_q = torch.log(p), torch.log1p(-p)
        # dz/dx = (1 - 2 alpha) / (p (1 - p))
        return log_p - log_q, x[0].numel() * math.log(1 - 2 * self.alpha) - sum_per_sample(log_p + log_q)

    def inverse(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        return (torch.sigmoid(z) - self.alpha) / (1 - 2 * self.alpha) - 0.5

    def inverse_with_logdet(self, z: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        # From z, not from x, which is rounded to the border of the box where z is large.
        log_slope = F.logsigmoid(z) + F.logsigmoid(-z)
        return self.inverse(z), sum_per_sample(log_slope) - z[0].numel() * math.log(1 - 2 * self.alpha)
