"""The picture writer of a run, for its folder and its loggers."""

from collections.abc import Sequence
from pathlib import Path

from PIL.Image import Image as Picture
from pytorch_lightning.loggers import Logger
from rich.console import Console

from glow_app import figures
from glow_app.runtime.atomic import CannotWrite
from glow_app.runtime.console import say
from glow_app.training.loggers.make import log_picture


class PictureWriter:
    """Saves pictures as ``samples/step_<step>_<suffix>.png``, and passes them to the loggers that accept pictures.

    Args:
        run_folder: folder of the run.
        console: where to report a file that cannot be written, which does not stop training.
    """

    def __init__(self, run_folder: Path, console: Console) -> None:
        self.run_folder = run_folder
        self.console = console

    def write(
        self, picture: Picture, step: int, suffix: str, loggers: Sequence[Logger], name: str, caption: str = ""
    ) -> None:
        """Writes one picture of a step; ``name``, such as ``samples/T0.70``, and ``caption`` are for the loggers."""
        log_picture(loggers, name, picture, step, caption)
        try:
            figures.save_png(picture, self.run_folder / "samples" / f"step_{step:08d}_{suffix}.png")
        except CannotWrite as error:
            say(self.console, f"step {step:>7,}   {error}")
