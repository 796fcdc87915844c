"""The report of ``glow-compare``, printed and written."""

import dataclasses
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from glow_app.artifacts.card import Card
from glow_app.commands.reports.evaluate import write_json
from glow_app.comparison.variants import Difference, Variant, short, telling, unlike
from glow_app.runtime.atomic import write_text
from glow_app.runtime.console import say, show
from glow_app.units import with_error

TABLE, METADATA = "variants.md", "variants.json"

SPREAD = "± is the standard deviation over seeds, of one seed there is none"
WELCH = (
    "± is the standard error, over seeds; beyond the spread: what seeds alone would do in at most one of twenty pairs "
    "(Welch's t)"
)

Cells = list[list[str]]
"""Rows of a table, the heading first."""


def table(found: Sequence[Variant], told: Sequence[Difference], console: Console) -> None:
    """Prints the tables and remarks."""
    say(console, f"data       {title(found)}")
    keys = list(found[0].values)
    say(console, f"differ in  {', '.join(keys) if keys else 'nothing but the seed'}\n")
    _show(_variants(found), len(keys) or 1, console)
    for line in _remarks(found):
        say(console, line)
    if told:
        say(console, "\nsecond minus first, bits/dim of the validation")
        _show(_differences(found, told), 2, console)
        say(console, WELCH)


def title(found: Sequence[Variant]) -> str:
    """Returns a line that describes the data and the curves."""
    run = found[0].runs[0]
    seeds = sorted({len(variant.finished) for variant in found})
    many = f"mean of {'-'.join(map(str, seeds))} seeds, from lowest to highest" if max(seeds) > 1 else "one seed each"
    sides = run.options.get("data.image_size")
    size = "x".join(map(str, sides if isinstance(sides, list) else [sides, sides]))
    return f"{run.options.get('data.name')} {size}, {run.options.get('data.n_bits')} bits; {many}"


def name(variant: Variant) -> str:
    """Returns a variant's label, marked if none of its runs has finished."""
    return variant.label if variant.finished else f"{variant.label} (unfinished)"


def write(found: Sequence[Variant], told: Sequence[Difference], folder: Path) -> None:
    """Writes ``variants.md`` and ``variants.json``."""
    parts = ["\n".join(_markdown(_variants(found))), *_remarks(found)]
    if told:
        parts += ["Second minus first, bits/dim of the validation:", "\n".join(_markdown(_differences(found, told)))]
        parts.append(WELCH)
    text = "\n\n".join(parts) + "\n"
    write_text(folder / TABLE, text)
    content = {
        "data": title(found),
        "differ_in": list(found[0].values),
        "not_alike": unlike(found),
        "variants": [_metadata(variant) for variant in found],
        "differences": [
            dataclasses.asdict(one) | {"beyond_the_spread": one.beyond_the_spread, "limit": one.limit} for one in told
        ],
    }
    write_json(content, folder / METADATA)


def n_parameters(card: Card) -> int:
    """Returns the number of parameters of the model that a card describes."""
    with torch.device("meta"):
        flow = card.model.build(card.image_shape, len(card.class_names))
    return sum(parameter.numel() for parameter in flow.parameters())


def _parameters(variant: Variant) -> int | None:
    return next((n_parameters(run.card) for run in variant.runs if run.card is not None), None)


def _best_first(found: Sequence[Variant]) -> list[Variant]:
    """Sorts variants by their mean validation; those without one come last."""
    return sorted(found, key=lambda one: statistics.fmean(one.reached) if one.reached else float("inf"))


def _variants(found: Sequence[Variant]) -> Cells:
    keys = list(found[0].values)
    head = [short(key, keys) for key in keys] or ["run"]
    rows = [[*head, "seeds", "validation", "test", "parameters", "images seen", "training"]]
    for one in _best_first(found):
        n, of_all = len(one.finished), len(one.runs)
        seconds = [run.seconds for run in one.finished if run.seconds is not None]
        parameters = _parameters(one)
        seen = sorted({run.curve[-1][0] for run in one.finished})
        rows.append(
            [
                *([_value(one.values[key]) for key in keys] or [one.label]),
                str(n) if n == of_all else f"{n} of {of_all}",
                _mean(one.reached),
                _mean(one.tested),
                "" if parameters is None else f"{parameters:,}",
                " to ".join(f"{images:,}" for images in [*seen[:1], *seen[1:][-1:]]),
                _duration(statistics.fmean(seconds)) if seconds else "",
            ]
        )
    filled = [any(column) for column in zip(*rows[1:], strict=True)]
    return [[cell for cell, keep in zip(row, filled, strict=True) if keep] for row in rows]


def _remarks(found: Sequence[Variant]) -> list[str]:
    """Returns remarks on the table, one line each."""
    lines = [SPREAD] if any(len(one.reached) > 1 for one in found) else []
    lines += [f"not alike: {line}" for line in unlike(found)]
    for one in found:
        lines += [f"counted once: {run.folder} repeats another run of its seed" for run in one.repeated]
        for run in one.unfinished:
            step = run.curve[-1][0] // run.images_per_update
            lines.append(f"unfinished, in no mean: {run.folder}, last validated at step {step:,} of {run.length}")
    return lines


def _differences(found: Sequence[Variant], pairs: Sequence[Difference]) -> Cells:
    """Returns the rows of pairs that differ in one option, or of all pairs if there are none."""
    shown = telling(found)
    rows = [["first", "second", "difference", ""]]
    for one in pairs:
        if (one.first, one.second) in shown:
            verdict = "beyond the spread" if one.beyond_the_spread else "within the spread"
            rows.append([one.first, one.second, with_error(one.mean, one.standard_error, sign="+"), verdict])
    return rows


def _metadata(variant: Variant) -> dict[str, Any]:
    images, mean, low, high = variant.band()
    seconds = [run.seconds for run in variant.finished if run.seconds is not None]
    return {
        "label": variant.label,
        "values": variant.values,
        "runs": [str(run.folder) for run in variant.finished],
        "seeds": [run.options["seed"] for run in variant.finished],
        "unfinished": [str(run.folder) for run in variant.unfinished],
        "validation": _summary(variant.reached),
        "test": _summary(variant.tested),
        "parameters": _parameters(variant),
        "seconds": statistics.fmean(seconds) if seconds else None,
        "curve": {"images": images, "mean": mean, "low": low, "high": high},
    }


def _summary(values: list[float]) -> dict[str, Any] | None:
    if not values:
        return None
    return {
        "mean": statistics.fmean(values),
        "standard_deviation": statistics.stdev(values) if len(values) > 1 else None,
        "lowest": min(values),
        "highest": max(values),
        "values": values,
    }


def _mean(values: list[float]) -> str:
    if not values:
        return ""
    return with_error(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else math.nan)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "null" if value is None else str(value)


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _show(cells: Cells, words: int, console: Console) -> None:
    """Prints a table whose first ``words`` columns are words and whose others are numbers."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, head in enumerate(cells[0]):
        table.add_column(head, justify="left" if number < words else "right", no_wrap=True)
    for row in cells[1:]:
        table.add_row(*row)
    show(console, table)


def _markdown(cells: Cells) -> list[str]:
    head, *rows = cells
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]
