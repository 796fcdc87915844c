"""``glow-sample``: new images from a trained model, as one picture, PNG files or an npz."""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich.console import Console
from torch import Tensor

from glow_app import figures
from glow_app.commands.common import class_number, open_model, output_folder
from glow_app.commands.reports.neighbours import show_neighbours
from glow_app.commands.sample_files import NpzFile, PngFolder, SampleFiles
from glow_app.commands.sample_metadata import Metadata, State, written_alone
from glow_app.commands.walk import walk
from glow_app.config.commands import SampleConfig
from glow_app.errors import UserError
from glow_app.flows import CNF, Flow
from glow_app.latents.sampling import Sampler
from glow_app.model import Model
from glow_app.runtime import distributed
from glow_app.runtime.console import counting, say

MOST_IN_GRID = 256
MOST_IN_ROW = 12
"""Images in each row of a picture that compares temperatures."""
MOST_ROWS = 24
"""Temperatures compared in one picture."""
MOST_WITH_NEIGHBOURS = 64
NUMBERS_SHOWN = 10
"""Non-finite images named in the message; all are in the metadata."""


class Temperature(NamedTuple):
    """The temperature of one row of samples.

    Attributes:
        text: text for display, such as ``0.70`` or ``1.00-0.70-0.50``.
        value: one for all levels, or one for each, finest first.
    """

    text: str
    value: float | tuple[float, ...]


def sample(config: SampleConfig, console: Console) -> None:
    """Draws samples and writes them in the requested format.

    Raises:
        UserError: options do not go together, the model has no such class or another number of levels, the files hold
            other samples, another process writes them, or no image is finite.
    """
    _check_together(config)
    with distributed.process_group():
        _sample(config, console if distributed.is_rank_zero() else Console(quiet=True))


def _sample(config: SampleConfig, console: Console) -> None:
    """Draws on all ranks; rank 0 writes."""
    model = open_model(config, vae=True)
    if config.walk is not None:
        distributed.require_one("glow-sample walk=")
        say(console, f"\nlook at\n  {walk(config, model, console)}")
        return
    temperatures = _temperatures(config, model)
    label = None if config.label is None else class_number(model.card, config.label)
    folder = output_folder(config, model, "sample")
    samplers = {t: Sampler(model.flow, model.n_bits, t.value, config.seed, label) for t in temperatures}
    _introduce(config, model, temperatures, console)
    if not distributed.is_rank_zero():
        _draw_share(config, samplers)
        return
    if config.format == "grid":
        with written_alone(_grid_path(samplers, folder)):
            made = _draw_grid(config, model, samplers, folder, console)
    else:
        made = _draw_files(config, model, samplers, folder, console)
    say(console, "\nlook at")
    for path in made:
        say(console, f"  {path}")


def _draw_share(config: SampleConfig, samplers: dict[Temperature, Sampler]) -> None:
    """Draws this rank's share of the images whose numbers rank 0 broadcasts; for all other ranks."""
    for sampler in samplers.values():
        numbers: Sequence[int] = distributed.broadcast(None)
        for _ in sampler.batches(numbers, config.batch_size):
            pass


def _check_together(config: SampleConfig) -> None:
    """Raises a UserError for options that are each in range, but not together."""
    several = config.level_temperatures is None and len(config.temperature) > 1
    if config.level_temperatures is None and not config.temperature:
        raise UserError("temperature has no value: give one or several, such as temperature=0.7")
    if len({f"{t:.2f}" for t in config.temperature}) < len(config.temperature):
        raise UserError(f"temperature={config.temperature}: two are the same to two digits; leave one out")
    if config.format == "grid" and several and len(config.temperature) > MOST_ROWS:
        raise UserError(f"temperature has {len(config.temperature)} values: a picture shows up to {MOST_ROWS}")
    if config.format == "grid" and not several and config.n > MOST_IN_GRID:
        raise UserError(f"n={config.n}: one picture shows up to {MOST_IN_GRID} images; choose format=png or format=npz")
    if config.neighbours and (config.format != "grid" or several or config.n > MOST_WITH_NEIGHBOURS):
        raise UserError(f"neighbours=true takes format=grid, one temperature and n of at most {MOST_WITH_NEIGHBOURS}")


def _temperatures(config: SampleConfig, model: Model) -> list[Temperature]:
    levels, n = config.level_temperatures, len(model.flow.latent_shapes)
    if levels is None:
        return [Temperature(f"{t:.2f}", t) for t in config.temperature]
    if len(levels) != n:
        raise UserError(
            f"level_temperatures={levels}: this model has {n} levels and needs as many values, the finest level first"
        )
    return [Temperature("-".join(f"{t:.2f}" for t in levels), tuple(levels))]


def _introduce(config: SampleConfig, model: Model, temperatures: Sequence[Temperature], console: Console) -> None:
    say(console, f"{model.folder}: step {model.card.step:,}, weights {model.card.weights}")
    at = ", ".join(t.text for t in temperatures)
    what = "level temperatures, finest first:" if config.level_temperatures is not None else "temperature"
    classes = ""
    if model.flow.n_classes:
        classes = f", class {config.label}" if config.label is not None else ", all classes in turn"
    each = " each" if len(temperatures) > 1 else ""
    say(console, f"{config.n:,} images{each}, {what} {at}, seed {config.seed}{classes}")


def _name(samplers: dict[Temperature, Sampler]) -> str:
    """Returns the part of a file name that identifies samples of one model: temperatures, seed, class."""
    one = next(iter(samplers.values()))
    label = "" if one.label is None else f"_class{one.label}"
    return "_".join(f"T{t.text}" for t in samplers) + f"_seed{one.seed}{label}"


def _facts(config: SampleConfig, model: Model, samplers: dict[Temperature, Sampler]) -> dict[str, Any]:
    per_level = config.level_temperatures is not None
    return {
        "model": model.digest,
        "model_folder": str(model.folder),
        "n": config.n,
        "first": config.first,
        "seed": config.seed,
        "temperature": None if per_level else [t.value for t in samplers],
        "level_temperatures": config.level_temperatures,
        "label": next(iter(samplers.values())).label,
        "format": config.format,
        "precision": config.precision,
        "image_shape": list(model.image_shape),
        "n_bits": model.n_bits,
        # Samples by another solver are others.
        **({"solver": model.flow.ode.settings()} if isinstance(model.flow, CNF) else {}),
    }


def _draw_files(
    config: SampleConfig, model: Model, samplers: dict[Temperature, Sampler], folder: Path, console: Console
) -> list[Path]:
    """Writes PNG files or an npz for each temperature; returns the paths."""
    # All files are checked before anything is drawn: those of the last temperature may hold samples of another model.
    jobs: list[tuple[Sampler, SampleFiles]] = []
    with ExitStack() as locks:
        for temperature, sampler in samplers.items():
            one = {temperature: sampler}
            facts = _facts(config, model, one)
            # Not with_suffix(), which would replace the decimals of a temperature.
            path = folder / (_name(one) + (".npz" if config.format == "npz" else ""))
            locks.enter_context(written_alone(path))
            files = PngFolder(path, facts) if config.format == "png" else NpzFile(path, facts, sampler.labels)
            jobs.append((sampler, files))
        for sampler, files in jobs:
            _draw_into(files, sampler, config, console)
            _report_not_finite(files.metadata.state.not_finite, config.n, "left out", files.metadata, model, console)
    return [files.path for _, files in jobs]


def _draw_into(files: SampleFiles, sampler: Sampler, config: SampleConfig, console: Console) -> None:
    todo = distributed.broadcast(files.todo())
    before = config.n - len(todo)
    if before:
        say(console, f"{before:,} of {config.n:,} images of {files.path} are there already")
    start, done = time.monotonic(), 0
    try:
        with counting(console, "sampling") as progress:
            for batch in sampler.batches(todo, config.batch_size):
                files.add(batch)
                done += len(batch.numbers)
                progress(before + done, config.n)
        files.finish()
    except KeyboardInterrupt:
        drawn = files.metadata.state.drawn
        say(console, f"interrupted after {drawn:,} of {config.n:,} images; the same command resumes from there")
        raise
    finally:
        if todo and done < len(todo):
            files.flush()
    _report_speed(done, time.monotonic() - start, sampler.flow, console)


def _report_speed(n: int, seconds: float, flow: Flow, console: Console) -> None:
    if n:
        say(console, f"{n:,} images in {seconds:.1f} s: {n / seconds:,.0f} images/s")
    if n and (steps := flow.steps_of_search):
        say(console, f"the last batch took {min(steps)} to {max(steps)} steps of search in each of {len(steps)} layers")
    if n and isinstance(flow, CNF):
        say(console, f"solver {flow.ode.solver}: {flow.ode.n_evaluations} evaluations of the field for the last images")


def _report_not_finite(
    names: Sequence[object], n: int, what_was_done: str, metadata: Metadata, model: Model, console: Console
) -> None:
    """Reports which images are not finite, and a remedy.

    Raises:
        UserError: none of ``n`` images is finite.
    """
    if not names:
        return
    remedy = "choose a lower temperature"
    if getattr(model.card.model, "scale", None) == "sigmoid":
        remedy += ", or train with model.scale=bounded"
    if len(names) == n:
        raise UserError(f"none of {n:,} images is finite: {remedy}")
    named = ", ".join(map(str, names[:NUMBERS_SHOWN]))
    if len(names) > NUMBERS_SHOWN:
        named += f" and {len(names) - NUMBERS_SHOWN:,} more (all in {metadata.path})"
    say(console, f"not finite and {what_was_done}: {len(names):,} of {n:,} images, number {named}; {remedy}")


def _grid_path(samplers: dict[Temperature, Sampler], folder: Path) -> Path:
    return folder / f"{_name(samplers)}.png"


def _draw_grid(
    config: SampleConfig, model: Model, samplers: dict[Temperature, Sampler], folder: Path, console: Console
) -> list[Path]:
    """Draws one picture of all temperatures and, if asked for, one of neighbours; returns the paths.

    They take a second to draw, so pictures of another model or other options are overwritten.
    """
    several = len(samplers) > 1
    n = min(config.n, MOST_IN_ROW) if several else config.n
    if n < config.n:
        all_of_them = f"format=png draws all {config.n:,}"
        say(console, f"a picture of several temperatures shows the first {n} of each; {all_of_them}")
    path, beside = _grid_path(samplers, folder), folder / f"{_name(samplers)}_neighbours.png"
    # The picture may show other images of the same samples than last time.
    free = ("n", "first", "model_folder")
    facts = _facts(config, model, samplers) | {"n": n}
    metadata = Metadata(path.with_name(f"{path.name}.json"), facts, path, free, replace=True)
    numbers = range(config.first, config.first + n)
    start = time.monotonic()
    rows: list[Tensor] = []
    finite: list[Tensor] = []
    with counting(console, "sampling") as progress:
        for sampler in samplers.values():
            for batch in sampler.batches(distributed.broadcast(numbers), config.batch_size):
                rows.append(batch.images)
                finite.append(batch.finite)
                progress(sum(map(len, rows)), n * len(samplers))
    images, good = torch.cat(rows), torch.cat(finite)
    _report_speed(len(images), time.monotonic() - start, model.flow, console)
    images[~good] = figures.crossed_out(model.image_shape)
    bad = (~good.view(len(samplers), n)).nonzero().tolist()
    temperatures = list(samplers)
    names = [
        f"{config.first + i} (T = {temperatures[row].text})" if several else str(config.first + i) for row, i in bad
    ]
    _report_not_finite(names, len(images), "crossed out", metadata, model, console)
    metadata.state = State(n, tuple(sorted({config.first + i for _, i in bad})))
    if metadata.of_others:
        # Deleted before the new metadata, which is not theirs, is written; the neighbours may not be redrawn.
        path.unlink(missing_ok=True)
        beside.unlink(missing_ok=True)
    metadata.write()
    row_labels = [f"T = {t.text}" for t in samplers] if several else []
    figures.save_png(figures.grid(images, n if several else min(n, 8 if n <= 64 else 16), row_labels=row_labels), path)
    if not config.neighbours:
        return [path]
    shown = [number for number, is_good in zip(numbers, good.tolist(), strict=True) if is_good]
    show_neighbours(config, model, images[good], shown, beside, console)
    return [path, beside]
