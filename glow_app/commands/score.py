"""``glow-score``: scores of images, a table sorted by one of them, and how well they tell two sets apart."""

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

from glow_app.commands.common import class_number, open_any_model, open_model, output_folder, thresholds_folder
from glow_app.commands.reports import score as report
from glow_app.commands.sample_metadata import written_alone
from glow_app.commands.score_data import mean_of_training, open_images, open_other
from glow_app.commands.score_files import Rows
from glow_app.config.check import check_choice
from glow_app.config.commands import ScoreConfig
from glow_app.data.source import ImageSource, fingerprint_digest
from glow_app.data.stream import evenly_spaced
from glow_app.errors import UserError
from glow_app.likelihood import seen
from glow_app.model import Model
from glow_app.runtime import distributed
from glow_app.runtime.console import counting, say
from glow_app.scores import measure, thresholds
from glow_app.scores.duplicates import small_pixels
from glow_app.scores.measure import NO_SCORES, Scorer
from glow_app.scores.thresholds import Calibration, threshold
from glow_app.units import Bits

CENTRED = 256
"""Images whose mean signatures of pixels are measured from."""


def score(config: ScoreConfig, console: Console) -> None:
    """Scores images, prints a table, and writes ``scores.csv``, ``scores.json`` and pictures.

    Raises:
        UserError: the model, the images or the thresholds are missing, or options do not go together.
    """
    with distributed.process_group():
        if not distributed.is_rank_zero():
            console = Console(quiet=True)
        model = open_model(config)
        others = [open_other(text, model, config, console) for text in config.against or []]  # may not fit: first
        source = open_images(model, config, console)
        saved = thresholds.load(thresholds_folder(model), model.digest) if config.verdict else None
        scorer = _scorer(model, config)
        _require(config, replace(scorer, mean=0.0), saved)  # before the training images are measured
        mean = (saved.mean, saved.mean_of) if saved else mean_of_training(model, config, console)
        if mean is None:
            _require_no_mean(config)
        else:
            scorer = replace(scorer, mean=mean[0])
        if config.clean:
            scorer = replace(scorer, centre=_centre(source, _n(config, source), model.n_bits))
        folder = output_folder(config, model, "score")
        if not distributed.is_rank_zero():
            for one in [source, *others]:
                _compute(None, scorer, one, config, model, console)
            return
        with written_alone(folder / "scores.csv", "glow-score"):
            _score(config, model, source, others, scorer, saved, mean, folder, console)


def _score(
    config: ScoreConfig,
    model: Model,
    source: ImageSource,
    others: list[ImageSource],
    scorer: Scorer,
    saved: Calibration | None,
    mean: tuple[float, str] | None,
    folder: Path,
    console: Console,
) -> None:
    """Computes all rows, and makes of them what was asked for; rank 0."""
    tables = [
        Rows(
            folder / (f"scores_{number}.rows" if number else "scores.rows"),
            scorer.names,
            _facts(config, model, scorer, one),
        )
        for number, one in enumerate([source, *others])
    ]
    for rows, one in zip(tables, [source, *others], strict=True):
        _compute(rows, scorer, one, config, model, console)
    if config.calibrate:
        assert mean is not None
        saved = _calibrate(tables[0], config, model, source, scorer, mean, console)
    report.write(tables, [source, *others], model, config, saved, mean, folder, console)
    for rows in tables:
        rows.delete()


def _scorer(model: Model, config: ScoreConfig) -> Scorer:
    background = None
    if config.background is not None:
        second = open_any_model(config, config.background)
        if (second.image_shape, second.n_bits) != (model.image_shape, model.n_bits):
            raise UserError(
                f"background={config.background} is a model of {second.image_shape} images of {second.n_bits} bits, "
                f"and the first of {model.image_shape} of {model.n_bits}: their bits/dim cannot be subtracted"
            )
        if second.flow.n_classes not in (0, model.flow.n_classes):
            raise UserError(f"background={config.background} has other classes than the first model")
        background = second.flow
    return Scorer(model.flow, model.n_bits, config.seed, config.draws, tuple(config.codecs), None, background)


def _require(config: ScoreConfig, scorer: Scorer, saved: Calibration | None) -> None:
    """Raises a UserError for options that are each in range, but not together."""
    check_choice("by", config.by, tuple(name for name in scorer.names if name not in NO_SCORES))
    if config.calibrate and config.verdict:
        raise UserError("calibrate=true makes the thresholds that verdict=true uses: calibrate first, on other images")
    if config.verdict:
        if saved is None:
            raise UserError(
                "verdict=true needs thresholds: make them with glow-score split=val calibrate=true fpr=0.05"
            )
        different = [key for key, value in _options(config).items() if saved.options.get(key) != value]
        if different or config.by not in saved.thresholds:
            key = different[0] if different else "by"
            raise UserError(
                f"verdict=true: the saved thresholds are of {key}={saved.options.get(key, list(saved.thresholds))}: "
                "take the same, or calibrate again"
            )


def _require_no_mean(config: ScoreConfig) -> None:
    """Raises a UserError for options that need the mean of training images, which is not known."""
    if config.calibrate or config.by == "typicality":
        option = "calibrate=true" if config.calibrate else "by=typicality"
        raise UserError(f"{option} needs the training images, or a model whose card has bits/dim of its images")


def _centre(source: ImageSource, n: int, n_bits: Bits) -> Tensor:
    """The mean of the small pixels of some images, evenly spaced; of those that can be read."""
    total, read = torch.zeros(()), 0
    for index in evenly_spaced(range(n), CENTRED):
        with suppress(UserError):
            total, read = total + small_pixels(seen(source[index][None], n_bits))[0], read + 1
    return total / max(read, 1)


def _options(config: ScoreConfig) -> dict[str, Any]:
    """The options that change the scores of an image."""
    return {"draws": config.draws, "precision": config.precision, "solver": config.solver}


def _facts(config: ScoreConfig, model: Model, scorer: Scorer, source: ImageSource) -> dict[str, Any]:
    """Returns the values that identify rows of scores, JSON-ready."""
    return {
        **_options(config),
        "model": model.digest,
        "images": fingerprint_digest(source),
        "n_images": _n(config, source),
        "batch_size": config.batch_size,
        "seed": config.seed,
        "label": config.label,
        "background": None if config.background is None else open_any_model(config, config.background).digest,
        "mean": scorer.mean,
        "columns": list(scorer.names),
        "device": str(model.device.type),
    }


def _n(config: ScoreConfig, source: ImageSource) -> int:
    return min(config.n_images or len(source), len(source))


def _compute(
    rows: Rows | None, scorer: Scorer, source: ImageSource, config: ScoreConfig, model: Model, console: Console
) -> None:
    """Computes the rows that are not there yet: on all ranks, of which rank 0 has the file."""
    n, label = _n(config, source), None
    if config.label is not None and source.classes is None:
        label = class_number(model.card, config.label)
    if rows is not None:
        if rows.n < n:
            rows.truncate(rows.n // config.batch_size * config.batch_size)
        if rows.n:
            say(console, f"{rows.n:,} of {n:,} images of {source.name} are scored already")
    first = distributed.broadcast(None if rows is None else -(-rows.n // config.batch_size))
    with counting(console, f"scores of {source.name} {source.split}") as progress:
        try:
            for some in measure.score(scorer, source, n, config.batch_size, first, config.data.workers, label):
                if rows is not None:
                    rows.add(some)
                    progress(rows.n, n)
        except KeyboardInterrupt:
            if rows is not None:
                say(console, f"interrupted after {rows.n:,} of {n:,} images; the same command resumes from there")
            raise
        finally:
            if rows is not None:
                rows.close()


def _calibrate(
    rows: Rows,
    config: ScoreConfig,
    model: Model,
    source: ImageSource,
    scorer: Scorer,
    mean: tuple[float, str],
    console: Console,
) -> Calibration:
    """Saves thresholds of all scores with the model."""
    columns = {name: rows.column(name) for name in scorer.names if name not in NO_SCORES}
    found = {name: threshold(values[~values.isnan()], config.fpr) for name, values in columns.items()}
    calibration = Calibration(
        model.digest, *mean, config.fpr, found, rows.n, f"{source.name} {source.split}", _options(config)
    )
    path = thresholds.save(calibration, thresholds_folder(model))
    say(console, f"thresholds that {config.fpr:.1%} of such images exceed, from {rows.n:,}: {path}")
    return calibration
