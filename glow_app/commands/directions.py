"""``glow-directions``: attribute vectors from one pass over labelled images."""

import hashlib
import json
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from rich.console import Console
from rich.table import Table

from glow_app.build import through_cache
from glow_app.commands.common import (
    directions_folder,
    file_name,
    images_between,
    metadata_of,
    open_labelled_split_of,
    open_model,
    output_folder,
)
from glow_app.config.editing import DirectionsConfig
from glow_app.data.cache import default_workers
from glow_app.data.formats.tables import attribute_column
from glow_app.data.sets.two_folders import TwoFolders
from glow_app.data.source import ImageSource
from glow_app.errors import UserError
from glow_app.evaluation.calibration import REACHED, calibrated
from glow_app.evaluation.judge import BATCH
from glow_app.evaluation.likelihood import batches
from glow_app.latents.direction_methods import from_moments
from glow_app.latents.directions import METADATA, Directions, load, require_levels, save
from glow_app.latents.moments import Moments
from glow_app.latents.strength import shown_first
from glow_app.likelihood import dequantize_midpoints
from glow_app.model import Model
from glow_app.runtime import distributed
from glow_app.runtime.atomic import write_atomically
from glow_app.runtime.console import counting, say, show

SAVE_EVERY = 60.0
"""Seconds between two saves of the moments gathered so far."""


def directions(config: DirectionsConfig, console: Console) -> None:
    """Finds the directions of all attributes of a data set, by all methods, and saves them.

    Raises:
        UserError: the data set has no attributes, or too few images.
    """
    with distributed.process_group():
        if not distributed.is_rank_zero():
            console = Console(quiet=True)
        model = open_model(config)
        source = _source(model, config, console)
        find(model, source, config, console)


def find(model: Model, source: ImageSource, config: DirectionsConfig, console: Console) -> list[Directions]:
    """Finds the directions of all attributes of ``source``, by all methods, saves and returns them.

    Raises:
        UserError: the images have no attributes, or are too few.
    """
    indices = images_between(source, "first", config.first, config.n_images)
    _require(config, model, source)
    folder = _folder(config, model)
    metadata = metadata_of(model, source, config) | {"first": config.first}
    if config.positive is not None:
        folders = {key: os.path.abspath(getattr(config, key)) for key in ("positive", "negative")}
        metadata["data"] = {"name": source.name, **folders}
    start = time.perf_counter()
    moments = _gather(model, source, indices, config, metadata, folder, console)
    images_per_second = len(indices) / (time.perf_counter() - start)
    found, left_out = from_moments(
        moments, source.attribute_names, model.flow.latent_shapes, model.digest, metadata, config.shrinkage
    )
    options = {key: getattr(config, key) for key in ("orthogonal_to", "levels", "calibration")}
    found = [replace(one, metadata={**one.metadata, "options": options}) for one in found]
    found = _refined(found, config, console)
    if distributed.is_rank_zero():
        found = _calibrate(found, model, source, indices, config, console)
        save(found, folder)
    _unfinished(folder).unlink(missing_ok=True)
    if distributed.is_rank_zero():
        _report(found, left_out, console)
        say(console, f"{images_per_second:,.0f} images/s encoded")
        say(console, f"\nsaved\n  {folder}\nedit with")
        where = "" if directions_folder(None, model) == folder else f" directions={folder}"
        first = shown_first(found[0].names)[0]
        say(console, f"  glow-edit checkpoint={config.checkpoint}{where} images=me.jpg sweep={first}")
    return found


def _source(model: Model, config: DirectionsConfig, console: Console) -> ImageSource:
    """Opens the labelled images: of the data set, or of the two folders.

    Raises:
        UserError: see :func:`open_labelled_split_of` and :class:`TwoFolders`; or only a part of the options is given.
    """
    given = (config.positive, config.negative, config.name)
    if given == (None, None, None):
        return open_labelled_split_of(model, config.data, config.split, console)
    if not (config.positive and config.negative and config.name):
        raise UserError(
            "positive, negative and name belong together: two folders of pictures, with and without an attribute, and "
            "its name, as in positive=with negative=without name=Glasses"
        )
    if model.flow.n_classes:
        raise UserError("this model is class-conditional, and pictures of folders have no class: choose data that has")
    source = TwoFolders(config.positive, config.negative, config.name, model.image_shape, model.card.data)
    return through_cache(source, config.data, default_workers(), console) if config.data.cache else source


def _folder(config: DirectionsConfig, model: Model) -> Path:
    """Creates and returns the output folder. Those of two folders do not replace a model's other directions."""
    there = directions_folder(None, model)
    if config.name is None or not (there / METADATA).is_file():
        return output_folder(config, model, "directions")
    try:
        again = load(there).names == (config.name,)
    except UserError:
        again = False
    return output_folder(config, model, "directions" if again else f"directions_{file_name(config.name)}")


def _require(config: DirectionsConfig, model: Model, source: ImageSource) -> None:
    """Raises a UserError for mistakes that would otherwise be found only after the pass over the images."""
    if source.attributes is None:
        raise UserError(f"data={source.name} has no attributes to find directions for; choose data that has them")
    if 0 < config.calibration < BATCH:
        raise UserError(f"calibration={config.calibration}: a classifier learns from at least {BATCH} images; 0: none")
    for name in config.orthogonal_to:
        attribute_column(source.attribute_names, name)
    if config.levels is not None:
        require_levels(config.levels, len(model.flow.latent_shapes))


def _refined(found: Sequence[Directions], config: DirectionsConfig, console: Console) -> list[Directions]:
    """Refines directions by the options; drops methods with nothing left, and raises a UserError if none remains."""
    kept: list[Directions] = []
    for one in found:
        try:
            kept.append(one.refined(config.orthogonal_to, config.levels))
        except UserError as nothing:
            if one is found[-1] and not kept:
                raise
            say(console, f"no {one.method}: {nothing}")
    return kept


def _gather(
    model: Model,
    source: ImageSource,
    indices: Sequence[int],
    config: DirectionsConfig,
    metadata: dict,
    folder: Path,
    console: Console,
) -> Moments:
    """Computes the moments of all images, resuming an interrupted pass."""
    attributes = source.attributes
    assert attributes is not None
    moments = Moments(model.flow.latent_shapes, len(source.attribute_names), model.device)
    share = distributed.shard(indices)
    path = _unfinished(folder)
    facts = json.dumps([metadata, len(indices), sorted(moments.sums)], sort_keys=True).encode()
    key = hashlib.sha256(facts + attributes.numpy().tobytes()).hexdigest()
    _restore(moments, path, key)
    before = moments.count
    if before:
        say(console, f"resuming after {before:,} images")
    saved = time.monotonic()
    with counting(console, f"encoding {source.name} {source.split}") as progress:
        try:
            for batch in batches(
                model.flow, source, share[before:], config.seed, config.batch_size, config.data.workers
            ):
                with torch.no_grad():  # not model.encode, which inverts all images to check them
                    latents, _ = model.flow(dequantize_midpoints(batch.images, model.n_bits), batch.labels)
                moments.update(latents, attributes[batch.positions.cpu()].to(model.device))
                progress(moments.count, len(share))
                if time.monotonic() - saved > SAVE_EVERY:
                    _store(moments, path, key)
                    saved = time.monotonic()
        except KeyboardInterrupt:
            _store(moments, path, key)
            say(console, f"interrupted after {moments.count:,} images; the same command resumes from there")
            raise
    whole = Moments(model.flow.latent_shapes, len(source.attribute_names))
    for part in distributed.all_gather(moments.state()):
        whole.add_state(part)
    return whole


def _calibrate(
    found: list[Directions],
    model: Model,
    source: ImageSource,
    indices: range,
    config: DirectionsConfig,
    console: Console,
) -> list[Directions]:
    """Returns the directions with calibrated gains, if asked for and measurable."""
    if not config.calibration:
        return found
    with counting(console, "measuring amount 1") as progress:
        better = calibrated(found, model, source, indices, config.calibration, config.seed, progress)
    if better is None:
        say(console, f"amounts are distances in the latents: {len(indices)} images are too few to calibrate gains")
    return better or found


def _unfinished(folder: Path) -> Path:
    return folder / f"unfinished_{distributed.rank()}_of_{distributed.world_size()}.safetensors"


def _store(moments: Moments, path: Path, key: str) -> None:
    content = safetensors.torch.save(moments.state(), metadata={"key": key})
    write_atomically(path, lambda file: file.write(content))


def _restore(moments: Moments, path: Path, key: str) -> None:
    """Adds the moments that an interrupted pass of the same model over the same images stored, if any."""
    if not path.exists():
        return
    try:
        with safetensors.safe_open(str(path), "pt") as stored:
            if stored.metadata() == {"key": key}:
                moments.add_state({name: stored.get_tensor(name) for name in stored.keys()})  # noqa: SIM118
    except safetensors.SafetensorError:
        return  # nothing to resume from


def _report(found: Sequence[Directions], left_out: Sequence[str], console: Console) -> None:
    """Prints a table of all attributes, each with the direction most like its own."""
    plain, balanced = found[0], found[1]
    counts = plain.metadata["counts"]
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("attribute", no_wrap=True)
    for column in ("with", "without", "length", "gain"):
        table.add_column(column, justify="right")
    table.add_column("most like", no_wrap=True)
    for column in ("cosine", "balanced"):
        table.add_column(column, justify="right")
    for row, name in enumerate(plain.names):
        cosines, of_balanced = (one.units @ one.units[row] for one in (plain, balanced))
        other = int(cosines.abs().masked_fill(torch.arange(len(cosines)) == row, -1).argmax())
        likeness = (plain.names[other], f"{cosines[other]:+.2f}", f"{of_balanced[other]:+.2f}")
        table.add_row(
            name,
            f"{counts[name]['with']:,}",
            f"{counts[name]['without']:,}",
            f"{plain.vectors[row].norm():.2f}",
            _gain(plain, row),
            *(likeness if len(plain.names) > 1 else ()),
        )
    show(console, table)
    say(console, f"*: no gain moves the images {REACHED:.0%} of the way from one class to the other")
    if "discriminant" in plain.metadata["methods"]:
        details = plain.metadata["methods"]["discriminant"]
        say(console, f"discriminant: shrinkage {details['shrinkage']:.3f}, in levels {details['levels']}")
    else:
        say(console, "no discriminant: the coarsest level alone has too many latents for a covariance")
    if left_out:
        say(console, f"left out, too few images with or without it: {', '.join(left_out)}")


def _gain(one: Directions, row: int) -> str:
    """Formats a gain, with a star if it does not reach :data:`REACHED` on average over adding and removing."""
    added, removed = one.metadata.get("reached", {}).get(one.method, {}).get(one.names[row], (1.0, 1.0))
    reached = added is not None and (added + removed) / 2 >= REACHED
    return f"{one.gains[row]:.2f}{' ' if reached else '*'}"
