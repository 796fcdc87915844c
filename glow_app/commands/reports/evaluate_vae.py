"""The report of ``glow-evaluate`` on a VAE, printed and written."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

from glow_app import figures
from glow_app.commands.common import metadata_of
from glow_app.commands.reports.evaluate import (
    METADATA,
    PER_IMAGE,
    WORST,
    per_image_table,
    summary,
    worst_images,
    write_json,
)
from glow_app.config.commands import EvaluateConfig
from glow_app.data.source import ImageSource
from glow_app.evaluation.likelihood import Likelihood
from glow_app.flows import VAE
from glow_app.model import Model
from glow_app.runtime.atomic import write_text
from glow_app.runtime.console import say
from glow_app.units import PIXELS_UNIT, with_error

RECONSTRUCTIONS = "reconstructions.png"

NAMED = 8
"""Latents that are named."""


@dataclass(frozen=True)
class VAEEvaluation:
    """All measurements of a VAE on one split.

    Attributes:
        bound: the negative ELBO from one sample of the posterior per image, in bits per dimension, with its parts.
        estimate: importance-weighted estimate of -log p, if asked for.
        train: bound of training images, if asked for and available.
        used: numbers of the latents that are used, see :func:`glow_app.evaluation.variational.elbo.used_latents`.
        images_per_second: speed of computing the bound.
        images: uint8 (B, C, H, W), the first images, as the model saw them.
        reconstructions: uint8, their reconstructions.
    """

    bound: Likelihood
    estimate: Likelihood | None
    train: Likelihood | None
    used: list[int]
    images_per_second: float
    images: Tensor
    reconstructions: Tensor


def table(reached: VAEEvaluation, model: Model, source: ImageSource, config: EvaluateConfig, console: Console) -> None:
    """Prints the report."""
    assert isinstance(model.flow, VAE)
    nats = model.flow.n_dims * math.log(2)
    bound, n = reached.bound, len(reached.bound.per_image)
    say(console, f"model      {model.folder} (step {model.card.step:,}, {model.card.weights} weights)")
    say(
        console,
        f"data       {source.name} {source.split}, {n:,} images: {source.preprocessing}, "
        f"{PIXELS_UNIT.shape_of(source.image_shape, model.n_bits)}",
    )
    say(console, f"noise      one sample of the posterior per image, seed {config.seed}; {model.device}\n")
    say(console, f"bits/dim   {_figure(bound, 1, 4)}   a bound of -log p, not -log p itself")
    parts = ", ".join(f"{name} {values.mean().item() * nats:.2f}" for name, values in bound.parts.items())
    say(console, f"nats/image {_figure(bound, nats, 2)}   {parts.replace('quantization 0.00, ', '')}")
    if reached.estimate is not None:
        estimate, gap = reached.estimate, (bound.mean - reached.estimate.mean) * nats
        say(
            console,
            f"estimate   {_figure(estimate, nats, 2)} nats/image, {_figure(estimate, 1, 4)} bits/dim   from "
            f"{config.importance_samples:,} importance samples; the bound is {gap:.2f} nats above it",
        )
    if reached.train is not None:
        gap, error = bound.mean - reached.train.mean, math.hypot(bound.standard_error, reached.train.standard_error)
        of = f"{config.split} minus {len(reached.train.per_image):,} training images"
        say(console, f"gap        {with_error(gap, error, 4, '+')}   bound, {of}")
    most = ", ".join(map(str, reached.used[:NAMED])) or "none"
    say(console, f"latents    {len(reached.used)} of {model.flow.n_latents} are used; the most: {most}")
    say(console, f"speed      {reached.images_per_second:,.0f} images/s")


def _figure(likelihood: Likelihood, unit: float, digits: int) -> str:
    return with_error(likelihood.mean * unit, likelihood.standard_error * unit, digits)


def write(reached: VAEEvaluation, model: Model, source: ImageSource, config: EvaluateConfig, folder: Path) -> None:
    """Writes ``evaluation.json``, ``per_image.csv``, ``reconstructions.png`` and, if asked for, ``worst.png``."""
    content: dict[str, Any] = {
        **metadata_of(model, source, config),
        "images": len(reached.bound.per_image),
        "bits_per_dim": summary(reached.bound),
        "unit": "bits per dimension of discrete images: a bound of -log p",
        "parts": {name: values.mean().item() for name, values in reached.bound.parts.items()},
        "importance_samples": config.importance_samples,
        "importance_estimate": None if reached.estimate is None else summary(reached.estimate),
        "train": None if reached.train is None else summary(reached.train),
        "used_latents": reached.used,
        "images_per_second": reached.images_per_second,
    }
    write_json(content, folder / METADATA)
    write_text(folder / PER_IMAGE, _per_image(reached, source))
    pairs = torch.cat([reached.images, reached.reconstructions])
    labels = ["images", "means of p(x | z)"]
    figures.save_png(figures.grid(pairs, len(reached.images), row_labels=labels), folder / RECONSTRUCTIONS)
    if config.worst:
        figures.save_png(worst_images(reached.bound, source, config), folder / WORST)


def _per_image(reached: VAEEvaluation, source: ImageSource) -> str:
    columns = {"bits_per_dim": reached.bound.per_image, **reached.bound.parts}
    if reached.estimate is not None:
        columns["importance_estimate"] = reached.estimate.per_image
    return per_image_table(columns, source)


def look_at(folder: Path, config: EvaluateConfig, console: Console) -> None:
    """Prints the paths of the files."""
    say(console, "\nlook at")
    for name in (METADATA, PER_IMAGE, RECONSTRUCTIONS, *([WORST] if config.worst else [])):
        say(console, f"  {folder / name}")
