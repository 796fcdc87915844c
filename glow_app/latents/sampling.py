"""New images from a model: any number in constant memory, each a function of its number."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from typing import NamedTuple

import torch
from torch import Tensor

from glow_app.flows import Flow
from glow_app.likelihood import picture
from glow_app.runtime import distributed
from glow_app.units import Bits

GROUP = 16
"""Images that are always computed together: those with equal ``number // GROUP``.

Convolutions sum in another order for another batch size, also on a CPU. This changes a value by at most 1e-6, but
moves about one subpixel in 50,000 to another grey level: in 5% of all 32x32 images, measured.
"""


class Samples(NamedTuple):
    """Images sampled from a model.

    Attributes:
        numbers: numbers of the images, ascending.
        images: uint8 (B, C, H, W); undefined for an image that is not finite.
        finite: bool (B,): whether all of an image's values are.
    """

    numbers: list[int]
    images: Tensor
    finite: Tensor

    @property
    def not_finite(self) -> list[int]:
        """Numbers of the images that are not finite."""
        return [number for number, finite in zip(self.numbers, self.finite.tolist(), strict=True) if not finite]


@dataclass(frozen=True)
class Sampler:
    """The endless sequence of a model's images: image ``i`` is a function of (seed, i, temperature, label), to the bit.

    It depends neither on the batch size nor on which other images are drawn. Another device, number of threads or
    version of torch may rarely move a subpixel by one grey level.

    Attributes:
        flow: the model; images are computed on its device.
        n_bits: 1 ... 8.
        temperature: one for all levels, or one for each, finest first.
        seed: seed of the noise.
        label: class of a conditional model's images; None: image ``i`` is of class ``i mod n_classes``.
    """

    flow: Flow
    n_bits: Bits
    temperature: float | Sequence[float]
    seed: int
    label: int | None = None

    def batches(self, numbers: Iterable[int], batch_size: int) -> Iterator[Samples]:
        """Yields the images with these numbers, in order.

        Several ranks draw whole batches in turn, and each rank receives all.

        Args:
            numbers: ascending numbers; the same on all ranks.
            batch_size: most images per batch, rounded up to a multiple of ``GROUP``.
        """
        size = -(-batch_size // GROUP) * GROUP
        whole = (list(together) for _, together in groupby(numbers, key=lambda number: number // size))
        while of_each := list(islice(whole, distributed.world_size())):
            own = distributed.shard(of_each)
            for batch in distributed.all_gather(self.draw(own[0]) if own else None):
                if batch is not None:
                    yield batch

    @torch.no_grad()
    def draw(self, numbers: Sequence[int]) -> Samples:
        """Draws the images with these numbers (ascending); the result is on the CPU."""
        images: list[Tensor] = []
        finite: list[Tensor] = []
        for group, together in groupby(numbers, key=lambda number: number // GROUP):
            first = group * GROUP
            wanted = [number - first for number in together]
            latents = self.flow.sample_latents(GROUP, self.temperature, self.seed, first)
            x = self.flow.inverse(latents, self._cond(first))[wanted]
            good = torch.isfinite(x).flatten(1).all(1)
            pixels = picture(self.flow, torch.where(good[:, None, None, None], x, 0.0), self.n_bits)
            images.append(pixels.cpu())
            finite.append(good.cpu())
        return Samples(list(numbers), torch.cat(images), torch.cat(finite))

    def labels(self, numbers: Iterable[int]) -> list[int] | None:
        """The classes of the images with these numbers; None for an unconditional model."""
        if not self.flow.n_classes:
            return None
        return [number % self.flow.n_classes if self.label is None else self.label for number in numbers]

    def _cond(self, first: int) -> Tensor | None:
        labels = self.labels(range(first, first + GROUP))
        return None if labels is None else torch.tensor(labels, device=self.flow.initialized.device)
