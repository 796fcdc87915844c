"""Scores of any number of images, batch by batch, in constant memory: what ``glow-score`` and ``Model.score`` compute.

Batch b is always images b B to (b + 1) B - 1, on any rank: float32 results depend on what is computed together.
So a pass that resumes at a batch, or that several processes share, has the same results to the bit.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from glow_app.data.image import CorruptImage
from glow_app.data.sets.files import Files
from glow_app.data.source import ImageSource
from glow_app.data.stream import InOrder, as_it_is
from glow_app.flows import Flow
from glow_app.likelihood import seen
from glow_app.runtime import distributed
from glow_app.scores.complexity import CODECS, codec_bits, excess
from glow_app.scores.defects import border, contrast
from glow_app.scores.duplicates import WORDS, signatures, small_pixels
from glow_app.scores.likelihoods import likelihood_ratio, likelihoods
from glow_app.scores.typicality import typicality
from glow_app.units import Bits

SHARE = 4
"""Batches that a process computes before all are gathered."""

ERROR = "error"
"""Name of the standard error of bits per dimension over draws of the noise."""

DEFECTS = ("contrast", "border")
"""Columns of :mod:`glow_app.scores.defects`."""

SIGNATURES = {what: tuple(f"signature_{what}_{word}" for word in range(1, WORDS + 1)) for what in ("pixels", "latents")}
"""Columns of :mod:`glow_app.scores.duplicates`, of small pixels and of the coarsest level's latent."""

NO_SCORES = frozenset({ERROR, *DEFECTS, *SIGNATURES["pixels"], *SIGNATURES["latents"]})
"""Columns that say nothing of how like the training images an image is."""


@dataclass(frozen=True)
class Scorer:
    """Computes all scores of batches of images; larger values are less like the training images.

    Attributes:
        flow: the model.
        n_bits: bits per subpixel that it sees.
        seed: seed of the dequantization noise.
        draws: draws of the noise.
        codecs: names of lossless codecs, see :mod:`glow_app.scores.complexity`.
        mean: mean bits per dimension of training images, for typicality; None: not known.
        background: a second model of the same images and bits; None: none.
        centre: mean of :func:`glow_app.scores.duplicates.small_pixels` of some images, (d,); then there are columns of
            defects and of signatures, too. None: there are none.
    """

    flow: Flow
    n_bits: Bits
    seed: int = 0
    draws: int = 1
    codecs: Sequence[str] = tuple(CODECS)
    mean: float | None = None
    background: Flow | None = None
    centre: Tensor | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns."""
        return (
            "bits_per_dim",
            ERROR,
            *(f"norm_{level}" for level in range(1, len(self.flow.latent_shapes) + 1)),
            "final_scale",
            *(() if self.mean is None else ("typicality",)),
            *(f"minus_{codec.lower()}" for codec in self.codecs),
            *(() if self.background is None else ("minus_background",)),
            *(() if self.centre is None else (*DEFECTS, *SIGNATURES["pixels"], *SIGNATURES["latents"])),
        )

    def complexity(self, images: Tensor) -> Tensor:
        """Bits per dimension of the images' codecs, float64 (B, number of codecs)."""
        sizes = [codec_bits(seen(images, self.n_bits), codec) for codec in self.codecs]
        return torch.stack(sizes, 1) if sizes else torch.empty(len(images), 0, dtype=torch.float64)

    def __call__(self, images: Tensor, positions: Tensor, complexity: Tensor, cond: Tensor | None) -> Tensor:
        """Computes the columns ``names`` of a batch: float64 (B, number of columns), on the CPU.

        Args:
            images: uint8 (B, C, H, W), on the flow's device.
            positions: int64 (B,), numbers of the images.
            complexity: see :meth:`complexity`.
            cond: int64 (B,) class labels of a conditional flow.
        """
        how = (images, positions, self.n_bits, self.seed, self.draws)
        own = likelihoods(self.flow, *how, cond)
        bits = own.bits_per_dim
        columns = [bits, own.error, *own.norms.unbind(1), own.final_scale]
        if self.mean is not None:
            columns.append(typicality(bits, self.mean))
        columns += [excess(bits, size) for size in complexity.unbind(1)]
        if self.background is not None:
            other = likelihoods(self.background, *how, cond if self.background.n_classes else None)
            columns.append(likelihood_ratio(bits, other.bits_per_dim))
        if self.centre is not None:
            pixels = seen(images, self.n_bits)
            columns += [contrast(pixels), border(pixels)]
            columns += signatures(small_pixels(pixels) - self.centre.to(images.device)).unbind(1)
            columns += signatures(own.coarsest).unbind(1)
        return torch.stack(columns, 1)


class Loaded(NamedTuple):
    """A batch as it is loaded.

    Attributes:
        images: uint8 (B, C, H, W).
        positions: int64 (B,), numbers of the images.
        labels: int64 (B,) class labels, or None.
        readable: bool (B,): whether the image's file could be read.
        complexity: see :meth:`Scorer.complexity`.
    """

    images: Tensor
    positions: Tensor
    labels: Tensor | None
    readable: Tensor
    complexity: Tensor


class _Loading(Dataset[Loaded]):
    """Loads and compresses images: a list of indices -> :class:`Loaded`. Codecs run where images are loaded."""

    def __init__(self, scorer: Scorer, source: ImageSource) -> None:
        self.scorer = scorer
        self.source = source

    def __getitems__(self, indices: list[int]) -> Loaded:
        if isinstance(self.source, Files):
            images, readable = self.source.fetch_readable(indices)
            positions, labels = torch.tensor(indices), None
        else:
            images, positions, labels, readable = self._in_order(indices)
        return Loaded(images, positions, labels, readable, self.scorer.complexity(images))

    def _in_order(self, indices: list[int]) -> tuple[Tensor, Tensor, Tensor | None, Tensor]:
        """Images of a data set, their positions and labels, and whether each could be read; zeros if not."""
        loading = InOrder(self.source, self.scorer.seed)
        readable = torch.ones(len(indices), dtype=torch.bool)
        try:
            images, positions, labels = loading.__getitems__(indices)
            return images, positions, labels, readable
        except CorruptImage:
            images = torch.zeros(len(indices), *self.source.image_shape, dtype=torch.uint8)
            for row, index in enumerate(indices):
                try:
                    images[row] = loading[index].images[0]
                except CorruptImage:
                    readable[row] = False
            classes = self.source.classes
            return images, torch.tensor(indices), None if classes is None else classes[indices], readable

    def __getitem__(self, index: int) -> Loaded:
        return self.__getitems__([index])


class _Batches(Sampler[list[int]]):
    """Batches ``first``, ``first + step``, ... of ``n`` images."""

    def __init__(self, n: int, size: int, first: int, step: int) -> None:
        self.starts = range(first * size, n, step * size)
        self.n, self.size = n, size

    def __iter__(self) -> Iterator[list[int]]:
        for start in self.starts:
            yield list(range(start, min(start + self.size, self.n)))

    def __len__(self) -> int:
        return len(self.starts)


def score(
    scorer: Scorer,
    source: ImageSource,
    n: int,
    batch_size: int,
    first_batch: int = 0,
    workers: int = 0,
    label: int | None = None,
) -> Iterator[Tensor]:
    """Yields the scores of the first ``n`` images from ``first_batch`` on, in order: float64 (some, columns) each.

    All processes share the work, and each must take all that is yielded: rank 0 is given the rows, the others none.
    Rows of images that cannot be read are NaN.

    Args:
        scorer: what is computed.
        source: the images.
        n: number of images.
        batch_size: images that are computed together.
        first_batch: number of the first batch.
        workers: processes that load and compress images.
        label: class of all images, for a conditional model and images without labels.
    """
    rank, world = distributed.rank(), distributed.world_size()
    device = scorer.flow.initialized.device
    batches = _Batches(n, batch_size, first_batch + rank, world)
    loading = _Loading(scorer, source)
    loader = iter(DataLoader(loading, batch_sampler=batches, collate_fn=as_it_is, num_workers=workers))
    left = -(-n // batch_size) - first_batch
    for _ in range(-(-left // (SHARE * world))):
        parts = distributed.all_gather([_scored(scorer, batch, device, label) for batch in islice(loader, SHARE)])
        if rank == 0:  # rank r has every world-th batch, from the r-th on
            rows = [parts[r][k] for k in range(SHARE) for r in range(world) if k < len(parts[r])]
            yield torch.cat(rows)
        else:
            yield torch.empty(0, len(scorer.names), dtype=torch.float64)


def _scored(scorer: Scorer, batch: Loaded, device: torch.device, label: int | None) -> Tensor:
    cond = None
    if scorer.flow.n_classes:
        cond = batch.labels if label is None else torch.full_like(batch.positions, label)
        assert cond is not None, "a conditional model, and images without labels"
        cond = cond.to(device)
    rows = scorer(batch.images.to(device), batch.positions.to(device), batch.complexity, cond)
    rows[~batch.readable] = torch.nan
    return rows
