"""The judge of edits: a classifier of the attributes of images.

It is independent of the model that is judged: it learns from real images and their attributes only, and its
reliability is measured. If the true factors of the images are known (drawn faces), it estimates those as well.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, mse_loss

from glow_app import noise
from glow_app.data import transforms
from glow_app.data.source import ImageSource
from glow_app.data.stream import InOrder
from glow_app.evaluation.statistics import correlation

WIDTH = 32
"""Channels of the first block; they double with each further block, up to four times as many."""

BATCH = 64
"""Images per update, and the fewest that a judge learns from."""

PEAK_RATE = 3e-3
"""Adam's peak learning rate, a third of the way through training (one cycle, Smith 2018)."""


class Verdict(NamedTuple):
    """The judge's predictions for images.

    Attributes:
        logits: float32 (B, A): log-odds that an image has each attribute; above 0 is yes.
        factors: float32 (B, F): estimated factors, in standard deviations from the mean of the judge's images.
    """

    logits: Tensor
    factors: Tensor


Body = Callable[[tuple[int, int, int]], tuple[nn.Module, int]]
"""Image shape -> network from images in [-1, 1] to feature maps, and their channels."""


def plain(image_shape: tuple[int, int, int]) -> tuple[nn.Module, int]:
    """Blocks of two 3x3 convolutions, the second with stride 2, with batch normalisation (Ioffe & Szegedy 2015).

    ``log2(side) - 2`` blocks, at least three, leave about 4x4 positions.
    """
    channels, height, width = image_shape
    n_blocks = max(3, min(height, width).bit_length() - 3)
    sizes = [channels, *(WIDTH * min(4, 2**i) for i in range(n_blocks))]
    return nn.Sequential(*(_block(a, b) for a, b in pairwise(sizes))), sizes[-1]


def shuffled(image_shape: tuple[int, int, int]) -> tuple[nn.Module, int]:
    """Torchvision's smallest ShuffleNet V2 (Ma et al. 2018), not pretrained: grouped and depthwise convolutions.

    An architecture unlike that of the readers that set the gains of directions. Its first layer has no stride here, as
    images are small.
    """
    from torchvision.models import shufflenet_v2_x0_5  # takes a second to import

    network = shufflenet_v2_x0_5()
    network.conv1[0] = nn.Conv2d(image_shape[0], 24, 3, padding=1, bias=False)
    return nn.Sequential(*list(network.children())[:-1]), 1024


def _block(n_in: int, n_out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(n_in, n_out, 3, padding=1, bias=False),
        nn.BatchNorm2d(n_out),
        nn.ReLU(),
        nn.Conv2d(n_out, n_out, 3, padding=1, stride=2, bias=False),
        nn.BatchNorm2d(n_out),
        nn.ReLU(),
    )


class Judge(nn.Module):
    """A convolutional classifier: linear layers of averaged features predict the attributes and the factors.

    Args:
        image_shape: (C, H, W).
        attributes: names of the attributes to predict.
        factors: names of the factors to estimate; may be empty.
        body: architecture: :func:`plain` or :func:`shuffled`.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        attributes: Sequence[str],
        factors: Sequence[str],
        body: Body = plain,
    ) -> None:
        super().__init__()
        self.attributes = tuple(attributes)
        self.factors = tuple(factors)
        self.features, n_features = body(image_shape)
        self.decide = nn.Linear(n_features, len(self.attributes))
        self.estimate = nn.Linear(n_features, len(self.factors)) if self.factors else None

    def embed(self, images: Tensor) -> Tensor:
        """Computes the features before the last layers, float32 (B, d), of uint8 (B, C, H, W)."""
        return self.features(images.float() / 127.5 - 1).mean((2, 3))

    def forward(self, images: Tensor) -> Verdict:
        """Judges uint8 (B, C, H, W)."""
        features = self.embed(images)
        estimated = features.new_zeros(len(images), 0) if self.estimate is None else self.estimate(features)
        return Verdict(self.decide(features), estimated)


class Lessons(NamedTuple):
    """The training data of a judge.

    Attributes:
        source: source of the images, with attributes.
        first: number of the first image.
        n: number of images, from the first on.
        factor_names: names of the factors to estimate; may be empty.
        factors: float32 (len(source), len(factor_names)).
    """

    source: ImageSource
    first: int
    n: int
    factor_names: tuple[str, ...]
    factors: Tensor


def train(
    lessons: Lessons,
    n_examples: int,
    seed: int,
    device: torch.device,
    progress: Callable[[int, int], None] = lambda done, total: None,
    body: Body = plain,
) -> Judge:
    """Trains a judge of the attributes of ``lessons.source``; the same for the same seed.

    The order and flips of the images are functions of (seed, position in the stream), the initial weights of the seed.
    Images are not moved by fractions of a pixel: that would blur attributes that show in a pixel or two. The loss is
    the mean binary cross-entropy, plus the mean squared error of the standardised factors.

    Args:
        lessons: images, attributes and factors.
        n_examples: training examples, at least ``BATCH``; an incomplete last batch is dropped.
        seed: seed of the weights, the order and the flips.
        device: device of the judge.
        progress: called with (images done, total) after every update.
        body: architecture of the judge.
    """
    source, first, n = lessons.source, lessons.first, lessons.n
    assert source.attributes is not None, "a judge learns attributes"
    centred = lessons.factors - lessons.factors[first : first + n].mean(0)
    standardized = centred / centred[first : first + n].square().mean(0).sqrt().clamp_min(1e-6)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        judge = Judge(source.image_shape, source.attribute_names, lessons.factor_names, body)
    judge.to(device).train()
    optimizer = torch.optim.Adam(judge.parameters())
    n_steps = n_examples // BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_RATE, total_steps=n_steps, cycle_momentum=False)
    images_of = InOrder(source, seed)
    order = torch.cat([noise.permutation(seed, noise.Stream.ORDER, k, n) for k in range(-(-n_examples // n))]) + first
    for step in range(n_steps):
        positions = torch.arange(step * BATCH, (step + 1) * BATCH)
        indices = order[positions]
        mirror = noise.uniform(seed, noise.Stream.FLIP, positions, 1)[:, 0] < 0.5
        images = transforms.flip(images_of.__getitems__(indices.tolist()).images, mirror).to(device)
        verdict = judge(images)
        loss = binary_cross_entropy_with_logits(verdict.logits, source.attributes[indices].float().to(device))
        if judge.factors:
            loss = loss + mse_loss(verdict.factors, standardized[indices].to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        progress((step + 1) * BATCH, n_steps * BATCH)
    return judge.eval()


class Reliability(NamedTuple):
    """The judge's accuracy on one attribute, on images that it has not learned from.

    Attributes:
        attribute: its name.
        balanced: mean of the accuracies on images with and on images without it; chance is 1/2. None if all images
            have it, or none.
        frequent: share of the more frequent class: the accuracy of always predicting it.
        accuracy: share of correct predictions.
    """

    attribute: str
    balanced: float | None
    frequent: float
    accuracy: float


def reliability(names: Sequence[str], attributes: Tensor, logits: Tensor) -> list[Reliability]:
    """Computes how often a judge is right.

    Args:
        names: names of the attributes.
        attributes: (N, A) 0 or 1, the truth.
        logits: (N, A), the judge's log-odds.
    """
    right = ((logits > 0) == attributes.bool()).double()
    found: list[Reliability] = []
    for column, name in enumerate(names):
        has_it = attributes[:, column].bool()
        parts = [right[mask, column] for mask in (has_it, ~has_it)]
        share = has_it.double().mean().item()
        balanced = sum(part.mean().item() for part in parts) / 2 if all(map(len, parts)) else None
        found.append(Reliability(name, balanced, max(share, 1 - share), right[:, column].mean().item()))
    return found


def factor_correlations(names: Sequence[str], truth: Tensor, estimated: Tensor) -> dict[str, float | None]:
    """Maps each factor to Pearson's correlation between its true and its estimated values, both (N, F)."""
    return {name: correlation(truth[:, i], estimated[:, i]) for i, name in enumerate(names)}
