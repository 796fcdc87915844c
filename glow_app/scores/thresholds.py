"""Thresholds of scores with a stated false-positive rate, from a calibration set, saved with the model."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from glow_app.errors import UserError
from glow_app.runtime.atomic import write_text

FILE, FORMAT = "scores.json", 1
"""Name of the file in a model's folder, and the version of its layout."""


@dataclass(frozen=True)
class Calibration:
    """A model's scores of images like its training images, summed up.

    Attributes:
        digest: SHA-256 digest of the model's weights.
        mean: mean bits per dimension of training images, see :func:`glow_app.scores.typicality.typicality`.
        mean_of: the images of that mean, in words.
        fpr: false-positive rate of the thresholds.
        thresholds: score -> threshold; larger scores are called unusual.
        images: number of calibration images.
        data: the calibration images, in words.
        options: the options that these scores were computed with.
    """

    digest: str
    mean: float
    mean_of: str
    fpr: float
    thresholds: dict[str, float]
    images: int
    data: str
    options: dict[str, Any]


def threshold(scores: Tensor, fpr: float) -> float:
    """The k-th smallest of n scores, ``k = ceil((n + 1) (1 - fpr))``: split conformal prediction.

    A further image, exchangeable with these, has a larger score with probability ``fpr`` at most, on average over
    calibration sets (Vovk et al. 2005; Bates et al. 2023, "Testing for outliers with conformal p-values").

    Args:
        scores: (n,), finite or infinite.
        fpr: false-positive rate, in (0, 1).

    Raises:
        UserError: n is too small for such a rate.
    """
    n = len(scores)
    k = math.ceil((n + 1) * (1 - fpr) - 1e-9)
    if k > n:
        raise UserError(
            f"fpr={fpr:g} takes at least {math.ceil(1 / fpr - 1e-9) - 1:,} calibration images, and there are {n:,}"
        )
    return torch.sort(scores).values[k - 1].item()


def save(calibration: Calibration, folder: Path) -> Path:
    """Writes ``scores.json`` into a model's folder, and returns its path.

    Raises:
        CannotWrite: the disk refuses.
    """
    path = folder / FILE
    write_text(path, json.dumps({"format": FORMAT, **asdict(calibration)}, indent=1))
    return path


def load(folder: Path, digest: str) -> Calibration | None:
    """Reads ``scores.json`` from a model's folder; None if there is none.

    Raises:
        UserError: it is damaged, or of other weights.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text())
        if content.pop("format") != FORMAT:
            raise ValueError(f"its format is not {FORMAT}")
        found = Calibration(**content)
        if not all(isinstance(one, float | int) for one in (found.mean, found.fpr, *found.thresholds.values())):
            raise ValueError("thresholds are not numbers")
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(f"{path} is damaged ({error}): calibrate again, glow-score calibrate=true") from error
    if found.digest != digest:
        raise UserError(f"{path} is of other weights of this model: calibrate again, glow-score calibrate=true")
    return found


def usable(folder: Path, digest: str) -> Calibration | None:
    """Reads as :func:`load` does; None also where it refuses, for who can do without."""
    try:
        return load(folder, digest)
    except UserError:
        return None


def mean_of_training(folder: Path, digest: str, metrics: Mapping[str, float]) -> tuple[float, str] | None:
    """Returns the mean bits per dimension of images like the training images, and of which images, in words.

    The saved one, if a model's folder has a calibration; else that of validation or test images, from its card; else
    None.

    Args:
        folder: the model's folder.
        digest: SHA-256 digest of its weights.
        metrics: metrics on its card.
    """
    saved = usable(folder, digest)
    if saved is not None:
        return saved.mean, saved.mean_of
    known = ((f"{split}/bits_per_dim", words) for split, words in (("val", "validation"), ("test", "test")))
    return next(((metrics[key], f"the model's {words} images") for key, words in known if key in metrics), None)
