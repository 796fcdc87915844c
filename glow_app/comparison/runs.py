"""Reads a run from its folder: its configuration, validation curve and results."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glow_app.artifacts.card import Card, model_folder, read_card
from glow_app.config.saved import flat, read_config
from glow_app.errors import UserError
from glow_app.training.loggers import metrics

CONFIG, METRICS = "config.yaml", "metrics.csv"

COUNTS = ("seed", "max_steps", "trainer.batch_size", "trainer.accumulate")
"""Options that every run must have, whole numbers."""


@dataclass(frozen=True)
class Run:
    """A run, as read from its folder.

    Attributes:
        folder: folder of the run.
        options: all options, ``{"model.width": 64, ...}``; lists are values.
        curve: (images seen, bits/dim) of every validation, by images seen.
        card: card of the exported model; None if there is none yet.
        seconds: seconds of training without validation, from the logged speeds; None if there are none.
    """

    folder: Path
    options: dict[str, Any]
    curve: list[tuple[int, float]]
    card: Card | None
    seconds: float | None

    @property
    def images_per_update(self) -> int:
        """Images per update, over all processes and accumulated batches."""
        return self.options["trainer.batch_size"] * self.options["trainer.accumulate"]

    @property
    def finished(self) -> bool:
        """Returns whether the run has reached its last step and validated there."""
        # Only the final export has a validation.
        if any(self.options.get(key) is not None for key in ("max_seconds", "patience")):
            return self.card is not None and "val/bits_per_dim" in self.card.metrics
        return self.curve[-1][0] >= self.options["max_steps"] * self.images_per_update

    @property
    def length(self) -> str:
        """The intended length of the run, in words."""
        seconds = self.options.get("max_seconds")
        return f"{self.options['max_steps']:,}" if seconds is None else f"{seconds:g} seconds"

    @property
    def test(self) -> float | None:
        """Bits/dim of the test images; None if the run has not ended, or there are none."""
        return self.card.metrics.get("test/bits_per_dim") if self.card is not None and self.finished else None


def read_run(folder: Path) -> Run:
    """Reads the run in ``folder``.

    Raises:
        UserError: its configuration cannot be read, or it has not validated.
    """
    options = flat(read_config(folder / CONFIG))
    for key in COUNTS:
        if not isinstance(options.get(key), int):
            raise UserError(f"{folder / CONFIG} is not the configuration of a run: {key} is not a whole number")
    per_update = options["trainer.batch_size"] * options["trainer.accumulate"]
    rows = metrics.read(folder / METRICS) if (folder / METRICS).is_file() else []
    reached = {round(row["step"]): row["val/bits_per_dim"] for row in rows if "val/bits_per_dim" in row}
    if not reached:
        raise UserError(f"{folder} has no validation in its {METRICS}: train it for longer, or leave it out")
    try:
        card, _ = read_card(model_folder(folder))
    except UserError:  # stopped before it exported anything
        card = None
    curve = sorted((step * per_update, bits) for step, bits in reached.items())
    return Run(folder, options, curve, card, _seconds(rows, per_update))


def runs_in(folder: Path) -> list[Path]:
    """Finds the run folders: ``folder`` itself, or those in a sweep, by number, or in all sweeps of a name.

    Raises:
        UserError: there are no runs.
    """
    if (folder / CONFIG).is_file():
        return [folder]
    inside = [path.parent for pattern in (f"*/{CONFIG}", f"*/*/{CONFIG}") for path in folder.glob(pattern)]
    if not inside:
        raise UserError(f"no run at {folder}: give the folder of a run, which holds {CONFIG}, or of a sweep")
    return sorted(inside, key=lambda path: (path.parent, len(path.name), path.name))


def _seconds(rows: list[dict[str, float]], per_update: int) -> float | None:
    """The time of all updates: each stretch of rows at the speed measured at its end."""
    known = [(row["step"], row["speed/images_per_second"]) for row in rows if row.get("speed/images_per_second")]
    if not known:
        return None
    last = max(row["step"] for row in rows)
    steps = [0.0, *(step for step, _ in known[:-1]), last]
    parts = zip(steps[1:], steps[:-1], known, strict=True)
    return sum((after - before) * per_update / speed for after, before, (_, speed) in parts)
