"""The subject of a page: a run, its model, and images that the model has not learned from."""

import dataclasses
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import yaml
from rich.console import Console

from glow_app.artifacts import shipped
from glow_app.commands import evaluate
from glow_app.commands.common import open_any_model, open_split_of
from glow_app.commands.reports.evaluation import Evaluation
from glow_app.config.commands import EvaluateConfig, OpenConfig, ReportConfig
from glow_app.data.source import EmptySplit, ImageSource
from glow_app.errors import UserError
from glow_app.flows import VAE
from glow_app.model import Model
from glow_app.units import Unit, unit_of

C = TypeVar("C", bound=OpenConfig)

SHARED = ("data", "device", "precision", "solver", "seed", "debug", "batch_size")
"""Options of the page that are those of every command."""


class Subject:
    """A run, of which things are opened and measured once, when the first section asks for them.

    Args:
        config: options of the page.
        folder: folder of the run.
        output: folder for files that are made on the way.
        console: console to report progress to.
    """

    def __init__(self, config: ReportConfig, folder: Path, output: Path, console: Console) -> None:
        self.config, self.folder, self.output, self.console = config, folder, output, console

    @cached_property
    def model(self) -> Model:
        """The model of the run.

        Raises:
            UserError: there is none yet, or it is one of a program.
        """
        return open_any_model(self.options(OpenConfig, "evaluate"), vae=True)

    @property
    def flow_model(self) -> Model:
        """The model, if it has exact densities.

        Raises:
            UserError: it is a VAE, or there is none.
        """
        if isinstance(self.model.flow, VAE):
            raise UserError("for flows, and this is a VAE, without exact densities and latents: see glow-evaluate")
        return self.model

    @property
    def image_model(self) -> Model:
        """The model, if it is one of images and has exact densities.

        Raises:
            UserError: it is one of points or a VAE, or there is none.
        """
        if self.model.n_bits is None:
            raise UserError("for images, and this is a model of points in the plane: see glow-plot2d")
        return self.flow_model

    @property
    def unit(self) -> Unit:
        """The unit of its likelihood."""
        return unit_of(self.model.n_bits)

    @cached_property
    def held_out(self) -> ImageSource:
        """Images that were not learned from: the test split, or else the validation split.

        Raises:
            UserError: there are none, or they cannot be opened.
        """
        for split in ("test", "val"):
            try:
                return open_split_of(self.model, self.config.data, split, Console(quiet=True))
            except EmptySplit:
                continue
        raise UserError(f"data={self.config.data.name} has neither a test nor a validation split")

    @property
    def indices(self) -> range:
        """Numbers of those that are measured."""
        return range(min(self.config.n_images or len(self.held_out), len(self.held_out)))

    @cached_property
    def evaluation_options(self) -> EvaluateConfig:
        """Options of the evaluation."""
        n, split = self.config.n_images, self.held_out.split
        return self.options(EvaluateConfig, "evaluate", split=split, n_images=n, check_images=n, gap_images=n)

    @cached_property
    def evaluation(self) -> Evaluation:
        """The measurements of ``glow-evaluate``."""
        return evaluate.measure(self.flow_model, self.held_out, self.indices, self.evaluation_options, self.console)

    def options(self, schema: type[C], command: str, **changes: Any) -> C:
        """The options of another command for this run: its defaults, those that all commands share, and ``changes``."""
        defaults = yaml.safe_load((shipped.folder("conf") / f"{command}.yaml").read_text())
        known = {field.name for field in dataclasses.fields(schema)}
        shared = {name: getattr(self.config, name) for name in SHARED if name in known}
        values = {key: value for key, value in defaults.items() if key in known}
        values |= {"checkpoint": str(self.folder), **shared, **changes}
        for name, kind in get_type_hints(schema).items():
            if isinstance(values[name], dict) and dataclasses.is_dataclass(kind):
                values[name] = kind(**values[name])  # type: ignore[operator]
        return schema(**values)

    def place(self, name: str) -> str:
        """The folder of one section's files."""
        return str(self.output / name)
