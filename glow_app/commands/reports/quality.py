"""The report of ``glow-evaluate quality=true``."""

from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from glow_app.data.source import ImageSource
from glow_app.evaluation.quality import Figures
from glow_app.runtime.console import say, show


@dataclass(frozen=True)
class Quality:
    """Distances of samples, and of sets that give them a scale, from the same real images.

    Attributes:
        features: description of the network that computes the features.
        local: whether it was trained here, so that its distances compare with no published ones.
        accuracy: its balanced accuracy on held-out images, if it is a classifier and these have labels.
        images: images in each set.
        not_finite: samples that are not finite, which are taken as grey images.
        rows: name of a set -> its distances.
    """

    features: str
    local: bool
    accuracy: float | None
    images: int
    not_finite: int
    rows: dict[str, Figures]

    @property
    def names(self) -> dict[str, str]:
        """Field of :class:`Figures` -> its name in reports."""
        names = {"kid": "KID", "kid_spread": "KID spread", "fid": "FID", "density": "density", "coverage": "coverage"}
        return {field: f"local {name}" if self.local else name for field, name in names.items()}

    def content(self) -> dict[str, Any]:
        """All of it, JSON-ready."""
        return {
            "features": self.features,
            "balanced_accuracy": self.accuracy,
            "images": self.images,
            "samples_not_finite": self.not_finite,
            "sets": {
                name: {self.names[field]: value for field, value in row._asdict().items()}
                for name, row in self.rows.items()
            },
        }


def table(quality: Quality, source: ImageSource, console: Console) -> None:
    """Prints the report."""
    accuracy = "" if quality.accuracy is None else f", right in {quality.accuracy:.1%} (balanced) on {source.split}"
    say(console, f"\nquality    sets of {quality.images:,} images against as many of {source.name} {source.split}")
    say(console, f"           by the features of {quality.features}{accuracy}")
    if quality.local:
        say(
            console,
            "           'local': they compare with figures of the very same classifier, never with published ones",
        )
    if quality.not_finite:
        say(console, f"           {quality.not_finite:,} samples are not finite, and taken as grey")
    show(console, rows(quality))


def rows(quality: Quality) -> Table:
    """Builds a table with one row for each set."""
    names = quality.names
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("")
    for field in ("kid", "fid", "density", "coverage"):
        table.add_column(names[field], justify="right")
    for name, row in quality.rows.items():
        kid = f"{row.kid:+.4f} ± {row.kid_spread:.4f}"
        table.add_row(name, kid, f"{row.fid:.4g}", f"{row.density:.3f}", f"{row.coverage:.3f}")
    return table
