"""Dequantization, log-likelihood of discrete images, and bits per dimension.

Images are uint8 with 256 grey levels; a model sees ``n_bins = 2**n_bits`` of them. Kingma & Dhariwal 2018, sec. 2
(after Uria et al. 2013 and Theis et al. 2015).

Points in the plane are floats without grey levels: ``n_bits`` is None, the model sees them unchanged, and
``log p_flow(x) - D ln(n_bins)`` is their log-density itself.
"""

import math

import torch
from torch import Tensor

from glow_app import noise
from glow_app.flows import VAE, Flow
from glow_app.flows.variational.vae import Bound, grey_levels
from glow_app.units import Bits, quantization_bits

DRAW_STRIDE = 2**40
"""Positions between two draws of the noise of one image: more than any data set has images."""

POINT_TOLERANCE = 1e-4
"""Largest error of a point that counts as reconstructed: float32 is not exact."""


def dequantization_noise(images: Tensor, seed: int, positions: Tensor) -> Tensor:
    """``u`` in (0, 1) for every subpixel, a function of (seed, position): float32, shaped like ``images``."""
    n = images[0].numel()
    return noise.uniform(seed, noise.Stream.DEQUANTIZE, positions, n).view(images.shape)


def inner_noise(images: Tensor, seed: int, positions: Tensor) -> Tensor:
    """Returns :func:`dequantization_noise` that stays a hundredth of a bin away from the bin's borders.

    Images like those that a model knows are then reconstructed exactly in float32: rounding errors, of some
    ten-thousandths of a grey level, cannot move a subpixel over a border. Of others the errors may be larger.
    """
    return 0.01 + 0.98 * dequantization_noise(images, seed, positions)


def dequantize(images: Tensor, u: Tensor | float, n_bits: Bits) -> Tensor:
    """``x = (q + u) / n_bins - 1/2`` with ``q = floor(image / 2**(8 - n_bits))``.

    Args:
        images: uint8 (B, C, H, W), or points.
        u: noise in [0, 1), shaped like ``images``; 0.5 for the centres of the bins.
        n_bits: 1 ... 8, or None for points, which do not change.

    Returns:
        (B, C, H, W) in [-1/2, 1/2), in the dtype of ``u`` (float32 for a number).
    """
    dtype = u.dtype if isinstance(u, Tensor) else torch.float32
    if n_bits is None:
        return images.to(dtype)
    bins = images >> (8 - n_bits)
    return (bins.to(dtype) + u) / 2**n_bits - 0.5


def dequantize_midpoints(images: Tensor, n_bits: Bits, dtype: torch.dtype = torch.float32) -> Tensor:
    """``x = (image + 1/2) / 256 - 1/2``: without noise, in the middle of each of the 256 grey levels.

    The bits of an image that a model of fewer bits does not see tell where in its bin a value lies: edited by a part of
    a bin, it crosses the border where the scene would. An image that has none of these bits, as a sample, has its
    values in the middle of their bins.

    Args:
        images: uint8 (B, C, H, W), or points.
        n_bits: 1 ... 8, or None for points, which do not change.
        dtype: dtype of the result.

    Returns:
        (B, C, H, W) in [-1/2, 1/2).
    """
    if n_bits is None:
        return images.to(dtype)
    unseen = images & (2 ** (8 - n_bits) - 1)
    u = (unseen.to(dtype) + 0.5) / 2 ** (8 - n_bits)
    known = (unseen != 0).flatten(1).any(1)[:, None, None, None]
    return dequantize(images, torch.where(known, u, 0.5), n_bits)


def quantize(x: Tensor, n_bits: Bits) -> Tensor:
    """Returns pixels: ``floor((x + 1/2) * n_bins)`` clamped to ``[0, n_bins - 1]``, times ``256 / n_bins``, as uint8.

    Args:
        x: finite values (B, C, H, W).
        n_bits: 1 ... 8, or None for points, which do not change.
    """
    if n_bits is None:
        return x
    n_bins = 2**n_bits
    return ((x + 0.5) * n_bins).floor().clamp(0, n_bins - 1).to(torch.uint8) << (8 - n_bits)


def picture(flow: Flow, x: Tensor, n_bits: Bits) -> Tensor:
    """Returns the pixels, uint8, of what a model decodes: :func:`quantize`; a VAE decodes means, of all 256 levels."""
    return quantize(x, 8 if isinstance(flow, VAE) else n_bits)


def seen(images: Tensor, n_bits: Bits) -> Tensor:
    """Returns the upper ``n_bits`` of images: what a model sees, and reconstructs if its inverse is exact."""
    return images if n_bits is None else images >> (8 - n_bits) << (8 - n_bits)


def is_reconstructed(x: Tensor, images: Tensor, n_bits: Bits) -> Tensor:
    """Returns whether the inverse ``x``, (B, C, H, W), equals what the model saw of ``images``, bool (B,).

    Every subpixel must be the same after quantization; points may be off by ``POINT_TOLERANCE``.
    """
    if n_bits is None:
        return ((x - images).abs() <= POINT_TOLERANCE).flatten(1).all(1)
    same = quantize(torch.nan_to_num(x), n_bits) == seen(images, n_bits)
    return same.flatten(1).all(1) & torch.isfinite(x).flatten(1).all(1)


def log_prob(flow: Flow, images: Tensor, u: Tensor, n_bits: Bits, cond: Tensor | None = None) -> Tensor:
    """A lower bound on log P(image), in nats: ``log p_flow(x) - D ln(n_bins)``, with one draw ``u`` of the noise.

    Args:
        flow: the density of dequantized images.
        images: uint8 (B, C, H, W), or points.
        u: noise in [0, 1), shaped like ``images``, in the dtype of the flow.
        n_bits: 1 ... 8, or None for points: then this is log p itself.
        cond: int64 (B,) class labels of a conditional flow.

    Returns:
        (B,).
    """
    n_dims = images[0].numel()
    return flow.log_prob(dequantize(images, u, n_bits), cond) - n_dims * quantization_bits(n_bits) * math.log(2)


def bound_of(
    vae: VAE,
    images: Tensor,
    positions: Tensor,
    n_bits: int,
    seed: int,
    first: int,
    n: int,
    features: Tensor | None = None,
) -> Bound:
    """Computes the terms of the ELBO of images with the samples ``first`` ... ``first + n - 1`` of their posteriors.

    The noise of a sample is a function of (seed, position of the image, number of the sample).

    Args:
        vae: the model.
        images: uint8 (B, C, H, W).
        positions: int64 (B,).
        n_bits: 1 ... 8.
        seed: seed of the noise.
        first: number of the first sample.
        n: number of samples.
        features: what the encoder computes of the images, if it is known.

    Returns:
        terms of (n, B).
    """
    draws = torch.arange(first, first + n, device=positions.device)[:, None] * DRAW_STRIDE
    drawn = noise.normal(seed, noise.Stream.POSTERIOR, (positions + draws).flatten(), vae.n_latents)
    eps = drawn.to(next(vae.parameters()).dtype).view(n, len(images), vae.n_latents)
    return vae.bound(grey_levels(images, n_bits), 2**n_bits, eps, features)


def centre_of_posterior(vae: VAE, images: Tensor, n_bits: Bits) -> list[Tensor]:
    """Returns the latents of :meth:`glow_app.flows.VAE.encode` for images, uint8 (B, C, H, W)."""
    assert n_bits is not None
    return vae.encode(grey_levels(images, n_bits), 2**n_bits)


def bits_per_dim(log_prob: Tensor, n_dims: int) -> Tensor:
    """``-log_prob / (D ln 2)``: nats of an image to bits per subpixel."""
    return -log_prob / (n_dims * math.log(2))
