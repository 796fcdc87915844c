"""The report of ``glow-evaluate``, printed and written."""

import csv
import dataclasses
import io
import json
import math
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from rich.console import Console

from glow_app import figures
from glow_app.commands.common import metadata_of
from glow_app.commands.reports.evaluation import (
    Evaluation,
    conditioning_facts,
    decomposition,
    figure,
    inverse_facts,
    likelihood_facts,
)
from glow_app.commands.reports.quality import Quality
from glow_app.config.commands import EvaluateConfig
from glow_app.data.source import ImageSource
from glow_app.data.stream import InOrder
from glow_app.evaluation.codecs import CODECS
from glow_app.evaluation.likelihood import Likelihood, standard_error
from glow_app.flows.continuous.accuracy import Accuracy
from glow_app.model import Model
from glow_app.runtime.atomic import write_text
from glow_app.runtime.console import say, show
from glow_app.units import unit_of

WORST_COLUMNS = 8
WORST, METADATA, PER_IMAGE = "worst.png", "evaluation.json", "per_image.csv"


def table(reached: Evaluation, model: Model, source: ImageSource, config: EvaluateConfig, console: Console) -> None:
    """Prints the report."""
    n = len(reached.likelihood.per_image)
    metadata, unit = metadata_of(model, source, config), unit_of(model.n_bits)
    say(console, f"model      {metadata['model']} (step {model.card.step:,}, {model.card.weights} weights)")
    say(
        console,
        f"data       {source.name} {source.split}, {n:,} {unit.things}: {source.preprocessing}, "
        f"{unit.shape_of(source.image_shape, model.n_bits)}",
    )
    say(console, f"noise      one draw per image, seed {config.seed}; {config.precision}, {model.device}\n")
    facts = [
        *likelihood_facts(reached, unit, config),
        *inverse_facts(reached, unit),
        *conditioning_facts(reached, model, unit),
    ]
    for name, text in facts:
        say(console, f"{name:<10} {text}")
    speed = reached.images_per_second
    say(console, f"speed      {speed:,.{0 if speed >= 10 else 2}f} {unit.things}/s\n")
    show(console, decomposition(reached.likelihood))


def write(
    reached: Evaluation,
    quality: Quality | None,
    model: Model,
    source: ImageSource,
    config: EvaluateConfig,
    folder: Path,
) -> None:
    """Writes ``evaluation.json``, ``per_image.csv`` and, if asked for, ``worst.png``."""
    reconstruction = reached.reconstruction
    content: dict[str, Any] = {
        **metadata_of(model, source, config),
        "images": len(reached.likelihood.per_image),
        "bits_per_dim": summary(reached.likelihood),
        "unit": unit_of(model.n_bits).meaning,
        "parts": {name: values.mean().item() for name, values in reached.likelihood.parts.items()},
        "accuracy": None if reached.accuracy is None else _accuracy(reached.accuracy, model.flow.n_dims),
        "importance_samples": config.importance_samples,
        "importance_bound": None if reached.bound is None else summary(reached.bound),
        "train": None if reached.train is None else summary(reached.train),
        "codecs": {} if reached.codecs is None else reached.codecs.bits_per_dim,
        "codec_images": 0 if reached.codecs is None else reached.codecs.images,
        "codec_settings": {} if reached.codecs is None else CODECS,
        "entropies": None if reached.entropies is None else dataclasses.asdict(reached.entropies),
        "reconstruction": {
            "images": len(reconstruction.exact),
            "exact": reconstruction.exact.double().mean().item(),
            "exact_noise_as_drawn": None if reached.drawn is None else reached.drawn.exact.double().mean().item(),
            "largest_error": reconstruction.largest.max().item(),
            "mean_error": reconstruction.mean.mean().item(),
            "unit": unit_of(model.n_bits).error,
        },
        "convolutions": {
            one.name: {"condition": one.condition, "round_trip": one.round_trip} for one in reached.convolutions
        },
        "images_per_second": reached.images_per_second,
        "quality": None if quality is None else quality.content(),
    }
    write_json(content, folder / METADATA)
    write_text(folder / PER_IMAGE, _per_image(reached, source))
    if config.worst:
        figures.save_png(worst_images(reached.likelihood, source, config), folder / WORST)


def write_json(content: dict[str, Any], path: Path) -> None:
    """Writes a JSON file, with null for numbers that are not finite."""
    text = json.dumps(_finite(content), indent=1, allow_nan=False)
    write_text(path, text)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def summary(likelihood: Likelihood) -> dict[str, Any]:
    """The mean of a likelihood with its error, JSON-ready."""
    return {
        "mean": likelihood.mean,
        "standard_error": likelihood.standard_error,
        "interval_95": likelihood.interval,
        "images": len(likelihood.per_image),
    }


def _accuracy(accuracy: Accuracy, n_dims: int) -> dict[str, Any]:
    errors = accuracy.solver_errors / (n_dims * math.log(2))
    return {
        "evaluations": accuracy.n_evaluations,
        "images": len(errors),
        "largest_error": errors.abs().max().item(),
        "mean_error": errors.mean().item(),
        "probe_deviation": accuracy.probe_deviation / (n_dims * math.log(2)),
    }


def _per_image(reached: Evaluation, source: ImageSource) -> str:
    columns = {"bits_per_dim": reached.likelihood.per_image, **reached.likelihood.parts}
    if reached.bound is not None:
        columns["importance_bound"] = reached.bound.per_image
    return per_image_table({name.replace(" ", "_"): values for name, values in columns.items()}, source)


def per_image_table(columns: dict[str, torch.Tensor], source: ImageSource) -> str:
    """Formats columns of figures, (N,) each, as CSV with a row for each image, its number and its name."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["index", "name", *columns])
    for index, values in enumerate(torch.stack(list(columns.values()), 1).tolist()):
        rows.writerow([index, source.item_name(index), *(f"{value:.6f}" for value in values)])
    return text.getvalue()


def worst_images(likelihood: Likelihood, source: ImageSource, config: EvaluateConfig) -> Image.Image:
    """Draws the images with the most bits."""
    bits = likelihood.per_image
    indices = bits.argsort(descending=True)[: config.worst].tolist()
    images = InOrder(source, config.seed).__getitems__(indices).images
    rows: list[Image.Image] = []
    for start in range(0, len(indices), WORST_COLUMNS):
        labels = [f"#{index}: {bits[index]:.2f}" for index in indices[start : start + WORST_COLUMNS]]
        rows.append(figures.grid(images[start : start + WORST_COLUMNS], WORST_COLUMNS, column_labels=labels))
    return figures.stacked(rows)


def look_at(folder: Path, config: EvaluateConfig, console: Console) -> None:
    """Prints the paths of the files."""
    say(console, "\nlook at")
    for name in (METADATA, PER_IMAGE, *([WORST] if config.worst else [])):
        say(console, f"  {folder / name}")


def comparison(
    reached: list[Likelihood],
    models: list[Model],
    source: ImageSource,
    config: EvaluateConfig,
    folder: Path,
    console: Console,
) -> None:
    """Prints and writes the paired difference of two models."""
    assert config.compare is not None
    first, second = reached
    difference, unit = second.per_image - first.per_image, unit_of(models[0].n_bits)
    mean, error = difference.mean().item(), standard_error(difference)
    for name, likelihood in zip(config.compare, reached, strict=True):
        say(console, f"{figure(likelihood, unit)} {unit.name}   {name}")
    low, high = mean - 1.96 * error, mean + 1.96 * error
    least, most = (unit.figure(value, sign="+") for value in (low, high))
    interval = f" (95%: {least} to {most})" if math.isfinite(low) else ""
    say(console, f"{unit.with_error(mean, error, sign='+')}   second minus first, paired{interval}")
    better = "the first is better" if mean > 0 else "the second is better"
    verdict = "no significant difference" if low <= 0 <= high else better
    if not math.isfinite(low):
        verdict = "nothing can be said: too few images, or some whose likelihood is not finite"
    say(
        console,
        f"{verdict}: {len(difference):,} {unit.things} of {source.name} {source.split}, the same noise for both",
    )
    content = {
        "models": [metadata_of(model, source, config) for model in models],
        "bits_per_dim": [summary(likelihood) for likelihood in reached],
        "difference": {"mean": mean, "standard_error": error, "interval_95": [low, high], "images": len(difference)},
    }
    write_json(content, folder / "compare.json")
    say(console, f"\nlook at\n  {folder / 'compare.json'}")
