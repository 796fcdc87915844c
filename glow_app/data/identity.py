"""Describes the images that a run began with, so that a run whose data have moved can tell if they are the same."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

import torch

from glow_app.data.source import ImageSource
from glow_app.runtime.atomic import write_text

IMAGES = "images.json"
"""File of a run that describes the images of each split."""

LOOKED_AT = 16
"""Images of a split whose pixels are compared, evenly spaced."""


def describe(source: ImageSource) -> dict[str, object]:
    """The number of images of a split, and the SHA-256 of the pixels of some, JSON-ready."""
    numbers = torch.linspace(0, len(source) - 1, min(LOOKED_AT, len(source))).round().int().tolist()
    digest = hashlib.sha256()
    for number in numbers:
        digest.update(source[number].numpy().tobytes())
    return {"images": len(source), "sha256": digest.hexdigest()}


def remember(sources: Iterable[ImageSource | None], run_folder: Path) -> None:
    """Writes what the splits of a new run are; None for those that it has not."""
    content = {source.split: describe(source) for source in sources if source is not None}
    write_text(run_folder / IMAGES, json.dumps(content, indent=1) + "\n")


def difference(source: ImageSource | None, run_folder: Path) -> str | None:
    """Says how a split differs from that with which a run began; None if it does not, or the run does not tell."""
    if source is None:
        return None
    try:
        before = json.loads((run_folder / IMAGES).read_text())[source.split]
    except (OSError, ValueError, KeyError):
        return None
    now = describe(source)
    if now == before:
        return None
    then, there = before["images"], now["images"]
    reason = "other pixels" if then == there else f"{then:,} then, {there:,} now"
    return f"the {source.split} images of data={source.name} are not those that the run began with ({reason})"
