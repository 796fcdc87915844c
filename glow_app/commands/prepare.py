"""``glow-prepare``: decodes a data set into the cache and prints its data card, to check before a long training."""

from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from glow_app import figures
from glow_app.build import open_cached
from glow_app.config.check import check_choice
from glow_app.config.data import PointsConfig
from glow_app.config.train import PrepareConfig
from glow_app.data.cache import CachedSource, default_workers, verify
from glow_app.data.source import SPLITS, EmptySplit
from glow_app.errors import UserError
from glow_app.runtime import distributed
from glow_app.runtime.console import say, show

SKIPPED_SHOWN = 10
"""Skipped images that are printed by name; all are in card.json."""


def prepare(config: PrepareConfig, console: Console) -> None:
    """Builds the cache of every split that has images, then prints the data card.

    Raises:
        UserError: the data are invalid or, with ``verify``, the cache differs from what was decoded.
    """
    distributed.require_one("glow-prepare")
    for split in config.splits:
        check_choice("splits", split, SPLITS)
    if isinstance(config.data, PointsConfig):
        raise UserError(f"data={config.data.name} are points, drawn when they are needed: there is nothing to prepare")
    workers = default_workers() if config.workers is None else config.workers
    parts: list[CachedSource] = []
    for split in config.splits:
        try:
            parts.append(open_cached(config.data, split, workers, console))
        except EmptySplit as reason:
            say(console, f"{split}: {reason}")
    if not parts:
        raise UserError(f"data={config.data.name} has no images in any of splits={config.splits}")
    if config.verify:
        for part in parts:
            verify(part.folder)
    _show_card(parts, config, console)


def _show_card(parts: list[CachedSource], config: PrepareConfig, console: Console) -> None:
    first = parts[0]
    say(console, f"data card of {first.name}: {'x'.join(map(str, first.image_shape))}, {first.preprocessing}")
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("")
    for part in parts:
        table.add_column(part.split, justify="right")
    table.add_row("images", *(f"{len(part):,}" for part in parts))
    missing = [getattr(part.source, "missing", 0) for part in parts]
    if any(missing):
        table.add_row("not there", *(f"{n:,}" for n in missing))
    table.add_row("left out", *(f"{len(part.skipped):,}" for part in parts))
    table.add_row("MB on disk", *(f"{(part.folder / 'pixels.bin').stat().st_size / 1e6:,.1f}" for part in parts))
    if any(part.labelled is not None for part in parts):
        table.add_row("without attributes", *(f"{_unlabelled(part):,}" for part in parts))
    for column, name in enumerate(first.attribute_names if first.attributes is not None else ()):
        table.add_row(name, *(f"{_rate(part, column):.1%}" for part in parts))
    for number, name in enumerate(first.class_names if first.classes is not None else ()):
        table.add_row(f"class {name}", *(f"{_count(part, number):,}" for part in parts))
    show(console, table)
    if first.left_out:
        say(console, f"left out  {first.left_out}")
    for part in parts:
        for reason in part.skipped[:SKIPPED_SHOWN]:
            say(console, f"left out of {part.split}: {reason}")
        if len(part.skipped) > SKIPPED_SHOWN:
            say(console, f"... and {len(part.skipped) - SKIPPED_SHOWN} more: {part.folder / 'card.json'}")
    if config.verify:
        say(console, "verified: the pixels on disk are those that were decoded")
    say(console, "\nlook at")
    for part in parts:
        say(console, f"  {_contact_sheet(part, config.contact_sheet)}")


def _rate(part: CachedSource, attribute: int) -> float:
    if part.attributes is None:
        return float("nan")
    column = part.attributes[:, attribute].float()
    return (column if part.labelled is None else column[part.labelled]).mean().item()


def _unlabelled(part: CachedSource) -> int:
    return 0 if part.labelled is None else int((~part.labelled).sum())


def _count(part: CachedSource, number: int) -> int:
    return 0 if part.classes is None else int((part.classes == number).sum())


def _contact_sheet(part: CachedSource, n: int) -> Path:
    """Draws images evenly spaced over the split; returns the path."""
    indices = torch.linspace(0, len(part) - 1, min(n, len(part))).long().tolist()
    path = part.folder / "contact_sheet.png"
    figures.save_png(figures.grid(part.fetch(indices), columns=8), path)
    return path
