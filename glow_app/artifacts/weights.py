"""Exported models: folders of ``model.safetensors`` and ``model.json``.

They hold the weights, the model's options, its training data and its metrics. Loading one cannot execute code.
"""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import NamedTuple

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from glow_app.artifacts.card import CARD, FORMAT, WEIGHTS, Card, model_folder, read_card
from glow_app.config.model import OwnModelConfig
from glow_app.errors import UserError
from glow_app.flows import Bijection, Flow
from glow_app.runtime.atomic import write_atomically, write_text

STORAGE = {"fp32": torch.float32, "bf16": torch.bfloat16}
"""Storage of convolution kernels -> their dtype.

All else, a small part, is float32: rounding scales and 1x1 convolutions, which determine the log-determinant, costs a
hundred times as much in bits per dimension.
"""


class Exported(NamedTuple):
    """An exported model, as loaded.

    Attributes:
        flow: flow in evaluation mode, on the CPU.
        card: metadata of the model.
        digest: SHA-256 of the weights file, which identifies the model.
        folder: folder of the model.
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
        card: metadata of the model.
        folder: folder to write into.
        storage: one of :data:`STORAGE`. ``bf16`` rounds, and so creates another model, if a very similar one.

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


def load(path: str | Path, flow: Flow | Bijection | None = None) -> Exported:
    """Loads an exported model.

    Args:
        path: folder of the export, or of the run that contains it.
        flow: for a model that was trained as an object of one's own: another of that class, which gets the weights.

    Raises:
        UserError: there is no such model, its files are damaged or do not belong together, or ``flow`` is missing, not
            needed, or has other weights.
    """
    folder = model_folder(path)
    card, digest = read_card(folder)
    own = card.model if isinstance(card.model, OwnModelConfig) else None
    if own is not None:
        own.flow = flow
    elif flow is not None:
        raise UserError(f"{folder} is a {card.model.name}, which is built from its files: leave flow out")
    try:
        weights = (folder / WEIGHTS).read_bytes()
        if hashlib.sha256(weights).hexdigest() != digest:
            raise UserError(f"{folder / WEIGHTS} is damaged, or not what {CARD} describes; export it again")
        state = safetensors.torch.load(weights)
        if own is None:
            with torch.device("meta"):  # a card is not trusted: nothing is allocated unless it fits the weights
                _build(card, folder).load_state_dict({name: value.to("meta") for name, value in state.items()})
        built = _build(card, folder)
        if own is not None:
            _require_weights_of(built, state, folder)
        built.load_state_dict(state)  # as float32, whatever the storage
    except (OSError, RuntimeError, safetensors.SafetensorError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{folder / WEIGHTS} cannot be loaded ({reason}); export the model again") from error
    rounded = any(value.dtype == STORAGE["bf16"] for value in state.values())
    return Exported(built.eval(), card, digest, folder, "bf16" if rounded else "fp32")


def _require_weights_of(flow: Flow, state: dict[str, Tensor], folder: Path) -> None:
    """Raises a UserError unless the weights in ``folder`` have the names and shapes of those of ``flow``."""
    wanted = flow.state_dict()
    for name in sorted(wanted.keys() | state.keys()):
        has, needs = (tuple(of[name].shape) if name in of else "nothing" for of in (state, wanted))
        if has != needs:
            raise UserError(
                f"{folder} is another {flow.kind}: {name} has {has}, and the one that is given needs {needs}"
            )


def _build(card: Card, folder: Path) -> Flow:
    try:
        return card.model.build(card.image_shape, len(card.class_names))
    except (ValueError, TypeError) as error:
        raise UserError(f"{folder / CARD} is damaged or not a model card ({error}); export the model again") from error
