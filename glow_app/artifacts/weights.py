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

from glow_app.artifacts.card import CARD, FORMAT, WEIGHTS, Card, model_folder, read_card
from glow_app.errors import UserError
from glow_app.flows import Flow
from glow_app.runtime.atomic import write_atomically, write_text

STORAGE = {"fp32": torch.float32, "bf16": torch.bfloat16}
"""How kernels of convolutions are stored -> their dtype. All else, a small part, is float32: to round scales and the
1x1 convolutions, which the log-determinant is made of, costs a hundred times as much in bits per dimension."""


class Exported(NamedTuple):
    """An exported model as it was found.

    Attributes:
        flow: in evaluation mode, on the CPU.
        card: what is known of it.
        digest: SHA-256 of the file of weights: the identity of the model.
        folder: where it lies.
        storage: one of :data:`STORAGE`; the flow is float32 in any case.
    """

    flow: Flow
    card: Card
    digest: str
    folder: Path
    storage: str


def export(flow: Flow, card: Card, folder: Path, storage: str = "fp32") -> None:
    """Writes ``model.safetensors`` and ``model.json`` into ``folder``.

    Args:
        flow: the model.
        card: what is known of it.
        folder: where to put it.
        storage: one of :data:`STORAGE`. What ``bf16`` rounds makes another model, if one that hardly differs.

    Raises:
        UserError: a weight is not finite, or the disk refuses.
    """
    state = {name: value.detach().cpu().contiguous() for name, value in flow.state_dict().items()}
    for name, value in state.items():
        if not torch.isfinite(value).all():
            raise UserError(f"the model is not exported: {name} holds values that are not finite")
    kernels = {name: value.to(STORAGE[storage]) for name, value in state.items() if value.dim() == 4}
    weights = safetensors.torch.save(state | kernels)
    write_atomically(folder / WEIGHTS, lambda file: file.write(weights))
    digest = hashlib.sha256(weights).hexdigest()
    text = json.dumps({"format": FORMAT, "sha256": digest, **dataclasses.asdict(card)}, indent=1, allow_nan=False)
    write_text(folder / CARD, text)


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
        weights = (folder / WEIGHTS).read_bytes()
        if hashlib.sha256(weights).hexdigest() != digest:
            raise UserError(f"{folder / WEIGHTS} is damaged, or not what {CARD} describes; export it again")
        state = safetensors.torch.load(weights)
        with torch.device("meta"):  # a card may come from anybody: nothing is allocated for one that the weights belie
            _build(card, folder).load_state_dict({name: value.to("meta") for name, value in state.items()})
        flow = _build(card, folder)
        flow.load_state_dict(state)  # into float32, whatever it is stored in
    except (OSError, RuntimeError, safetensors.SafetensorError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{folder / WEIGHTS} cannot be loaded ({reason}); export the model again") from error
    rounded = any(value.dtype == STORAGE["bf16"] for value in state.values())
    return Exported(flow.eval(), card, digest, folder, "bf16" if rounded else "fp32")


def _build(card: Card, folder: Path) -> Flow:
    try:
        return card.model.build(card.image_shape, len(card.class_names))
    except (ValueError, TypeError) as error:
        raise UserError(f"{folder / CARD} is damaged or not a model card ({error}); export the model again") from error
