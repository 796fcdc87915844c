"""The card of an exported model, ``model.json``: its metadata, readable without torch."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glow_app.artifacts.hub import local
from glow_app.artifacts.shipped import models
from glow_app.config.check import check_choice, check_ranges, did_you_mean
from glow_app.config.model import MODEL_SCHEMAS, ModelConfig
from glow_app.errors import UserError
from glow_app.units import Bits

FORMAT = 1
WEIGHTS, CARD = "model.safetensors", "model.json"


@dataclass(frozen=True)
class Card:
    """The metadata of an exported model.

    Attributes:
        model: the model's options.
        image_shape: (C, H, W).
        n_bits: bits per subpixel; None for points in the plane.
        class_names: class names of a conditional model, else empty.
        data: options of the training data.
        preprocessing: what happened to the pixels, in words.
        step: number of updates so far.
        weights: ``averaged`` or ``raw``.
        metrics: finite metrics, such as ``test/bits_per_dim``.
        versions: versions of the libraries.
        eyes: mean centres of the eyes in the training images, x1, y1, x2, y2 as fractions of width and height; None if
            they are not known.
        command: command that trained it, if known.
        init_from: name of the model whose weights training started from, if any.
        teacher: name of the model that it was distilled from, if any.
        seconds: wall-clock seconds of training, with its validations and samples; None if they are not known.
        hardware: what it was trained on, such as ``2 threads of AMD EPYC``, if known.
    """

    model: ModelConfig
    image_shape: tuple[int, int, int]
    n_bits: Bits
    class_names: tuple[str, ...]
    data: dict[str, Any]
    preprocessing: str
    step: int
    weights: str
    metrics: dict[str, float]
    versions: dict[str, str]
    eyes: tuple[float, float, float, float] | None = None
    command: str | None = None
    init_from: str | None = None
    teacher: str | None = None
    seconds: float | None = None
    hardware: str | None = None


def model_folder(path: str | Path) -> Path:
    """The folder of an exported model.

    Args:
        path: that folder, or the folder of the run that contains it; or the name of a shipped model; or
            ``hf://owner/name``.

    Raises:
        UserError: there is no such model.
    """
    folder = local(path)
    if (folder / "model" / CARD).is_file():
        folder = folder / "model"
    if (folder / CARD).is_file():
        return folder
    if folder.is_file():
        raise UserError(f"{path} is a file: give the folder of the run, or one that holds {CARD} and {WEIGHTS}")
    names = models()
    if str(path) in names:
        raise UserError(f"no model at {path}, a folder that hides the shipped model: name that one {names[str(path)]}")
    known = f", or name a shipped model ({', '.join(names)})" if names else ""
    near = did_you_mean(str(path), list(names))
    raise UserError(
        f"no model at {path}: give the folder of a run, or one that holds {CARD} and {WEIGHTS}{known}{near}"
    )


def read_card(folder: Path) -> tuple[Card, str]:
    """Reads the card in a model's folder, and the SHA-256 digest of the weights that it describes.

    Raises:
        UserError: the card is damaged, or of another format.
    """
    try:
        content = json.loads((folder / CARD).read_text())
        if content.pop("format") != FORMAT:
            raise UserError(
                f"{folder / CARD} has another format than {FORMAT}: it was written by another version of glow_app"
            )
        digest = str(content.pop("sha256"))
        content["model"] = _model_options(content["model"])
        check_ranges(content["model"], "model.")
        if content["n_bits"] == 0:  # in earlier cards of points
            content["n_bits"] = None
        content["image_shape"] = tuple(content["image_shape"])
        content["class_names"] = tuple(content["class_names"])
        if content.get("eyes") is not None:
            x1, y1, x2, y2 = map(float, content["eyes"])
            content["eyes"] = (x1, y1, x2, y2)
        card = Card(**content)
        str(card.data["name"])
        if [type(side) for side in card.image_shape] != [int] * 3 or min(card.image_shape) < 1:
            raise ValueError(f"image_shape is {list(card.image_shape)}, not the three of an image")
        if card.n_bits is not None and card.n_bits not in range(1, 9):
            raise ValueError(f"n_bits is {card.n_bits!r}, not one of 1 to 8, nor null for points")
        if not all(isinstance(value, int | float) for value in card.metrics.values()):
            raise ValueError("metrics are not numbers")
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(f"{folder / CARD} is damaged or not a model card ({error}); export the model again") from error
    return card, digest


def _model_options(values: dict[str, Any]) -> ModelConfig:
    check_choice("model.name", str(values["name"]), tuple(MODEL_SCHEMAS))
    return MODEL_SCHEMAS[values["name"]](**values)
