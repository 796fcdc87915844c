"""The measurements of ``glow-evaluate`` in words and as a table, for the terminal and for the page of a run."""

import math
from dataclasses import dataclass

import torch
from rich.table import Table

from glow_app.config.commands import EvaluateConfig
from glow_app.evaluation.codecs import CodecSizes
from glow_app.evaluation.density import Entropies
from glow_app.evaluation.invertibility import Conditioning, Reconstruction
from glow_app.evaluation.likelihood import Likelihood
from glow_app.flows import CNF
from glow_app.flows.continuous.accuracy import Accuracy
from glow_app.model import Model
from glow_app.units import Unit

Facts = list[tuple[str, str]]
"""Names, each with what there is to say; what has an empty name belongs to the one before."""


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


def likelihood_facts(reached: Evaluation, unit: Unit, config: EvaluateConfig) -> Facts:
    """Bits per dimension, their error and interval, a tighter bound, the train-test gap, and yardsticks."""
    low, high = reached.likelihood.interval
    interval = f"   (95%: {unit.figure(low)} to {unit.figure(high)})" if math.isfinite(low) else ""
    facts = [(unit.name, f"{figure(reached.likelihood, unit)}{interval}")]
    lost = int((~torch.isfinite(reached.likelihood.per_image)).sum())
    if lost:
        facts.append(("", f"not finite for {lost:,} {unit.things}, see per_image.csv"))
    if reached.bound is not None:
        of_draws = f"bound from {config.importance_samples} draws of the noise; compares only with other such bounds"
        facts.append(("", f"{figure(reached.bound, unit)}   {of_draws}"))
    if reached.train is not None:
        gap = reached.likelihood.mean - reached.train.mean
        error = math.hypot(reached.likelihood.standard_error, reached.train.standard_error)
        n_train = len(reached.train.per_image)
        of = f"{config.split} minus {n_train:,} training {unit.things}"
        facts.append(("gap", f"{unit.with_error(gap, error, sign='+')}   {of}"))
    if reached.codecs is not None:
        facts.append(("yardsticks", f"{reached.codecs.sizes}   lossless codecs, {reached.codecs.which}"))
    if reached.entropies is not None:
        facts.append(("yardstick", reached.entropies.text()))
    return facts


def inverse_facts(reached: Evaluation, unit: Unit) -> Facts:
    """The share of images that are reconstructed exactly, and the errors."""
    inverse = reached.reconstruction
    facts = [
        (
            "inverse",
            f"{inverse.exact.double().mean():.1%} of {len(inverse.exact):,} {unit.things} are reconstructed "
            f"{unit.exactly}; error at most {inverse.largest.max():.2g} and on average {inverse.mean.mean():.2g} "
            f"{unit.error}",
        )
    ]
    if reached.drawn is not None:
        stays = "with noise that stays 1% of a bin away from its borders; with that of bits/dim, which does not"
        facts.append(("", f"{stays}, {reached.drawn.exact.double().mean():.1%}"))
    return facts


def conditioning_facts(reached: Evaluation, model: Model, unit: Unit) -> Facts:
    """The 1x1 convolutions that are worst to invert, and the errors of a continuous flow's solver."""
    facts: Facts = []
    if reached.convolutions:
        worst = max(reached.convolutions, key=lambda one: one.condition)
        off = max(one.round_trip for one in reached.convolutions)
        text = f"condition at most {worst.condition:.3g} ({worst.name}); |W^-1 W - I| at most {off:.1g}"
        facts.append(("1x1 conv.", text))
    if reached.accuracy is not None:
        assert isinstance(model.flow, CNF)
        facts += _accuracy_facts(reached.accuracy, model.flow, unit)
    return facts


def _accuracy_facts(accuracy: Accuracy, flow: CNF, unit: Unit) -> Facts:
    errors, n = accuracy.solver_errors / (flow.n_dims * math.log(2)), len(accuracy.solver_errors)
    off = errors.abs().max().item() * unit.per_bit
    field = f"{flow.ode.solver}: {accuracy.n_evaluations} evaluations of the field"
    facts = [("solver", f"{field}; {off:.1g} {unit.name} at most from another, of {n:,} {unit.things}")]
    if flow.ode.trace == "hutchinson":
        deviation = accuracy.probe_deviation / (flow.n_dims * math.log(2))
        estimate = f"Hutchinson's estimate, {flow.ode.n_probes} random vectors each: it scatters by "
        scatter = f"{deviation * unit.per_bit:.2g} {unit.name} an image, without bias; the errors above have it in them"
        facts.append(("trace", estimate + scatter))
    return facts


def figure(likelihood: Likelihood, unit: Unit) -> str:
    """The mean and its error in a unit, as text without its name."""
    return unit.with_error(likelihood.mean, likelihood.standard_error)


def decomposition(likelihood: Likelihood) -> Table:
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
