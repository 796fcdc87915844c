"""Bits per dimension of a data set."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from glow_app.data.sampler import EvaluationBatches, InOrder
from glow_app.data.source import ImageSource
from glow_app.flows import Glow
from glow_app.likelihood import bits_per_dim, dequantization_noise, log_prob


@dataclass(frozen=True)
class Likelihood:
    """Bits per dimension, with one draw of dequantization noise per image.

    Attributes:
        per_image: float64 (N,), in the order of the data set.
    """

    per_image: Tensor

    @property
    def mean(self) -> float:
        return self.per_image.mean().item()

    @property
    def standard_error(self) -> float:
        """Of the mean over images: what another sample of as many images would move it by."""
        return (self.per_image.std() / len(self.per_image) ** 0.5).item() if len(self.per_image) > 1 else float("nan")


@torch.no_grad()
def evaluate(
    flow: Glow,
    source: ImageSource,
    n_bits: int,
    seed: int,
    batch_size: int,
    n_images: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Likelihood:
    """Bits per dimension of the first ``n_images`` images (0: all), every one counted once.

    The noise of image ``i`` is a function of (seed, i): the figure does not depend on the batch size. It is computed
    where the flow is; ``progress`` is told (images done, images in all).
    """
    device = flow.initialized.device
    dataset = InOrder(source, seed)
    parts: list[Tensor] = []
    n = min(n_images or len(source), len(source))
    for indices in EvaluationBatches(n, batch_size):
        batch = dataset.__getitems__(indices)
        images, positions = batch.images.to(device), batch.positions.to(device)
        cond = batch.labels.to(device) if flow.n_classes and batch.labels is not None else None
        nats = log_prob(flow, images, dequantization_noise(images, seed, positions), n_bits, cond)
        parts.append(bits_per_dim(nats, flow.n_dims).double().cpu())
        progress(sum(len(part) for part in parts), n)
    return Likelihood(torch.cat(parts))
