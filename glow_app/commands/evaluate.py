"""``glow-evaluate``: bits per dimension, and measurements that support them."""

import time
from collections.abc import Sequence

from rich.console import Console

from glow_app.commands.common import (
    on_training_images,
    open_any_model,
    open_split_of,
    output_folder,
    require_classes,
)
from glow_app.commands.evaluate_vae import evaluate_vae
from glow_app.commands.quality import measure_quality
from glow_app.commands.reports import evaluate as report
from glow_app.commands.reports import quality as quality_report
from glow_app.commands.reports.evaluation import Evaluation
from glow_app.config.commands import EvaluateConfig
from glow_app.data.sets.points import Points
from glow_app.data.source import ImageSource
from glow_app.errors import UserError
from glow_app.evaluation.codecs import CodecSizes, measure_codecs
from glow_app.evaluation.density import entropies
from glow_app.evaluation.invertibility import conditioning, reconstruct
from glow_app.evaluation.likelihood import Likelihood, batches, importance_bound, measure_likelihood
from glow_app.flows import CNF, VAE
from glow_app.flows.continuous.accuracy import Accuracy, accuracy
from glow_app.likelihood import dequantization_noise, dequantize
from glow_app.model import Model
from glow_app.runtime import distributed
from glow_app.runtime.console import counting
from glow_app.units import POINTS_UNIT, Bits

SOLVED_IMAGES, SOLVED_POINTS = 8, 1000
"""Images and points of which a continuous flow's densities are compared with those of another solver."""


def evaluate(config: EvaluateConfig, console: Console) -> None:
    """Evaluates a model, prints a table, and writes ``evaluation.json``, ``per_image.csv`` and perhaps ``worst.png``.

    Raises:
        UserError: the model, the data or the split is missing.
    """
    with distributed.process_group():
        if not distributed.is_rank_zero():
            console = Console(quiet=True)
        model = open_any_model(config, vae=True)
        if isinstance(model.flow, VAE):
            evaluate_vae(model, config, console)
            return
        _require_options_that_fit(model, config)
        source = open_split_of(model, config.data, config.split, console)
        folder = output_folder(config, model, "evaluate")
        indices = range(min(config.n_images or len(source), len(source)))
        quality = None
        if config.quality.measure:  # first: what is missing for it is told at once
            quality = measure_quality(model, source, indices, config, folder, console)
        reached = measure(model, source, indices, config, console)
        if distributed.is_rank_zero():
            report.table(reached, model, source, config, console)
            if quality is not None:
                quality_report.table(quality, source, console)
            report.write(reached, quality, model, source, config, folder)
            report.look_at(folder, config, console)


def _require_options_that_fit(model: Model, config: EvaluateConfig) -> None:
    if config.worst and model.n_bits is None:
        raise UserError(f"worst={config.worst} makes a picture of images, and the model is of points: leave it out")
    if config.quality.weights is not None and not config.quality.measure:
        raise UserError(f"quality.weights={config.quality.weights} is for quality=true: add it")
    if config.quality.measure and model.n_bits is None:
        raise UserError("quality=true compares images, and the model is of points: leave it out")


def measure(
    model: Model, source: ImageSource, indices: Sequence[int], config: EvaluateConfig, console: Console
) -> Evaluation:
    """Measures the likelihood on all of ``indices``, and the rest, which is slower, on the first of them."""
    checked = indices[: config.check_images or len(indices)]
    how = (model.n_bits, config.seed, config.batch_size)
    workers = config.data.workers
    with counting(console, f"bits/dim of {config.split}") as progress:
        start = time.perf_counter()
        likelihood = measure_likelihood(model.flow, source, indices, *how, workers, progress)
        images_per_second = len(indices) / (time.perf_counter() - start)
    bound = None
    if config.importance_samples > 1:
        with counting(console, "importance samples") as progress:
            bound = importance_bound(
                model.flow, source, indices, *how, config.importance_samples, workers, progress
            )  # fmt: skip
    with counting(console, "reconstructions") as progress:
        reconstruction = reconstruct(model.flow, source, checked, *how, workers, progress)
    drawn = None
    if model.n_bits is not None:
        with counting(console, "reconstructions, noise as drawn") as progress:
            drawn = reconstruct(model.flow, source, checked, *how, workers, progress, dequantization_noise)
    return Evaluation(
        likelihood,
        images_per_second,
        bound,
        on_training_images(model, config, console),
        reconstruction,
        drawn,
        conditioning(model.flow),
        None if isinstance(source, Points) else _codecs(source, indices, model.n_bits, config.seed, console),
        entropies(source, POINTS_UNIT.per_bit * likelihood.per_image) if isinstance(source, Points) else None,
        _accuracy(model, source, indices, config),
    )


def _accuracy(model: Model, source: ImageSource, indices: Sequence[int], config: EvaluateConfig) -> Accuracy | None:
    """Measures the solver of a continuous flow, on the first images; all ranks compute the same."""
    if not isinstance(model.flow, CNF):
        return None
    n = SOLVED_POINTS if isinstance(source, Points) else SOLVED_IMAGES
    batch = next(batches(model.flow, source, indices[:n], config.seed, n, config.data.workers))
    u = dequantization_noise(batch.images, config.seed, batch.positions)
    return accuracy(model.flow, dequantize(batch.images, u, model.n_bits), batch.labels)


def _codecs(
    source: ImageSource, indices: Sequence[int], n_bits: Bits, seed: int, console: Console
) -> CodecSizes | None:
    if not distributed.is_rank_zero():
        return None
    with counting(console, "lossless codecs") as progress:
        return measure_codecs(source, indices, n_bits, seed, progress)


def compare(config: EvaluateConfig, console: Console) -> None:
    """Evaluates two models on the same images with the same noise; prints and writes their paired difference.

    Raises:
        UserError: a model is missing, or the two differ in the shape or the number of bits of their images.
    """
    assert config.compare is not None
    if config.quality.measure:
        raise UserError("quality=true measures one model, and compare two: leave one of them out")
    with distributed.process_group():
        if not distributed.is_rank_zero():
            console = Console(quiet=True)
        models = [open_any_model(config, path) for path in config.compare]
        first, second = models
        if (first.image_shape, first.n_bits) != (second.image_shape, second.n_bits):
            raise UserError(
                f"compare={','.join(config.compare)}: one sees {first.image_shape} images of {first.n_bits} bits, the "
                f"other {second.image_shape} of {second.n_bits}: their bits/dim cannot be compared"
            )
        source = open_split_of(first, config.data, config.split, console)
        require_classes(second, source)
        folder = output_folder(config, first, "compare")
        indices = range(min(config.n_images or len(source), len(source)))
        how = (first.n_bits, config.seed, config.batch_size, config.data.workers)
        reached: list[Likelihood] = []
        for name, model in zip(config.compare, models, strict=True):
            with counting(console, name) as progress:
                reached.append(measure_likelihood(model.flow, source, indices, *how, progress))
        if distributed.is_rank_zero():
            report.comparison(reached, models, source, config, folder, console)
