"""Likelihood of a VAE: an importance-weighted estimate, and the latents that it uses."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from glow_app.data.source import ImageSource
from glow_app.evaluation.likelihood import Likelihood, batches
from glow_app.flows import VAE
from glow_app.flows.variational.vae import grey_levels
from glow_app.likelihood import bits_per_dim, bound_of, centre_of_posterior
from glow_app.runtime import distributed
from glow_app.runtime.console import Progress

DECODED_TOGETHER = 2048
"""Latents that are decoded at once, for all images of a batch."""

ACTIVE = 0.01
"""Variance over images of a latent that is used, as in Burda et al. 2016."""


@torch.no_grad()
def importance_estimate(
    vae: VAE,
    source: ImageSource,
    indices: Sequence[int],
    n_bits: int,
    seed: int,
    batch_size: int,
    n_samples: int,
    workers: int = 0,
    progress: Progress = lambda done, total: None,
) -> Likelihood:
    """Estimates -log p(x) in bits per dimension as ``-log mean exp(log p(x, z) - log q(z | x))`` over S samples z.

    On average it is neither below the true value nor above the bound of one sample, and tends to the true value (Burda
    et al. 2016, theorem 1). The first sample is that of :func:`glow_app.evaluation.likelihood.measure_likelihood`; the
    samples of an image are functions of (seed, index of the image).
    """
    bits: list[Tensor] = []
    done = 0
    shard = distributed.shard(indices)
    for batch in batches(vae, source, shard, seed, batch_size, workers):
        features = vae.features(grey_levels(batch.images, n_bits), 2**n_bits)
        together = max(1, DECODED_TOGETHER // len(batch.images))
        log_sum = torch.full((len(batch.images),), -math.inf, dtype=torch.float64, device=batch.images.device)
        for first in range(0, n_samples, together):
            n = min(together, n_samples - first)
            bound = bound_of(vae, batch.images, batch.positions, n_bits, seed, first, n, features)
            log_sum = torch.logaddexp(log_sum, torch.logsumexp(bound.log_weight.double(), 0))
            progress(done * n_samples + (first + n) * len(batch.images), len(shard) * n_samples)
        bits.append(bits_per_dim(log_sum - math.log(n_samples), vae.n_dims).cpu())
        done += len(batch.images)
    return Likelihood(distributed.gather_shards(torch.cat([torch.empty(0), *bits])))


@torch.no_grad()
def used_latents(
    vae: VAE, source: ImageSource, indices: Sequence[int], n_bits: int, seed: int, batch_size: int, workers: int = 0
) -> list[int]:
    """Returns the numbers of the latents whose encodings vary over images by more than ``ACTIVE``, the most first."""
    encoded = [
        centre_of_posterior(vae, batch.images, n_bits)[0].flatten(1).double().cpu()
        for batch in batches(vae, source, distributed.shard(indices), seed, batch_size, workers)
    ]
    latents = distributed.gather_shards(torch.cat([torch.empty(0, vae.n_latents), *encoded]))
    variances = latents.var(0, correction=0)
    order = variances.argsort(descending=True).tolist()
    return [number for number in order if variances[number] > ACTIVE]
