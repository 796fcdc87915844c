"""The report of ``glow-evaluate``, printed and written."""

import csv
import dataclasses
import io
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from rich.console import Console
from rich.table import Table

from glow_app import figures
from glow_app.commands.common import metadata_of
from glow_app.commands.reports.quality import Quality
from glow_app.config.commands import EvaluateConfig
from glow_app.data.source import ImageSource
from glow_app.data.stream import InOrder
from glow_app.evaluation.codecs import CODECS, CodecSizes
from glow_app.evaluation.density import Entropies
from glow_app.evaluation.invertibility import Conditioning, Reconstruction
from glow_app.evaluation.likelihood import Likelihood, standard_error
from glow_app.flows import CNF
from glow_app.flows.continuous.accuracy import Accuracy
from glow_app.model import Model
from glow_app.runtime.atomic import write_text
from glow_app.runtime.console import say, show
from glow_app.units import Unit, unit_of

WORST_COLUMNS = 8
WORST, METADATA, PER_IMAGE = "worst.png", "evaluation.json", "per_image.csv"


@dataclass(frozen=True)
class Evaluation:
    """All measurements of one model on one split.

    Attributes:
        likelihood: likelihood from one draw of the noise per image.
        images_per_second: speed of computing it.
        bound: bound from several draws, if asked for.
        train: likelihood of training images, if asked for and available.
        reconstruction: reconstruction of the first images, with the noise of ``encode``.
        drawn: the same with the noise of the likelihood; None for points, which have none.
        convolutions: one entry per 1x1 convolution.
        codecs: sizes of losslessly encoded images; None for points.
        entropies: entropy of points by the true density and by the flow's; None for images.
        accuracy: errors of a continuous flow's solver; None for other flows.
    """

    likelihood: Likelihood
    images_per_second: float
    bound: Likelihood | None
    train: Likelihood | None
    reconstruction: Reconstruction
    drawn: Reconstruction | None
    convolutions: list[Conditioning]
    codecs: CodecSizes | None
    entropies: Entropies | None
    accuracy: Accuracy | None


def table(reached: Evaluation, model: Model, source: ImageSource, config: EvaluateConfig, console: Console) -> None:
    """Prints the report."""
    n, checked = len(reached.likelihood.per_image), len(reached.reconstruction.exact)
    metadata, unit = metadata_of(model, source, config), unit_of(model.n_bits)
    say(console, f"model      {metadata['model']} (step {model.card.step:,}, {model.card.weights} weights)")
    say(
        console,
        f"data       {source.name} {source.split}, {n:,} {unit.things}: {source.preprocessing}, "
        f"{unit.shape_of(source.image_shape, model.n_bits)}",
    )
    say(console, f"noise      one draw per image, seed {config.seed}; {config.precision}, {model.device}\n")
    low, high = reached.likelihood.interval
    interval = f"   (95%: {unit.figure(low)} to {unit.figure(high)})" if math.isfinite(low) else ""
    say(console, f"{unit.name:<10} {_figure(reached.likelihood, unit)}{interval}")
    lost = int((~torch.isfinite(reached.likelihood.per_image)).sum())
    if lost:
        say(console, f"           not finite for {lost:,} {unit.things}, see per_image.csv")
    if reached.bound is not None:
        of_draws = f"bound from {config.importance_samples} draws of the noise; compares only with other such bounds"
        say(console, f"           {_figure(reached.bound, unit)}   {of_draws}")
    if reached.train is not None:
        gap = reached.likelihood.mean - reached.train.mean
        error = math.hypot(reached.likelihood.standard_error, reached.train.standard_error)
        n_train = len(reached.train.per_image)
        figure = unit.with_error(gap, error, sign="+")
        say(console, f"gap        {figure}   {config.split} minus {n_train:,} training {unit.things}")
    if reached.codecs is not None:
        say(console, f"yardsticks {reached.codecs.sizes}   lossless codecs, {reached.codecs.which}")
    if reached.entropies is not None:
        say(console, f"yardstick  {reached.entropies.text()}")
    inverse = reached.reconstruction
    say(
        console,
        f"inverse    {inverse.exact.double().mean():.1%} of {checked:,} {unit.things} are reconstructed {unit.exactly}"
        f"; error at most {inverse.largest.max():.2g} and on average {inverse.mean.mean():.2g} {unit.error}",
    )
    if reached.drawn is not None:
        say(
            console,
            "           with noise that stays 1% of a bin away from its borders; with that of bits/dim, which does not,"
            f" {reached.drawn.exact.double().mean():.1%}",
        )
    if reached.convolutions:
        worst = max(reached.convolutions, key=lambda one: one.condition)
        off = max(one.round_trip for one in reached.convolutions)
        say(
            console,
            f"1x1 conv.  condition at most {worst.condition:.3g} ({worst.name}); |W^-1 W - I| at most {off:.1g}",
        )
    if reached.accuracy is not None:
        assert isinstance(model.flow, CNF)
        _report_accuracy(reached.accuracy, model.flow, unit, console)
    speed = reached.images_per_second
    say(console, f"speed      {speed:,.{0 if speed >= 10 else 2}f} {unit.things}/s\n")
    show(console, _decomposition(reached.likelihood))


def _report_accuracy(accuracy: Accuracy, flow: CNF, unit: Unit, console: Console) -> None:
    errors, n = accuracy.solver_errors / (flow.n_dims * math.log(2)), len(accuracy.solver_errors)
    say(
        console,
        f"solver     {flow.ode.solver}: {accuracy.n_evaluations} evaluations of the field; "
        f"{errors.abs().max().item() * unit.per_bit:.1g} {unit.name} at most from another, of {n:,} {unit.things}",
    )
    if flow.ode.trace == "hutchinson":
        deviation = accuracy.probe_deviation / (flow.n_dims * math.log(2))
        say(
            console,
            f"trace      Hutchinson's estimate, {flow.ode.n_probes} random vectors each: it scatters by "
            f"{deviation * unit.per_bit:.2g} {unit.name} an image, without bias; the errors above have it in them",
        )


def _figure(likelihood: Likelihood, unit: Unit) -> str:
    return unit.with_error(likelihood.mean, likelihood.standard_error)


def _decomposition(likelihood: Likelihood) -> Table:
    """Builds a table with kinds of layers in rows and levels in columns; all cells sum to the total."""
    levels = list(dict.fromkeys(name.rpartition(" ")[0] for name in likelihood.parts if " " in name))
    kinds = list(dict.fromkeys(name.rpartition(" ")[2] for name in likelihood.parts if " " in name))
    means = {name: values.mean().item() for name, values in likelihood.parts.items()}
    table = Table(box=None, pad_edge=False, header_style="bold", title="where the bits are", title_justify="left")
    table.add_column("")
    for column in [*levels, "sum"]:
        table.add_column(column, justify="right")
    table.add_row("quantization", *("" for _ in levels), f"{means['quantization']:+.4f}")
    for kind in kinds:
        row = [means.get(f"{level} {kind}") for level in levels]
        if any(row):  # a layer that never changes the volume would be a row of zeros
            texts = ["" if value is None else f"{value:+.4f}" for value in row]
            table.add_row(kind, *texts, f"{sum(value or 0.0 for value in row):+.4f}")
    sums = [sum(means.get(f"{level} {kind}", 0.0) for kind in kinds) for level in levels]
    table.add_row("sum", *(f"{value:+.4f}" for value in sums), f"{likelihood.mean:+.4f}", style="bold")
    return table


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
        "bits_per_dim": _summary(reached.likelihood),
        "unit": unit_of(model.n_bits).meaning,
        "parts": {name: values.mean().item() for name, values in reached.likelihood.parts.items()},
        "accuracy": None if reached.accuracy is None else _accuracy(reached.accuracy, model.flow.n_dims),
        "importance_samples": config.importance_samples,
        "importance_bound": None if reached.bound is None else _summary(reached.bound),
        "train": None if reached.train is None else _summary(reached.train),
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
        figures.save_png(_worst(reached.likelihood, source, config), folder / WORST)


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


def _summary(likelihood: Likelihood) -> dict[str, Any]:
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
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["index", "name", *(name.replace(" ", "_") for name in columns)])
    for index, values in enumerate(torch.stack(list(columns.values()), 1).tolist()):
        rows.writerow([index, source.item_name(index), *(f"{value:.6f}" for value in values)])
    return text.getvalue()


def _worst(likelihood: Likelihood, source: ImageSource, config: EvaluateConfig) -> Image.Image:
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
        say(console, f"{_figure(likelihood, unit)} {unit.name}   {name}")
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
        "bits_per_dim": [_summary(likelihood) for likelihood in reached],
        "difference": {"mean": mean, "standard_error": error, "interval_95": [low, high], "images": len(difference)},
    }
    write_json(content, folder / "compare.json")
    say(console, f"\nlook at\n  {folder / 'compare.json'}")
