"""Sections made of what a run has written: curves, samples over time, configuration, machine."""

import json
import re
from collections.abc import Sequence
from html import escape
from pathlib import Path

from glow_app.artifacts.card import Card
from glow_app.commands.run_page import markup
from glow_app.commands.run_page.subject import Subject
from glow_app.config.check import PATHS
from glow_app.config.saved import flat, read_config
from glow_app.config.train import AUTO
from glow_app.errors import UserError
from glow_app.figures import monitors
from glow_app.runtime.devices import name_of
from glow_app.training.checkpoints.run_folder import published_path, training_command, versions
from glow_app.training.loggers import metrics
from glow_app.training.report import draw_curves

SHOWN_STEPS = 6
"""Pictures of samples over time."""

LIKELY = 0.7
"""Temperature whose samples are shown over time, or the nearest to it that a run has drawn."""

PICTURE = re.compile(r"step_(\d+)_(plane|T([\d.]+))\.png")


def curves(subject: Subject) -> str:
    """Bits per dimension against steps, and all other metrics."""
    path = subject.folder / "metrics.csv"
    if not path.exists():
        raise UserError("the run has no metrics.csv")
    table = metrics.read(path)
    if not table:
        raise UserError("metrics.csv has no rows yet")
    draw_curves(subject.folder)
    parts = [markup.picture(subject.folder / "curves.png", "Bits per dimension in training and validation.")]
    others = subject.output / "monitors.png"
    if monitors.draw(table, others):
        parts.append(markup.picture(others, "The other metrics of metrics.csv, against steps."))
    return "".join(parts)


def samples(subject: Subject) -> str:
    """The run's own samples, at some of its steps: always of the same latents."""
    pictures = (subject.folder / "samples").glob("*.png")
    found = [(path, match) for path in pictures if (match := PICTURE.fullmatch(path.name))]
    if not found:
        raise UserError("the run has drawn none")
    nearest = min((abs(_temperature(match) - LIKELY), match[2]) for _, match in found)[1]
    drawn = sorted((int(match[1]), path) for path, match in found if match[2] == nearest)
    at = "" if nearest == "plane" else f", temperature {nearest[1:]}"
    return markup.gallery(markup.picture(path, f"Step {step:,}{at}") for step, path in _spread(drawn, SHOWN_STEPS))


def _temperature(match: re.Match[str]) -> float:
    return float(match[3] or LIKELY)


def _spread(drawn: Sequence[tuple[int, Path]], most: int) -> list[tuple[int, Path]]:
    """Some of the pictures, evenly spaced, the first and the last among them."""
    n = min(most, len(drawn))
    return [drawn[round(number * (len(drawn) - 1) / max(n - 1, 1))] for number in range(n)]


def configuration(subject: Subject) -> str:
    """All options of the run, and the command that trained it; of paths, only their last part."""
    saved = flat(read_config(subject.folder / "config.yaml"))
    command = training_command(subject.folder)
    typed = "" if command is None else f"<pre>{escape(command)}</pre>"
    cells = [(key, _value(key, value)) for key, value in saved.items()]
    return typed + markup.folded(f"all {len(cells)} options", markup.rows(("option", "value"), cells))


def _value(key: str, value: object) -> str:
    if key in PATHS and isinstance(value, str) and value != AUTO:
        return published_path(value)
    if key in PATHS and isinstance(value, list):
        return ", ".join(published_path(str(one)) for one in value)
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def machine(subject: Subject) -> str:
    """Hardware and libraries of the run, how long it took, and what measured it for this page."""
    card = subject.model.card
    facts = [("trained on", card.hardware or "not known")]
    if card.seconds is not None:
        facts.append(("training", duration(card.seconds)))
    facts.append(("measured on", f"{name_of(subject.model.device)}, {subject.config.precision}"))
    path = subject.folder / "versions.json"
    then = dict(json.loads(path.read_text())) if path.exists() else card.versions
    now = versions()
    cells = [(name, str(version), now.get(name, "")) for name, version in then.items()]
    return markup.facts(facts) + markup.rows(("library", "training", "this page"), cells)


def tiles(subject: Subject) -> dict[str, str]:
    """The figures of a run that matter most: name -> figure."""
    card, unit = subject.model.card, subject.unit
    found = {}
    for split in ("test", "val"):
        if (bits := card.metrics.get(f"{split}/bits_per_dim")) is not None:
            found[f"{split}, {unit.name}"] = unit.figure(bits, 3)
    parameters = sum(parameter.numel() for parameter in subject.model.flow.parameters())
    found |= {"updates": f"{card.step:,}", "parameters": f"{parameters / 1e6:.2f}M"}
    if card.seconds is not None:
        found["training"] = duration(card.seconds)
    return found


def lead(card: Card, unit_shape: str) -> str:
    """The line below the title: the model, and what it learned from."""
    return f"{card.model.shape}, trained on {card.data['name']}: {unit_shape}, {card.preprocessing}"


def duration(seconds: float) -> str:
    """Seconds in words."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
