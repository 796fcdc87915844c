"""The report of ``glow-score clean=true``: images that may not belong to a data set, each with what was found."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch import Tensor

from glow_app import figures
from glow_app.commands.score_files import Rows, write_csv
from glow_app.data.source import ImageSource
from glow_app.errors import UserError
from glow_app.runtime.console import counting, say, show
from glow_app.scores.defects import TOLERANCE
from glow_app.scores.duplicates import groups, near_duplicates
from glow_app.scores.measure import SIGNATURES

TABLE, SHEET = "clean.csv", "clean.png"

LEAST_BORDER = 1 / 16
"""Share of the side from which on a border is told of."""

USUAL = 0.1
"""Share of images with borders from which on borders belong to the data, as those of digits do."""

FARTHEST = 16.0
"""Root-mean-square difference in grey levels up to which images with alike small pixels are near-duplicates.

Portraits before black walls are alike in small pixels, and differ by 30 and more.
"""

IN_ROW = 8
"""Images of each finding on the contact sheet."""

NAMED = 3
"""Images of each finding that are named in the terminal."""

Ends = tuple[list[tuple[int, float]], list[tuple[int, float]]]
"""Numbers of the images with the least and with the largest scores, with their scores."""


@dataclass(frozen=True)
class Finding:
    """An image that may not belong.

    Attributes:
        index: its number.
        value: figure of what was found; NaN if there is none.
        other: number of the image that it repeats; None for other findings.
    """

    index: int
    value: float = math.nan
    other: int | None = None


def report(rows: Rows, source: ImageSource, ends: Ends, score: str, folder: Path, console: Console) -> list[str]:
    """Prints what was found, writes ``clean.csv`` and ``clean.png``; returns the names of the files.

    Args:
        rows: scores and the columns of defects and signatures.
        source: the images.
        ends: images of both ends of the sorted table.
        score: name of the score that it is sorted by.
        folder: output folder.
        console: console to print to.
    """
    found, remarks = findings(rows, source, console)
    found |= {
        f"least {score}": [Finding(*one) for one in ends[0]],
        f"largest {score}": [Finding(*one) for one in ends[1]],
    }
    say(console, "")
    show(console, _table(found, rows.n, source))
    for remark in remarks:
        say(console, remark)
    write_csv(folder / TABLE, ["finding", "index", "name", "value", "other", "other_name"], _lines(found, source))
    pictures = list(_pictures(found, source))
    if not pictures:
        return [TABLE]
    figures.save_png(figures.stacked(pictures), folder / SHEET)
    return [TABLE, SHEET]


def findings(rows: Rows, source: ImageSource, console: Console) -> tuple[dict[str, list[Finding]], list[str]]:
    """Finds broken, constant and bordered images and near-duplicates; and remarks on them."""
    column = {name: number for number, name in enumerate(rows.names)}
    chosen = [column[name] for name in (*SIGNATURES["pixels"], *SIGNATURES["latents"])]
    broken: list[Finding] = []
    constant: list[Finding] = []
    bordered: list[Finding] = []
    numbers, words, start = [], [], 0
    for block in rows.blocks():
        at = torch.arange(start, start + len(block))
        contrast, border = block[:, column["contrast"]], block[:, column["border"]]
        whole = ~contrast.isnan()
        flat = whole & (contrast <= TOLERANCE)
        framed = whole & ~flat & (border >= LEAST_BORDER)
        broken += [Finding(int(i)) for i in at[~whole]]
        constant += [Finding(int(i), c) for i, c in zip(at[flat], contrast[flat].tolist(), strict=True)]
        bordered += [Finding(int(i), b) for i, b in zip(at[framed], border[framed].tolist(), strict=True)]
        rest = whole & ~flat & ~block[:, column["bits_per_dim"]].isnan()
        numbers.append(at[rest])
        words.append(block[rest][:, chosen])
        start += len(block)
    remarks = []
    if len(bordered) > USUAL * rows.n:
        remarks.append(
            f"borders of one colour are usual here, {len(bordered) / rows.n:.0%} of the images have them: not told of"
        )
        bordered = []
    pairs = _pairs(torch.cat([torch.empty(0, dtype=torch.int64), *numbers]), words, source, console)
    found = {
        "broken": broken,
        "constant": constant,
        "border": sorted(bordered, key=lambda one: -one.value),
        "duplicate": [one for one in pairs if one.value == 0],
        "near-duplicate": [one for one in pairs if one.value != 0],
    }
    if pairs:
        several = groups([(one.other, one.index) for one in pairs if one.other is not None])
        many = sum(map(len, several))
        remarks.append(f"{many:,} images are in {len(several):,} groups of duplicates and near-duplicates")
    return {name: some for name, some in found.items() if some}, remarks


def _pairs(numbers: Tensor, words: Sequence[Tensor], source: ImageSource, console: Console) -> list[Finding]:
    """Pairs that are near in pixels or in latents, the least different first: the second image repeats the first."""
    if len(numbers) < 2:
        return []
    columns = torch.cat(list(words)).unbind(1)
    n = len(SIGNATURES["pixels"])
    of_pixels, of_latents = (
        {(pair.first, pair.second) for pair in near_duplicates(some, numbers)} for some in (columns[:n], columns[n:])
    )
    found, candidates = [], sorted(of_pixels | of_latents)
    with counting(console, "comparing what may be near-duplicates") as progress:
        for done, (first, second) in enumerate(candidates, 1):
            difference = _difference(first, second, source)
            if (first, second) in of_latents or difference <= FARTHEST:
                found.append(Finding(second, difference, first))
            progress(done, len(candidates))
    return sorted(found, key=lambda one: (one.value, one.index))


def _difference(first: int, second: int, source: ImageSource) -> float:
    """Root-mean-square difference of two images in grey levels; NaN if one can no longer be read."""
    images = [_image(number, source) for number in (first, second)]
    if images[0] is None or images[1] is None:
        return math.nan
    return (images[0].double() - images[1].double()).square().mean().sqrt().item()


def _image(index: int, source: ImageSource) -> Tensor | None:
    try:
        return source[index]
    except UserError:
        return None


def _table(found: Mapping[str, Sequence[Finding]], n: int, source: ImageSource) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", title="what may not belong", title_justify="left")
    table.add_column("")
    for name in ("images", "of all"):
        table.add_column(name, justify="right")
    table.add_column("such as")
    for name, some in found.items():
        images = len({one.index for one in some})
        names = ", ".join(_named(one, source) for one in some[:NAMED])
        table.add_row(name, f"{images:,}", f"{images / max(n, 1):.2%}", names)
    return table


def _named(one: Finding, source: ImageSource) -> str:
    return source.item_name(one.index) + ("" if one.other is None else f" (of {source.item_name(one.other)})")


def _lines(found: Mapping[str, Sequence[Finding]], source: ImageSource) -> Iterator[list[object]]:
    for name, some in found.items():
        for one in some:
            other = ["", ""] if one.other is None else [one.other, source.item_name(one.other)]
            value = "" if math.isnan(one.value) else f"{one.value:.6f}"
            yield [name, one.index, source.item_name(one.index), value, *other]


def _pictures(found: Mapping[str, Sequence[Finding]], source: ImageSource) -> Iterator[Image.Image]:
    """Draws the first images of each finding, the repeated ones before those that repeat them, below its name."""
    for name, some in found.items():
        shown: list[Tensor] = []
        labels: list[str] = []
        for one in some:
            own = [*([] if one.other is None else [one.other]), one.index]
            images = [_image(index, source) for index in own]
            if len(shown) + len(own) > IN_ROW or any(image is None for image in images):
                continue
            shown += [image for image in images if image is not None]
            labels += [f"#{index}" for index in own]
        if shown:
            row = figures.grid(torch.stack(shown), IN_ROW, column_labels=labels)
            yield figures.headed(name, row)
