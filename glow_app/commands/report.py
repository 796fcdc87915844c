"""``glow-report``: one HTML file that shows a run: its curves and samples, and what its model does."""

import time
from collections.abc import Callable
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

from rich.console import Console

from glow_app.commands.common import output_folder_at
from glow_app.commands.run_page import markup, measured, written
from glow_app.commands.run_page.markup import Section
from glow_app.commands.run_page.subject import Subject
from glow_app.config.commands import ReportConfig
from glow_app.errors import UserError
from glow_app.runtime import distributed
from glow_app.runtime.atomic import write_text
from glow_app.runtime.console import say

PAGE = "report.html"

SECTIONS: dict[str, tuple[str, Callable[[Subject], str]]] = {
    "curves": ("Learning curves", written.curves),
    "samples": ("Samples over time", written.samples),
    "temperatures": ("Temperatures", measured.temperatures),
    "bits": ("Where the bits are", measured.bits),
    "reconstruction": ("Reconstruction", measured.reconstruction),
    "conditioning": ("Conditioning", measured.conditioning),
    "neighbours": ("Nearest training images", measured.neighbours),
    "edits": ("Edits", measured.edits),
    "quality": ("Quality of samples", measured.quality),
    "scores": ("Scores", measured.scores),
    "configuration": ("Configuration", written.configuration),
    "machine": ("Machine", written.machine),
}
"""Name -> heading, and what makes the section."""


def report(config: ReportConfig, console: Console) -> None:
    """Writes ``report.html``, which needs no other file, and beside it what its sections are made from.

    A section that does not apply to the model or its data, or fails, is left out, and the page says why.

    Raises:
        UserError: there is no run there, or nothing can be written.
    """
    distributed.require_one("glow-report")
    folder = Path(str(config.run))
    output = output_folder_at(Path(config.output) if config.output is not None else folder / "report")
    subject = Subject(config, folder, output, console)
    sections = [_made(name, subject, console) for name in SECTIONS]
    path = output / PAGE
    write_text(path, _page(subject, sections))
    say(console, f"\nlook at\n  {path}   ({path.stat().st_size / 1e6:.1f} MB, needs no other file)")


def _made(name: str, subject: Subject, console: Console) -> Section:
    """Makes a section; one that fails, for whatever reason, costs the page only itself."""
    title, make = SECTIONS[name]
    start = time.monotonic()
    try:
        section = Section(name, title, make(subject))
    except UserError as reason:
        section = Section(name, title, None, str(reason))
    except Exception as error:
        if subject.config.debug:
            raise
        told = " ".join(str(error).split())
        section = Section(name, title, None, f"failed, {type(error).__name__}: {told} (debug=true shows where)")
    seconds = f"{time.monotonic() - start:5.1f} s"
    say(console, f"{name:<15} {seconds if section.body is not None else f'left out: {section.reason}'}")
    return section


def _page(subject: Subject, sections: list[Section]) -> str:
    name = subject.folder.resolve()
    made = f"Made by glow-report, glow_app {version('glow_app')}, on {datetime.now():%Y-%m-%d}."
    try:
        model = subject.model
    except UserError as reason:
        return markup.page(f"{name.parent.name} {name.name}", str(reason), {}, sections, made)
    lead = written.lead(model.card, subject.unit.shape_of(model.image_shape, model.n_bits))
    return markup.page(f"{name.parent.name} {name.name}", lead, written.tiles(subject), sections, made)
