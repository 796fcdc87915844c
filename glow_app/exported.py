"""Exported models: a folder of ``model.safetensors`` and ``model.json`` that holds what everybody needs of a model.

The weights, the model's shape, what it was trained on and what it reached. Loading one cannot execute code.
"""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import NamedTuple

import safetensors
import safetensors.torch
import torch

from glow_app.build import build_flow
from glow_app.card import CARD, FORMAT, WEIGHTS, Card, model_folder, read_card
from glow_app.durable import write_durably
from glow_app.errors import UserError
from glow_app.flows import Flow


class Exported(NamedTuple):
    """An exported model as it was found.

    Attributes:
        flow: in evaluation mode, on the CPU.
        card: what is known of it.
        digest: SHA-256 of the file of weights: the identity of the model.
        folder: where it lies.
    """

    flow: Flow
    card: Card
    digest: str
    folder: Path


def export(flow: Flow, card: Card, folder: Path) -> None:
    """Writes ``model.safetensors`` and ``model.json`` into ``folder``.

    Raises:
        UserError: a weight is not finite, or the disk refuses.
    """
    state = {name: value.detach().cpu().contiguous() for name, value in flow.state_dict().items()}
    for name, value in state.items():
        if not torch.isfinite(value).all():
            raise UserError(f"the model is not exported: {name} holds values that are not finite")
    weights = safetensors.torch.save(state)
    write_durably(folder / WEIGHTS, lambda file: file.write(weights))
    content = {"format": FORMAT, "sha256": hashlib.sha256(weights).hexdigest(), **dataclasses.asdict(card)}
    text = json.dumps(content, indent=1, allow_nan=False)
    write_durably(folder / CARD, lambda file: file.write(text.encode()))


def load(path: str | Path) -> Exported:
    """An exported model.

    Args:
        path: the folder of the export, or that of the run which contains it.

    Raises:
        UserError: there is no such model, or its files are damaged or do not belong together.
    """
    folder = model_folder(path)
    card, digest = read_card(folder)
    try:
        flow = build_flow(card.model, card.image_shape, len(card.class_names))
    except (ValueError, TypeError) as error:
        raise UserError(f"{folder / CARD} is damaged or not a model card ({error}); export the model again") from error
    try:
        weights = (folder / WEIGHTS).read_bytes()
        if hashlib.sha256(weights).hexdigest() != digest:
            raise UserError(f"{folder / WEIGHTS} is damaged, or not what {CARD} describes; export it again")
        flow.load_state_dict(safetensors.torch.load(weights))
    except (OSError, RuntimeError, safetensors.SafetensorError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{folder / WEIGHTS} cannot be loaded ({reason}); export the model again") from error
    return Exported(flow.eval(), card, digest, folder)
