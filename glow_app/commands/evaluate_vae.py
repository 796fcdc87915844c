"""``glow-evaluate`` on a VAE: its bound taken apart, an estimate of log p, reconstructions."""

import time
from collections.abc import Sequence

import torch
from rich.console import Console

from glow_app.commands.common import on_training_images, open_split_of, output_folder
from glow_app.commands.reports import evaluate_vae as report
from glow_app.commands.reports.evaluate_vae import VAEEvaluation
from glow_app.config.commands import EvaluateConfig
from glow_app.data.source import ImageSource
from glow_app.data.stream import InOrder
from glow_app.errors import UserError
from glow_app.evaluation.likelihood import measure_likelihood
from glow_app.evaluation.variational.elbo import importance_estimate, used_latents
from glow_app.flows import VAE
from glow_app.model import Model
from glow_app.runtime import distributed
from glow_app.runtime.console import counting

SHOWN = 16
"""Images whose reconstructions are shown."""


def evaluate_vae(model: Model, config: EvaluateConfig, console: Console) -> None:
    """Evaluates a VAE, prints a table, and writes ``evaluation.json``, ``per_image.csv`` and pictures.

    Raises:
        UserError: the data or the split is missing, or an option is for flows.
    """
    if config.quality.measure:
        raise UserError("quality=true is for flows, and the model is a VAE: leave it out")
    source = open_split_of(model, config.data, config.split, console)
    folder = output_folder(config, model, "evaluate")
    indices = range(min(config.n_images or len(source), len(source)))
    reached = measure(model, source, indices, config, console)
    if distributed.is_rank_zero():
        report.table(reached, model, source, config, console)
        report.write(reached, model, source, config, folder)
        report.look_at(folder, config, console)


def measure(
    model: Model, source: ImageSource, indices: Sequence[int], config: EvaluateConfig, console: Console
) -> VAEEvaluation:
    """Measures the bound on all of ``indices``, the estimate if asked for, and reconstructs the first images."""
    vae, n_bits, workers = model.flow, model.n_bits, config.data.workers
    assert isinstance(vae, VAE)
    assert n_bits is not None
    with counting(console, f"bound of {config.split}") as progress:
        start = time.perf_counter()
        of = (source, indices, n_bits, config.seed, config.batch_size)
        bound = measure_likelihood(vae, *of, workers, progress)
        images_per_second = len(indices) / (time.perf_counter() - start)
    estimate = None
    if config.importance_samples > 1:
        with counting(console, "importance samples") as progress:
            estimate = importance_estimate(vae, *of, config.importance_samples, workers, progress)
    images = InOrder(source, config.seed).__getitems__(list(indices[:SHOWN])).images
    with torch.no_grad():
        reconstructions = model.decode(model.encode(images)).cpu()
    train = on_training_images(model, config, console)
    used = used_latents(vae, *of, workers)
    return VAEEvaluation(bound, estimate, train, used, images_per_second, images, reconstructions)
