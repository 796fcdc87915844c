"""The report of ``glow-score``: tables in the terminal, the sorted CSV, the pictures of both ends and of histograms."""

import dataclasses
import math
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch import Tensor

from glow_app import figures
from glow_app.commands.common import metadata_of
from glow_app.commands.reports import clean
from glow_app.commands.reports.evaluate import write_json
from glow_app.commands.score_files import Rows, write_csv
from glow_app.config.commands import ScoreConfig
from glow_app.data.sets.files import Files
from glow_app.data.source import ImageSource
from glow_app.figures import histograms
from glow_app.model import Model
from glow_app.runtime.console import say, show
from glow_app.scores.detection import Detection, Estimate, detection
from glow_app.scores.measure import DEFECTS, ERROR, NO_SCORES
from glow_app.scores.thresholds import Calibration
from glow_app.scores.typicality import group_typicality
from glow_app.units import with_error

TABLE, METADATA, ENDS, HISTOGRAMS = "scores.csv", "scores.json", "ends.png", "histograms.png"

IN_ROW = 8
"""Images in a row of the picture of both ends."""

LONGEST_NAME = 40
"""Characters of an image's name in the terminal."""

TITLES = {
    "bits_per_dim": "bits/dim",
    "final_scale": "final scale",
    "minus_png": "bits - PNG",
    "minus_webp": "bits - WebP",
    "minus_background": "bits - background",
}
"""Names of scores in tables; others are shown as they are."""

Ends = tuple[list[tuple[int, list[float]]], list[tuple[int, list[float]]]]


@dataclasses.dataclass(frozen=True)
class Summary:
    """One column of one set of images; NaN left out."""

    mean: float
    deviation: float
    least: float
    largest: float
    n: int

    @property
    def error(self) -> float:
        """The standard error of the mean."""
        return self.deviation / self.n**0.5 if self.n > 1 else math.nan


def write(
    tables: Sequence[Rows],
    sources: Sequence[ImageSource],
    model: Model,
    config: ScoreConfig,
    saved: Calibration | None,
    mean: tuple[float, str] | None,
    folder: Path,
    console: Console,
) -> None:
    """Writes all files and prints the report.

    Args:
        tables: scores of the images, and of each set to compare them with.
        sources: the images of these.
        model: the model.
        config: options of the command.
        saved: thresholds of the model, if there are any.
        mean: mean bits per dimension of training images, and which these are; None: not known.
        folder: output folder.
        console: console to print to.
    """
    rows, source = tables[0], sources[0]
    level = saved.thresholds[config.by] if saved is not None and config.verdict else None
    content: dict[str, Any] = {**metadata_of(model, source, config), "images": rows.n, "by": config.by}
    ends = _write_csv(rows, source, config, level, folder / TABLE)
    summaries = summarise(rows)
    _introduce(model, source, rows, config, mean, console)
    show(console, _summary_table(summaries))
    if config.show and rows.n:
        say(console, "")
        show(console, _ends_table(ends, rows, source, config))
    made = [TABLE, METADATA]
    if config.show and any(ends):
        figures.save_png(_ends_picture(ends, rows, source, config), folder / ENDS)
        made.append(ENDS)
    if config.clean:
        both = tuple([(index, values[rows.names.index(config.by)]) for index, values in end] for end in ends)
        made += clean.report(rows, source, (both[0], both[1]), _title(config.by), folder, console)
    lost = rows.n - summaries["bits_per_dim"].n
    if lost:
        named = _not_scored(rows, source)
        say(console, f"\n{lost:,} of {rows.n:,} images have no scores, not readable or not finite: {named}")
    if mean is not None and (own := summaries["bits_per_dim"]).n:
        off = abs(own.mean - mean[0])
        say(console, f"\nas a group, these images are {with_error(off, own.error)} bits/dim from the mean of {mean[1]}")
    if saved is not None and level is not None:
        above = int((rows.column(config.by) > level).sum())
        say(
            console,
            f"\nverdict: {above:,} of {rows.n:,} ({above / max(rows.n, 1):.1%}) are unusual: {_title(config.by)} above "
            f"{level:.4f}, which {saved.fpr:.1%} of images like those of {saved.data} exceed",
        )
        content["verdict"] = {"by": config.by, "threshold": level, "fpr": saved.fpr, "above": above}
    content["columns"] = {name: dataclasses.asdict(one) for name, one in summaries.items() if "signature" not in name}
    content["mean_of_training"] = None if mean is None else {"mean": mean[0], "of": mean[1]}
    content["against"] = {}
    for other, images in zip(tables[1:], sources[1:], strict=True):
        found = tell_apart(rows, other, None if mean is None else mean[0], config.group)
        say(console, "")
        show(console, _detection_table(found, source, images, rows, other))
        content["against"][f"{images.name} {images.split}"] = {
            name: {key: figure._asdict() for key, figure in one._asdict().items()} for name, one in found.items()
        }
    if len(tables) > 1:
        columns = [name for name in rows.names if name not in NO_SCORES]
        finite = {name: [_finite(one.column(name)) for one in tables] for name in columns}
        names = [f"{one.name} {one.split}" for one in sources]
        histograms.draw(finite, names, {name: _title(name) for name in columns}, folder / HISTOGRAMS)
        made.append(HISTOGRAMS)
    write_json(content, folder / METADATA)
    say(console, "\nlook at")
    for name in made:
        say(console, f"  {folder / name}")


def _finite(values: Tensor) -> Tensor:
    return values[values.isfinite()]


def summarise(rows: Rows) -> dict[str, Summary]:
    """Summarises every column, in two passes over the file."""
    n = torch.zeros(len(rows.names), dtype=torch.float64)
    total, squares = torch.zeros_like(n), torch.zeros_like(n)
    least, largest = torch.full_like(n, torch.inf), torch.full_like(n, -torch.inf)
    for block in rows.blocks():
        n += (~block.isnan()).sum(0)
        total += block.nansum(0)
        least = torch.minimum(least, block.nan_to_num(torch.inf, torch.inf, -torch.inf).amin(0))
        largest = torch.maximum(largest, block.nan_to_num(-torch.inf, torch.inf, -torch.inf).amax(0))
    mean = total / n
    for block in rows.blocks():
        squares += (block - mean).square().nansum(0)
    deviation = (squares / (n - 1).clamp(min=1)).sqrt()
    columns = zip(mean.tolist(), deviation.tolist(), least.tolist(), largest.tolist(), n.int().tolist(), strict=True)
    return {name: Summary(*values) for name, values in zip(rows.names, columns, strict=True)}


def tell_apart(own: Rows, other: Rows, mean: float | None, group: int) -> dict[str, Detection]:
    """Measures how well each score detects the images of ``other`` among those of ``own``."""
    found: dict[str, Detection] = {}
    for name in own.names:
        if name in NO_SCORES:
            continue
        first, second = (_ordered(rows.column(name)) for rows in (own, other))
        if len(first) and len(second):
            found[name] = detection(first, second)
    if mean is not None:
        bits = [_finite(rows.column("bits_per_dim")) for rows in (own, other)]
        first, second = (group_typicality(values, mean, group) for values in bits)
        if len(first) and len(second):
            found[f"typicality of {group}"] = detection(first, second)
    return found


def _ordered(values: Tensor) -> Tensor:
    """The values that can be ordered: infinite ones too, as those of images far from all that the model knows are."""
    return values[~values.isnan()]


def _write_csv(rows: Rows, source: ImageSource, config: ScoreConfig, level: float | None, path: Path) -> Ends:
    """Writes the sorted table; returns the rows of both ends."""
    first: list[tuple[int, list[float]]] = []
    last: deque[tuple[int, list[float]]] = deque(maxlen=config.show)
    column = rows.names.index(config.by)
    written = [(i, name) for i, name in enumerate(rows.names) if name not in NO_SCORES or name in (ERROR, *DEFECTS)]

    def lines() -> Iterator[list[object]]:
        for index, values in rows.sorted(config.by):
            if not math.isnan(values[column]):
                if len(first) < config.show:
                    first.append((index, values))
                last.append((index, values))
            texts = ["" if math.isnan(values[i]) else f"{values[i]:.6f}" for i, _ in written]
            verdict = [] if level is None else [_verdict(values[column], level)]
            yield [index, source.item_name(index), *texts, *verdict]

    write_csv(path, ["index", "name", *(name for _, name in written), *([] if level is None else ["verdict"])], lines())
    return first, list(last)


def _verdict(value: float, level: float) -> str:
    return "" if math.isnan(value) else "unusual" if value > level else "usual"


def _title(name: str) -> str:
    return TITLES.get(name, name.replace("_", " "))


def _introduce(
    model: Model,
    source: ImageSource,
    rows: Rows,
    config: ScoreConfig,
    mean: tuple[float, str] | None,
    console: Console,
) -> None:
    say(console, f"model      {model.folder} (step {model.card.step:,}, {model.card.weights} weights)")
    what = f"{source.name} {source.split}" if not isinstance(source, Files) else ", ".join(config.images or [])
    say(console, f"images     {what}, {rows.n:,} images")
    draws = f"{config.draws} draws per image" if config.draws > 1 else "one draw per image"
    say(console, f"noise      {draws}, seed {config.seed}; {config.precision}, {model.device}")
    if config.background is not None:
        say(console, f"background {config.background}")
    typical = "not known: no typicality" if mean is None else f"{mean[0]:.4f} bits/dim, of {mean[1]}"
    say(console, f"training   {typical}\n")


def _summary_table(summaries: dict[str, Summary]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("score")
    for column in ("mean", "deviation", "least", "largest"):
        table.add_column(column, justify="right")
    for name, one in summaries.items():
        if name in NO_SCORES:
            continue
        figures_of = (with_error(one.mean, one.error), f"{one.deviation:.4f}", f"{one.least:.4f}", f"{one.largest:.4f}")
        table.add_row(_title(name), *(figures_of if one.n else ("-", "-", "-", "-")))
    return table


def _ends_table(ends: Ends, rows: Rows, source: ImageSource, config: ScoreConfig) -> Table:
    """The images of both ends, sorted; each once, if they overlap."""
    first, last = ends
    shown = {index for index, _ in first}
    later = [(index, values) for index, values in last if index not in shown]
    title = f"sorted by {_title(config.by)}, least first"
    table = Table(box=None, pad_edge=False, header_style="bold", title=title, title_justify="left")
    table.add_column("image")
    columns = [name for name in rows.names if name not in NO_SCORES]
    for name in columns:
        table.add_column(_title(name), justify="right")
    for number, (index, values) in enumerate([*first, *later]):
        if number == len(first) and len(first) + len(later) < rows.n:
            table.add_row("...")
        named = dict(zip(rows.names, values, strict=True))
        texts = [f"{named[name]:.3f}" for name in columns]
        if not math.isnan(named[ERROR]):
            texts[columns.index("bits_per_dim")] = with_error(named["bits_per_dim"], named[ERROR], 3)
        table.add_row(_short(source.item_name(index)), *texts)
    return table


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else "..." + name[3 - LONGEST_NAME :]


def _ends_picture(ends: Ends, rows: Rows, source: ImageSource, config: ScoreConfig) -> Image.Image:
    """Draws the images with the least scores, then those with the largest, each with its score."""
    column = rows.names.index(config.by)
    pictures: list[Image.Image] = []
    for end in ends:
        for start in range(0, len(end), IN_ROW):
            some = end[start : start + IN_ROW]
            images = source.fetch([index for index, _ in some])
            labels = [f"#{index}: {values[column]:.2f}" for index, values in some]
            pictures.append(figures.grid(images, IN_ROW, column_labels=labels))
    return figures.stacked(pictures)


def _not_scored(rows: Rows, source: ImageSource, most: int = 5) -> str:
    """Names of images whose scores are NaN, for a message."""
    missing = rows.column("bits_per_dim").isnan().nonzero().flatten().tolist()
    names = ", ".join(source.item_name(index) for index in missing[:most])
    return names + (f" and {len(missing) - most:,} more, last in {TABLE}" if len(missing) > most else "")


def _detection_table(
    found: dict[str, Detection], source: ImageSource, other: ImageSource, own: Rows, others: Rows
) -> Table:
    among = f"{own.n:,} of {source.name} {source.split}"
    title = f"{others.n:,} images of {other.name} {other.split} told from {among}, by larger scores"
    table = Table(box=None, pad_edge=False, header_style="bold", title=title, title_justify="left")
    table.add_column("score")
    for column in ("AUROC", "95%", "AUPR", "95%", "FPR at 95% TPR", "95%"):
        table.add_column(column, justify="right")
    for name, one in found.items():
        cells = [text for figure in (one.auroc, one.aupr, one.fpr) for text in _cells(figure)]
        table.add_row(_title(name), *cells)
    return table


def _cells(figure: Estimate) -> tuple[str, str]:
    return f"{figure.value:.4f}", f"{figure.low:.3f}-{figure.high:.3f}"
