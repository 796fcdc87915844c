"""Trackers, such as wandb and TensorBoard: when one of them fails, training continues."""

from abc import ABC, abstractmethod
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lightning_fabric.utilities.rank_zero import rank_zero_only
from PIL.Image import Image as Picture
from pytorch_lightning.loggers.logger import Logger
from rich.console import Console

from glow_app.runtime.console import say

PATIENCE = 3
"""Number of failures in a row after which a tracker is no longer used."""


class Tracker(ABC):
    """A destination for metrics and pictures of a run besides its folder. Every method may raise anything.

    What a tracker has received survives the end of the process, however it ends.
    """

    @abstractmethod
    def metrics(self, metrics: dict[str, float], step: int) -> None:
        """Logs metrics of a step."""

    @abstractmethod
    def picture(self, name: str, picture: Picture, step: int, caption: str) -> None:
        """Logs a picture of a step, such as ``samples/T0.70``; the caption may be empty."""

    @abstractmethod
    def model(self, folder: Path) -> None:
        """Logs the exported model when the run has ended."""

    @abstractmethod
    def close(self, completed: bool) -> str | None:
        """Ends the run; returns advice for the user, or None."""


class TrackerLogger(Logger):
    """A Lightning logger that passes everything to a tracker and raises nothing.

    The first failure is reported in one line; what fails is left out, and the next call is tried again. After
    ``PATIENCE`` failures in a row, or one at its start, the tracker is not used until the end of the run.

    Args:
        name: name of the tracker in messages.
        start: creates the tracker; called on rank 0 only, when training begins.
        console: where to report what failed.
    """

    def __init__(self, name: str, start: Callable[[], Tracker], console: Console) -> None:
        super().__init__()
        self._name = name
        self._start: Callable[[], Tracker] | None = start
        self._console = console
        self._tracker: Tracker | None = None
        self._failures = 0
        self._reported = False

    @property
    def name(self) -> str:
        return self._name

    @property
    def version(self) -> str:
        return ""

    @property
    def experiment(self) -> None:
        """Starts the tracker: Lightning asks for every logger's ``experiment`` when it begins."""
        self._open()

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Does nothing: a tracker receives the whole configuration when it starts."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        values = {key: float(value) for key, value in metrics.items() if key != "epoch"}
        self._try(lambda tracker: tracker.metrics(values, step or 0))

    @rank_zero_only
    def log_picture(self, name: str, picture: Picture, step: int, caption: str) -> None:
        """Logs a picture of a step, such as ``samples/T0.70``; the caption may be empty."""
        self._try(lambda tracker: tracker.picture(name, picture, step, caption))

    @rank_zero_only
    def log_model(self, folder: Path) -> None:
        """Logs the exported model at the end of the run."""
        self._try(lambda tracker: tracker.model(folder))

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Closes the tracker if training failed; after ``success`` the test follows."""
        if status != "success":
            self.close(completed=False)

    @rank_zero_only
    def close(self, completed: bool = True) -> None:
        """Closes the tracker at the end of the run; a second call does nothing."""
        tracker, self._tracker, self._start = self._tracker, None, None
        if tracker is None:
            return
        try:
            advice = tracker.close(completed)
        except Exception as error:  # of any kind
            say(self._console, f"{self._name} was not closed properly: {one_line(error)}")
        else:
            if advice:
                say(self._console, advice)

    @rank_zero_only
    def _open(self) -> None:
        if self._start is None:
            return
        start, self._start = self._start, None
        try:
            self._tracker = start()
        except Exception as error:  # not installed, not allowed, not reached, ...
            say(self._console, f"{self._name} is not used: {one_line(error)}; the run continues with metrics.csv alone")

    def _try(self, task: Callable[[Tracker], None]) -> None:
        if self._tracker is None:
            return
        try:
            task(self._tracker)
        except Exception as error:  # of any kind
            self._failures += 1
            if not self._reported:
                self._reported = True
                say(self._console, f"{self._name} failed: {one_line(error)}; the run continues, and tries it again")
            if self._failures == PATIENCE:
                say(self._console, f"{self._name} failed {PATIENCE} times in a row and is not used any more")
                self.close(completed=False)
        else:
            self._failures = 0


def one_line(error: Exception) -> str:
    """The message of an exception without line breaks, or its type if it has none."""
    return " ".join(str(error).split()) or type(error).__name__
