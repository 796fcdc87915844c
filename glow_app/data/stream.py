"""The endless stream of training images: the image at each position.

Position ``p`` belongs to pass ``p // n`` through the ``n`` images; every pass has its own random order, a function of
(seed, pass). The stream has no state: it can resume anywhere, and does not depend on workers or processes.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from glow_app import noise
from glow_app.data.source import ImageSource, RandomCropSource
from glow_app.data.transforms import binarise


class Batch(NamedTuple):
    """The input of a training or evaluation step.

    Attributes:
        images: uint8 (B, C, H, W).
        positions: int64 (B,), positions in the stream in training, indices of the images in evaluation.
        labels: int64 (B,) class labels, or None.
    """

    images: Tensor
    positions: Tensor
    labels: Tensor | None


class TrainingStream(Dataset[Batch]):
    """The endless stream over a source: a list of positions -> :class:`Batch`."""

    def __init__(self, source: ImageSource, seed: int) -> None:
        self.source = source
        self.seed = seed
        self._order: tuple[int, Tensor] | None = None

    def index(self, position: int) -> int:
        """Returns the index of the image at ``position``."""
        number, offset = divmod(position, len(self.source))
        if self._order is None or self._order[0] != number:
            self._order = (number, noise.permutation(self.seed, noise.Stream.ORDER, number, len(self.source)))
        return int(self._order[1][offset])

    def __getitems__(self, positions: list[int]) -> Batch:
        indices = [self.index(position) for position in positions]
        return _batch(self.source, self.seed, indices, positions)

    def __getitem__(self, position: int) -> Batch:
        return self.__getitems__([position])


class InOrder(Dataset[Batch]):
    """The images of a source in their own order, for evaluation: a list of indices -> :class:`Batch`.

    ``seed`` fixes the crops of a ``RandomCropSource``; they are the same on every pass.
    """

    def __init__(self, source: ImageSource, seed: int) -> None:
        self.source = source
        self.seed = seed

    def __getitems__(self, indices: list[int]) -> Batch:
        return _batch(self.source, self.seed, indices, indices)

    def __getitem__(self, index: int) -> Batch:
        return self.__getitems__([index])

    def __len__(self) -> int:
        return len(self.source)


def _batch(source: ImageSource, seed: int, indices: list[int], positions: list[int]) -> Batch:
    at = torch.tensor(positions)
    if isinstance(source, RandomCropSource):
        images = source.fetch_crops(indices, noise.uniform(seed, noise.Stream.CROP, at, 2))
    else:
        images = source.fetch(indices)
    if source.binarised:
        u = noise.uniform(seed, noise.Stream.BINARISE, at, images[0].numel()).view(images.shape)
        images = binarise(images, u)
    return Batch(images, at, None if source.classes is None else source.classes[indices])


def evenly_spaced(indices: Sequence[int], n: int) -> list[int]:
    """Up to ``n`` of the indices, evenly spaced, as the images of a split may be sorted by class."""
    chosen = torch.linspace(0, len(indices) - 1, min(n, len(indices))).long().tolist()
    return [indices[number] for number in chosen]


class StreamBatches(Sampler[list[int]]):
    """Positions of the stream, in batches, for one of several processes.

    Global batch ``b`` covers positions ``b * world_size * batch_size`` onwards; each process reads its own part,
    so that two processes with half the batch size read the same images as one.

    Args:
        n_batches: batches in the whole run.
        batch_size: images per process and batch.
        first: first batch to yield; above 0 when a run resumes.
        rank: rank of this process.
        world_size: number of processes.
    """

    def __init__(self, n_batches: int, batch_size: int, first: int = 0, rank: int = 0, world_size: int = 1) -> None:
        self.n_batches = n_batches
        self.batch_size = batch_size
        self.first = first
        self.rank = rank
        self.world_size = world_size

    def __iter__(self) -> Iterator[list[int]]:
        for batch in range(self.first, self.n_batches):
            start = (batch * self.world_size + self.rank) * self.batch_size
            yield list(range(start, start + self.batch_size))

    def __len__(self) -> int:
        # Of the whole run: after a resume Lightning also counts the batches before it.
        return self.n_batches


class EvaluationBatches(Sampler[list[int]]):
    """Batches of the given images, each exactly once over all processes: no duplicates pad the last batch.

    Args:
        indices: indices of the images; rank r of n processes reads entries r, r + n, r + 2n, ...
        batch_size: images per process and batch.
        rank: rank of this process.
        world_size: number of processes.
    """

    def __init__(self, indices: Sequence[int], batch_size: int, rank: int = 0, world_size: int = 1) -> None:
        self.indices = indices[rank::world_size]
        self.batch_size = batch_size

    def __iter__(self) -> Iterator[list[int]]:
        for start in range(0, len(self.indices), self.batch_size):
            yield list(self.indices[start : start + self.batch_size])

    def __len__(self) -> int:
        return -(-len(self.indices) // self.batch_size)


def evaluation_loader(
    source: ImageSource, seed: int, indices: Sequence[int], batch_size: int, workers: int
) -> DataLoader[Batch]:
    """Loads images of a source in the order of ``indices``; see :class:`InOrder`."""
    batches = EvaluationBatches(indices, batch_size)
    return DataLoader(InOrder(source, seed), batch_sampler=batches, collate_fn=as_it_is, num_workers=workers)


def as_it_is(batch: Any) -> Any:
    """Returns the batch unchanged: the ``collate_fn`` of data sets that return whole batches."""
    return batch
