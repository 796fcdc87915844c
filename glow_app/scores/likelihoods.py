"""Scores that one pass through a flow computes: bits per dimension, its final scale's, and norms of the latents.

Larger values of every score are less like the training images, as far as the score works.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from glow_app.flows import Flow
from glow_app.likelihood import DRAW_STRIDE, dequantization_noise, dequantize
from glow_app.units import Bits, quantization_bits


class Likelihoods(NamedTuple):
    """Results of passes of images through a flow, each float64 but ``coarsest``.

    Attributes:
        bits_per_dim: (B,), the mean over draws of the dequantization noise.
        error: (B,), the standard error of that mean; NaN of a single draw.
        final_scale: (B,), see :func:`final_scale`; the mean over draws.
        norms: (B, L), see :func:`norms`, finest level first; the mean over draws.
        coarsest: (B, d_L), the coarsest level's latent; of the first draw, on the flow's device, as it is computed.
    """

    bits_per_dim: Tensor
    error: Tensor
    final_scale: Tensor
    norms: Tensor
    coarsest: Tensor


@torch.no_grad()
def likelihoods(
    flow: Flow, images: Tensor, positions: Tensor, n_bits: Bits, seed: int, draws: int, cond: Tensor | None = None
) -> Likelihoods:
    """Computes bits per dimension and its parts with ``draws`` draws of the noise for each image.

    Draw k of the image at position p is a function of (seed, p, k), the first that of ``glow-evaluate``.

    Args:
        flow: the model.
        images: uint8 (B, C, H, W), on the flow's device.
        positions: int64 (B,), numbers of the images.
        n_bits: bits that the model sees.
        seed: seed of the noise.
        draws: number of draws, each a pass through the flow.
        cond: int64 (B,) class labels of a conditional flow.
    """
    bits, finals, sizes, coarsest = [], [], [], []
    for draw in range(draws):
        u = dequantization_noise(images, seed, positions + draw * DRAW_STRIDE)
        latents, logdets = flow.decompose(dequantize(images, u, n_bits), cond)
        nats = [-flow.base.log_prob_of(z).double() for z in latents]
        for level, kinds in enumerate(logdets):
            for logdet in kinds.values():
                nats[level] = nats[level] - logdet.double()
        bits.append(torch.stack(nats).sum(0) / (flow.n_dims * math.log(2)) + quantization_bits(n_bits))
        finals.append(final_scale(nats[-1], latents[-1][0].numel()))
        sizes.append(norms(latents))
        coarsest.append(latents[-1].flatten(1))
    drawn = torch.stack(bits).cpu()
    mean, error = mean_and_error(drawn)
    found = torch.stack(finals).mean(0).cpu(), torch.stack(sizes).mean(0).cpu()
    return Likelihoods(mean, error, *found, coarsest[0])


def mean_and_error(draws: Tensor) -> tuple[Tensor, Tensor]:
    """The mean over K draws and its standard error ``s / sqrt(K)``, s with K - 1: (K, B) -> (B,), (B,)."""
    n = len(draws)
    error = draws.std(0) / n**0.5 if n > 1 else torch.full_like(draws[0], math.nan)
    return draws.mean(0), error


def final_scale(nats: Tensor, n_dims: int) -> Tensor:
    """``-(log p(z_L) + log|det df_L/dh|) / (d_L ln 2)``: bits of the coarsest level per number of its latent, (B,).

    The log-likelihood is a sum over levels; the last of them sees what the finer levels have left, shapes rather than
    smoothness of neighbouring pixels (Schirrmeister et al. 2020, "Understanding anomaly detection with deep
    invertible networks through hierarchies of distributions and features", sec. 4).

    Args:
        nats: (B,), minus the level's log-density with its log-determinant.
        n_dims: d_L, numbers in its latent.
    """
    return nats / (n_dims * math.log(2))


def norms(latents: Sequence[Tensor]) -> Tensor:
    """``|z_l| / sqrt(d_l)`` of each level's latent, finest first: (B, L), float64.

    Under the model, of a normal base, its square has mean 1 and variance 2 / d_l: nearly all images lie on a shell
    (Nalisnick et al. 2019, "Detecting out-of-distribution inputs to deep generative models using typicality").
    """
    return torch.stack([z.double().flatten(1).square().mean(1).sqrt() for z in latents], 1)


def likelihood_ratio(bits_per_dim: Tensor, background: Tensor) -> Tensor:
    """``-(log p(x) - log p_0(x)) / (D ln 2)``: bits per dimension beyond those of a second model, (B,).

    What both models know cancels; what only the first was trained on stays. Ren et al. 2019 ("Likelihood ratios for
    out-of-distribution detection") train the second on perturbed images; Schirrmeister et al. 2020 on images in
    general.
    """
    return bits_per_dim - background
