"""The report of ``glow-judge``, printed and written."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from rich.console import Console
from rich.table import Table

from glow_app import figures
from glow_app.commands.common import metadata_of
from glow_app.commands.reports import edit_comparison
from glow_app.commands.reports.evaluate import write_json
from glow_app.config.editing import JudgeConfig
from glow_app.data.faces.counterfactual import FACTOR_OF
from glow_app.data.source import ImageSource
from glow_app.data.stream import InOrder
from glow_app.evaluation import judge as judges
from glow_app.evaluation.editing.comparison import Compared
from glow_app.evaluation.edits import SWEEP, SWEEP_IMAGES, Measured, decode
from glow_app.evaluation.effects import EditFigures
from glow_app.evaluation.judge import Reliability
from glow_app.evaluation.statistics import mean
from glow_app.latents.directions import Directions
from glow_app.model import Model
from glow_app.runtime.console import say, show

METADATA, PICTURE, CURVES = "judge.json", "flips.png", "curves.png"

PICTURE_ROWS = 6
"""Images in the picture."""

PICTURE_COLUMNS = 8
"""Attributes in the picture."""

FIRST_SHOWN = ("Smiling", "Eyeglasses")

COLUMNS = {
    "success": "success",
    "adding": "adding",
    "removing": "removing",
    "drift": "drift",
    "outside": "outside",
    "outside_area": "by chance",
    "followed": "follows",
    "measured": "measures",
}
"""Field of ``EditFigures`` -> heading of its column; columns without values are left out."""


@dataclass(frozen=True)
class Judgement:
    """All results of the judge.

    Attributes:
        model: model whose edits are judged.
        methods: directions of each method.
        learned: numbers of the judge's training images, in ``judge_source``.
        judge_source: split of the training images.
        edited: numbers of the edited images, in ``edit_source``.
        edit_source: split of the edited images.
        reliability: the judge's reliability on the images before they are edited.
        factors: factor -> correlation of the judge's estimate with the truth, on the same images.
        measured: effects of the edits.
        compared: the methods and controls at equal success; None if they were not compared.
    """

    model: Model
    methods: list[Directions]
    learned: range
    judge_source: ImageSource
    edited: range
    edit_source: ImageSource
    reliability: list[Reliability]
    factors: dict[str, float | None]
    measured: Measured
    compared: Compared | None


def tables(reached: Judgement, config: JudgeConfig, console: Console) -> None:
    """Prints the report."""
    model, source = reached.model, reached.edit_source
    say(console, f"model      {model.folder} (step {model.card.step:,}, {model.card.weights} weights)")
    say(console, f"judge      learned from {_which(reached.learned)} of {source.name} {reached.judge_source.split}")
    say(console, f"edited     {_which(reached.edited)} of {source.name} {source.split}, by {config.amount:g}")
    measured = reached.measured
    say(
        console,
        f"amount 0   {measured.exact:.1%} of the images are reconstructed exactly{_error(measured)}\n",
    )
    say(
        console,
        "the judge on the unedited images; frequent: accuracy of always predicting the more frequent value",
    )
    show(console, _judge_table(reached))
    for method, edits in measured.edits.items():
        say(console, f"\n{method}")
        show(console, _edit_table(edits))
        lost = sum(one.not_finite for one in edits)
        if lost:
            say(console, f"left out: {lost:,} edited images that are not finite")
    say(console, "\nmeans over the attributes")
    show(console, _summary_table(measured.edits))
    say(
        console,
        "success    share of images whose prediction flips, among those predicted rightly at amount 0: "
        "all, those without and those with the attribute",
    )
    say(console, "drift      mean change of the judge's probability of the other attributes")
    if reached.factors:
        say(
            console,
            "outside    share of the change in pixels that toggling the attribute would not change; by chance:",
        )
        say(console, "           share of such pixels in the picture")
        say(console, "follows    correlation of the amount with the change of the factor that the judge predicts")
        say(console, "measures   correlation of the projection on the direction with the true factor")
    if reached.compared is not None:
        edit_comparison.tables(reached.compared, console)


def _which(images: range) -> str:
    return f"images {images.start:,} to {images.stop - 1:,}"


def _error(measured: Measured) -> str:
    largest = "" if measured.largest_error is None else f"; largest error {measured.largest_error} grey levels"
    return largest + (f"; {measured.not_finite:,} are not finite" if measured.not_finite else "")


def _judge_table(reached: Judgement) -> Table:
    table = _table("attribute", "balanced", "accuracy", "frequent")
    if reached.factors:
        table.add_column("  factor", no_wrap=True)
        table.add_column("correlation", justify="right")
    for one in reached.reliability:
        row = [one.attribute, _percent(one.balanced), _percent(one.accuracy), _percent(one.frequent)]
        if reached.factors:
            factor = FACTOR_OF[one.attribute][0] if one.attribute in FACTOR_OF else ""
            row += [f"  {factor}", _signed(reached.factors.get(factor)) if factor else ""]
        table.add_row(*row)
    return table


def _edit_table(edits: list[EditFigures]) -> Table:
    fields = [field for field in COLUMNS if any(getattr(one, field) is not None for one in edits)]
    table = _table("attribute", *(COLUMNS[field] for field in fields))
    table.add_column("  drifts most", no_wrap=True)
    for one in edits:
        table.add_row(
            one.attribute, *(_cell(field, getattr(one, field)) for field in fields), f"  {one.drifts_most or ''}"
        )
    return table


def _summary_table(edits: dict[str, list[EditFigures]]) -> Table:
    means = {method: means_of(figures_of) for method, figures_of in edits.items()}
    fields = [field for field in COLUMNS if any(one[field] is not None for one in means.values())]
    table = _table("method", *(COLUMNS[field] for field in fields))
    for method, one in means.items():
        table.add_row(method, *(_cell(field, one[field]) for field in fields))
    return table


def means_of(edits: list[EditFigures]) -> dict[str, float | None]:
    """Computes each metric's mean over the attributes that have it."""
    found: dict[str, float | None] = {}
    for field in COLUMNS:
        values = [getattr(one, field) for one in edits if getattr(one, field) is not None]
        found[field] = mean(torch.tensor(values, dtype=torch.float64))
    return found


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(first, no_wrap=True)
    for name in others:
        table.add_column(name, justify="right")
    return table


def _cell(field: str, value: float | None) -> str:
    if field == "drift":
        return "" if value is None else f"{value:.3f}"
    return _signed(value) if field in ("followed", "measured") else _percent(value)


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.0%}"


def _signed(value: float | None) -> str:
    return "" if value is None else f"{value:+.2f}"


def write(reached: Judgement, config: JudgeConfig, folder: Path) -> None:
    """Writes ``judge.json`` and ``flips.png`` to a folder."""
    measured = reached.measured
    content = {
        **metadata_of(reached.model, reached.edit_source, config),
        "first": reached.edited.start,
        "images": len(reached.edited),
        "amount": config.amount,
        "batch_size": config.batch_size,
        "judge": {
            "split": reached.judge_source.split,
            "first": reached.learned.start,
            "images": len(reached.learned),
            "examples": config.judge_examples,
            "batch": judges.BATCH,
            "peak_rate": judges.PEAK_RATE,
            "architecture": "shufflenet_v2_x0_5",
            "attributes": [one._asdict() for one in reached.reliability],
            "factors": reached.factors,
        },
        "directions": reached.methods[0].metadata,
        "reconstruction": {
            "exact": measured.exact,
            "largest_error": measured.largest_error,
            "not_finite": measured.not_finite,
            "unit": "grey levels",
        },
        "sweep": {"shares": [0.0, *SWEEP], "images": min(SWEEP_IMAGES, len(reached.edited))},
        "methods": {
            method: {"means": means_of(edits), "attributes": [dataclasses.asdict(one) for one in edits]}
            for method, edits in measured.edits.items()
        },
        "compared": None if reached.compared is None else dataclasses.asdict(reached.compared),
    }
    write_json(content, folder / METADATA)
    figures.save_png(_picture(reached, config), folder / PICTURE)
    if reached.compared is not None:
        edit_comparison.draw(reached.compared, folder / CURVES)


def _picture(reached: Judgement, config: JudgeConfig) -> Image.Image:
    """Draws the first images, each also with every attribute flipped: added if absent, removed if present."""
    model, source, directions = reached.model, reached.edit_source, _shown_method(reached)
    indices = list(reached.edited)[:PICTURE_ROWS]
    batch = InOrder(source, config.seed).__getitems__(indices)
    cond = batch.labels.to(model.device) if model.flow.n_classes and batch.labels is not None else None
    latents = model.encode(batch.images, cond)
    edited = [one.attribute for one in reached.measured.edits[directions.method]]
    names = sorted(edited, key=lambda name: (*FIRST_SHOWN, name).index(name))[:PICTURE_COLUMNS]
    assert source.attributes is not None
    columns = [batch.images]
    for name in names:
        has_it = source.attributes[indices, source.attribute_names.index(name)].bool().to(model.device)
        less, more = (directions.edit(latents, {name: sign * config.amount}) for sign in (-1, 1))
        turned = [torch.where(has_it[:, None, None, None], a, b) for a, b in zip(less, more, strict=True)]
        columns.append(decode(model, turned, cond)[0].cpu())
    return figures.grid(
        torch.stack(columns, 1).flatten(0, 1),
        len(columns),
        row_labels=[source.item_name(index) for index in indices],
        column_labels=["image", *names],
    )


def _shown_method(reached: Judgement) -> Directions:
    """Returns the directions for the picture: balanced ones if available, else the first."""
    return next((one for one in reached.methods if one.method == "balanced"), reached.methods[0])


def look_at(reached: Judgement, folder: Path, console: Console) -> None:
    """Prints the paths of the files."""
    say(console, "\nlook at")
    for name in (METADATA, PICTURE, *([CURVES] if reached.compared else [])):
        say(console, f"  {folder / name}")
