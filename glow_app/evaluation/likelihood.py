"""Bits per dimension of a data set: the published metric, its parts, and a tighter bound."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from glow_app.data.source import ImageSource
from glow_app.data.stream import Batch, evaluation_loader
from glow_app.flows import VAE, Base, Flow
from glow_app.likelihood import DRAW_STRIDE, bound_of, dequantization_noise, dequantize, log_prob
from glow_app.runtime import distributed
from glow_app.runtime.console import Progress
from glow_app.units import Bits, quantization_bits


@dataclass(frozen=True)
class Likelihood:
    """Bits per dimension of images.

    Attributes:
        per_image: float64 (N,), in the order of the images.
        parts: the summands of ``per_image``, in order; each float64 (N,). Empty if not computed.
    """

    per_image: Tensor
    parts: dict[str, Tensor] = field(default_factory=dict)

    @property
    def mean(self) -> float:
        """The metric that papers report: bits per dimension, the mean over images."""
        return self.per_image.mean().item()

    @property
    def standard_error(self) -> float:
        """The standard error of the mean over images."""
        return standard_error(self.per_image)

    @property
    def interval(self) -> tuple[float, float]:
        """The normal 95% interval of the mean."""
        return self.mean - 1.96 * self.standard_error, self.mean + 1.96 * self.standard_error


def standard_error(values: Tensor) -> float:
    """The standard error of the mean of (N,) values; NaN for a single value."""
    return (values.std() / len(values) ** 0.5).item() if len(values) > 1 else float("nan")


@torch.no_grad()
def measure_likelihood(
    flow: Flow,
    source: ImageSource,
    indices: Sequence[int],
    n_bits: Bits,
    seed: int,
    batch_size: int,
    workers: int = 0,
    progress: Progress = lambda done, total: None,
) -> Likelihood:
    """Measures bits per dimension and their parts, with one draw of the dequantization noise per image.

    The noise of image ``i`` is a function of (seed, i), so the result does not depend on the batch size, the loader
    processes or the number of ranks. It is computed on the flow's device.

    In bits per dimension, ``per_image`` is ``n_bits`` (``quantization``: the log of the number of bins), minus the
    base's log-density of each level's latents, minus the log-determinants of each kind of layer at each level. Of a
    VAE it is the negative ELBO with one sample of the posterior, ``reconstruction`` plus ``KL``.
    """
    rows: list[Tensor] = []
    names: list[str] = []
    for batch in batches(flow, source, distributed.shard(indices), seed, batch_size, workers, progress):
        parts = _parts(flow, batch, n_bits, seed)
        names = list(parts)
        rows.append(torch.stack([part.double().cpu() for part in parts.values()], 1))
    # A rank without images has no names.
    names = next(filter(None, distributed.all_gather(names)))
    bits = distributed.gather_shards(torch.cat([torch.empty(0, len(names)), *rows])) / (flow.n_dims * math.log(2))
    quantization = 0 if isinstance(flow, VAE) else quantization_bits(n_bits)
    named = {"quantization": torch.full_like(bits[:, 0], quantization), **dict(zip(names, bits.unbind(1), strict=True))}
    return Likelihood(bits.sum(1) + quantization, named)


@torch.no_grad()
def importance_bound(
    flow: Flow,
    source: ImageSource,
    indices: Sequence[int],
    n_bits: Bits,
    seed: int,
    batch_size: int,
    n_samples: int,
    workers: int = 0,
    progress: Progress = lambda done, total: None,
) -> Likelihood:
    """Computes the tighter bound from ``n_samples`` draws: ``-(logsumexp_k log p_k - ln K)`` in bits per dimension.

    On average it is neither below the true value nor above the one-draw bound (Burda et al. 2016). The first draw is
    the one of :func:`measure_likelihood`. It is not comparable with published one-draw results.
    """
    draws: list[Tensor] = []
    for draw in range(n_samples):
        parts: list[Tensor] = []

        def report(done: int, total: int, draw: int = draw) -> None:
            progress(draw * total + done, n_samples * total)

        for batch in batches(flow, source, distributed.shard(indices), seed, batch_size, workers, report):
            u = dequantization_noise(batch.images, seed, batch.positions + draw * DRAW_STRIDE)
            parts.append(log_prob(flow, batch.images, u, n_bits, batch.labels).double().cpu())
        draws.append(torch.cat([torch.empty(0), *parts]))
    nats = torch.logsumexp(torch.stack(draws), 0) - math.log(n_samples)
    return Likelihood(distributed.gather_shards(-nats / (flow.n_dims * math.log(2))))


def batches(
    flow: Flow,
    source: ImageSource,
    indices: Sequence[int],
    seed: int,
    batch_size: int,
    workers: int = 0,
    progress: Progress = lambda done, total: None,
) -> Iterator[Batch]:
    """Yields batches of images on the flow's device; with labels only if the flow is conditional."""
    device = flow.initialized.device
    done = 0
    for batch in evaluation_loader(source, seed, indices, batch_size, workers):
        labels = batch.labels.to(device) if flow.n_classes and batch.labels is not None else None
        yield Batch(batch.images.to(device), batch.positions.to(device), labels)
        done += len(batch.images)
        progress(done, len(indices))


def _parts(flow: Flow, batch: Batch, n_bits: Bits, seed: int) -> dict[str, Tensor]:
    """The summands of a batch's negative log-likelihood in nats, or of a bound of it: (B,) each."""
    if isinstance(flow, VAE):
        assert n_bits is not None
        bound = bound_of(flow, batch.images, batch.positions, n_bits, seed, 0, 1)
        return {"reconstruction": -bound.reconstruction[0], "KL": bound.kl[0]}
    u = dequantization_noise(batch.images, seed, batch.positions)
    return _nats(flow.base, *flow.decompose(dequantize(batch.images, u, n_bits), batch.labels))


def _nats(base: Base, latents: Sequence[Tensor], logdets: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The summands of -log p(x), level by level: (B,) each."""
    parts: dict[str, Tensor] = {}
    for level, (z, kinds) in enumerate(zip(latents, logdets, strict=True), 1):
        parts[f"level {level} latents"] = -base.log_prob_of(z)
        for kind, logdet in kinds.items():
            parts[f"level {level} {kind}"] = -logdet
    return parts
