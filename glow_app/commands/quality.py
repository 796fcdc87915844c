"""``glow-evaluate quality=true``: how near samples are to images that were not learned from."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor

from glow_app.build import open_split
from glow_app.commands.common import labelled_images, open_split_of
from glow_app.commands.reports.quality import Quality
from glow_app.config.commands import EvaluateConfig
from glow_app.data.source import EmptySplit, ImageSource
from glow_app.data.stream import InOrder, evenly_spaced
from glow_app.errors import UserError
from glow_app.evaluation import judge as judges
from glow_app.evaluation.features import (
    Network,
    blurred,
    features_of,
    inception,
    labelled_by_classes,
    noise_images,
    save_classifier,
    saved_classifier,
    train_classifier,
)
from glow_app.evaluation.judge import BATCH, Judge
from glow_app.evaluation.quality import FEWEST, figures
from glow_app.latents.sampling import Sampler
from glow_app.likelihood import seen
from glow_app.model import Model
from glow_app.noise import Stream, permutation
from glow_app.runtime import distributed
from glow_app.runtime.console import counting, say

CLASSIFIER = "quality_features.safetensors"
"""File of the classifier, in the output folder."""

MOST = 2000
"""Images per set, unless more are asked for: the time for density and coverage grows with the square."""


def measure_quality(
    model: Model, source: ImageSource, indices: Sequence[int], config: EvaluateConfig, folder: Path, console: Console
) -> Quality:
    """Compares samples, and sets that show what is near and what is far, with half of the images in ``indices``.

    All sets have as many images, since FID depends on that. The classifier is kept in ``folder``.

    Raises:
        UserError: there are too few images, or no labels to train a classifier on, or the weights do not load.
    """
    distributed.require_one("glow-evaluate quality=true")
    n = _images_per_set(source, len(indices), config)
    order = permutation(config.seed, Stream.ORDER, 0, len(indices))
    reference, others = (sorted(indices[i] for i in part.tolist()) for part in (order[:n], order[n : 2 * n]))
    network, what, accuracy = _network(model, source, reference, config, folder, console)
    not_finite = 0

    def samples(temperature: float) -> Iterator[Tensor]:
        nonlocal not_finite
        for batch in Sampler(model.flow, model.n_bits, temperature, config.seed).batches(range(n), config.batch_size):
            not_finite += len(batch.not_finite)
            yield batch.images

    def real(images: ImageSource, numbers: Sequence[int]) -> Iterator[Tensor]:
        for part in torch.tensor(numbers).split(config.batch_size):
            yield seen(InOrder(images, config.seed).__getitems__(part.tolist()).images, model.n_bits)

    def noise() -> Iterator[Tensor]:
        for part in torch.arange(n).split(config.batch_size):
            yield seen(noise_images(model.image_shape, config.seed, part), model.n_bits)

    sets = {f"samples, temperature {t:g}": samples(t) for t in dict.fromkeys((config.quality.temperature, 1.0))}
    sets[f"real: other {source.split} images"] = real(source, others)
    train = _training_images(model, config, console)
    if train is not None:
        learned = evenly_spaced(range(len(train)), n)
        sets[f"real: {len(learned):,} training images"] = real(train, learned)
    sets["blurred: those others"] = (seen(blurred(images), model.n_bits) for images in real(source, others))
    sets["noise: uniform"] = noise()

    def features(name: str, images: Iterator[Tensor]) -> Tensor:
        with counting(console, f"features of {name}") as progress:
            return features_of(network, images, model.device, n, progress)

    of_real = features("real images", real(source, reference))
    local = config.quality.weights is None
    # The scale of a classifier's features is an accident of training; that of InceptionV3 is part of the metric.
    centre, scale = (of_real.mean(0), of_real.var(0).mean().sqrt().clamp_min(1e-12)) if local else (0.0, 1.0)
    rows = {
        name: figures((of_real - centre) / scale, (features(name, images) - centre) / scale, config.seed)
        for name, images in sets.items()
    }
    return Quality(what, local, accuracy, n, not_finite, rows)


def _images_per_set(source: ImageSource, n_images: int, config: EvaluateConfig) -> int:
    if source.split == "train":
        raise UserError("quality=true compares with images that were not learned from: choose split=val or split=test")
    n, most = config.quality.samples or min(MOST, n_images // 2), n_images // 2
    if n > most or n < FEWEST:
        raise UserError(
            f"quality.samples={n}: half of the {n_images:,} images of {source.name} {source.split} are {most:,}, with "
            f"which the other half and samples are compared; at least {FEWEST} are needed"
        )
    return n


def _training_images(model: Model, config: EvaluateConfig, console: Console) -> ImageSource | None:
    """The training images; None if there are too few."""
    try:
        train = open_split_of(model, config.data, "train", console)
    except EmptySplit:
        return None
    return train if len(train) >= FEWEST else None


def _network(
    model: Model, source: ImageSource, reference: list[int], config: EvaluateConfig, folder: Path, console: Console
) -> tuple[Network, str, float | None]:
    """The network, a description of its features, and its balanced accuracy on held-out images if these have labels."""
    options = config.quality
    if options.weights is not None:
        return inception(Path(options.weights), model.device), f"InceptionV3 ({options.weights})", None
    train = labelled_by_classes(_lessons(model, config, console))
    assert train.attributes is not None, "it has labels"
    path = folder / CLASSIFIER
    classifier = saved_classifier(path, train, options.examples, config.seed)
    if classifier is None:
        with counting(console, "the classifier whose features are compared learns") as progress:
            classifier = train_classifier(train, options.examples, config.seed, model.device, progress)
        save_classifier(classifier, path, train, options.examples, config.seed)
    else:
        say(console, f"quality: the classifier in {path} is used again")
    classifier.to(model.device)
    what = f"a classifier of {len(train.attribute_names)} attributes or classes of {len(train):,} training images"
    return classifier.embed, what, _accuracy(classifier, labelled_by_classes(source), reference, config)


def _lessons(model: Model, config: EvaluateConfig, console: Console) -> ImageSource:
    """The training images with attributes or classes."""
    train = labelled_images(open_split_of(model, config.data, "train", console), console)
    if train.attributes is None and train.classes is None:
        try:
            train = open_split(config.data, "train", console, with_classes=True)
        except UserError as error:
            raise _no_labels(config) from error
    if labelled_by_classes(train).attributes is None:
        raise _no_labels(config)
    if len(train) < BATCH:
        raise UserError(
            f"quality=true trains a classifier on at least {BATCH} training images, and data={config.data.name} has "
            f"{len(train)}: give more, or quality.weights=FILE"
        )
    return train


def _no_labels(config: EvaluateConfig) -> UserError:
    return UserError(
        f"quality=true: data={config.data.name} has neither attributes nor classes to train a classifier on: give "
        "quality.weights=FILE, the weights of InceptionV3"
    )


@torch.no_grad()
def _accuracy(classifier: Judge, source: ImageSource, indices: list[int], config: EvaluateConfig) -> float | None:
    """The mean balanced accuracy on the images in ``indices`` whose labels are known."""
    known = [i for i in indices if source.labelled is None or source.labelled[i]]
    if source.attributes is None or source.attribute_names != classifier.attributes or not known:
        return None
    device = classifier.decide.weight.device
    logits = [
        classifier(InOrder(source, config.seed).__getitems__(part.tolist()).images.to(device)).logits.cpu()
        for part in torch.tensor(known).split(config.batch_size)
    ]
    rows = judges.reliability(classifier.attributes, source.attributes[known], torch.cat(logits))
    balanced = [row.balanced for row in rows if row.balanced is not None]
    return sum(balanced) / len(balanced) if balanced else None
