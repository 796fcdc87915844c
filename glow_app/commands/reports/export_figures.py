"""Results of ``glow-evaluate`` and ``glow-judge`` for the card of an exported model."""

import json
from pathlib import Path
from typing import Any

from glow_app.commands.common import run_folder
from glow_app.commands.reports import evaluate, judge
from glow_app.commands.reports.model_card import Judged, Turned
from glow_app.errors import UserError
from glow_app.model import Model

OF_ONE_MACHINE = ("root", "attributes", "cache", "cache_folder", "workers")
"""Options of the data that do not affect which images they are."""


def bits_per_dim(model: Model) -> dict[str, float]:
    """Reads the bits per dimension in fp32 on the model's own data; empty if there are none.

    The keys are those of :attr:`glow_app.artifacts.card.Card.metrics`.

    Raises:
        UserError: the file is damaged.
    """
    path = run_folder(model) / "evaluate" / evaluate.METADATA
    metadata = _metadata_of(model, path)
    if metadata is None or metadata["precision"] != "fp32":
        return {}
    reached, split = metadata["bits_per_dim"], metadata["split"]
    return {
        f"{split}/bits_per_dim": reached["mean"],
        f"{split}/standard_error": reached["standard_error"],
        f"{split}/images": reached["images"],
    }


def judgement(model: Model) -> Judged | None:
    """Reads the judge's results on the model's edits; None if there are none.

    Raises:
        UserError: the file is damaged.
    """
    path = run_folder(model) / "judge" / judge.METADATA
    metadata = _metadata_of(model, path)
    if metadata is None:
        return None
    methods = metadata["methods"]
    return Judged(
        metadata["images"],
        metadata["split"],
        metadata["amount"],
        {method: _turned(found["means"]) for method, found in methods.items()},
        {method: {one["attribute"]: _turned(one) for one in found["attributes"]} for method, found in methods.items()},
    )


def _turned(metrics: dict[str, Any]) -> Turned:
    return Turned(metrics["success"], metrics["drift"])


def _metadata_of(model: Model, path: Path) -> dict[str, Any] | None:
    """Reads a file; None unless it is of these very weights on the data that the model was trained on."""
    if not path.is_file():
        return None
    try:
        metadata = json.loads(path.read_text())
        same = metadata["digest"] == model.digest and _images(metadata["data"]) == _images(model.card.data)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(f"{path} is damaged ({error}): measure again, or delete it") from error
    return metadata if same else None


def _images(data: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in data.items() if key not in OF_ONE_MACHINE}
