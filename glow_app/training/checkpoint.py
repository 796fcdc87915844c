"""Two kinds of checkpoint.

``checkpoints/step_*.ckpt`` holds everything that a run needs to go on, and is Lightning's. An exported model, a folder
of ``model.safetensors`` and ``model.json``, holds what everybody else needs: the weights, the model's shape, what it
was trained on and what it reached. Neither can execute code when it is loaded.
"""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO

from glow_app.build import build_flow
from glow_app.config import ModelConfig
from glow_app.config_check import check_ranges
from glow_app.durable import write_durably
from glow_app.errors import UserError
from glow_app.flows import Glow

FORMAT = 1
WEIGHTS, CARD = "model.safetensors", "model.json"


@dataclass(frozen=True)
class Card:
    """What is known of an exported model.

    Attributes:
        model: the model's options.
        image_shape: (C, H, W).
        n_bits: bits per subpixel.
        class_names: of a conditional model, else empty.
        data: the data set's options as it was trained on.
        preprocessing: what happened to the pixels, in words.
        step: updates of the weights so far.
        weights: ``averaged`` or ``raw``.
        metrics: finite figures reached, such as ``test/bits_per_dim``.
        versions: of the libraries.
    """

    model: ModelConfig
    image_shape: tuple[int, int, int]
    n_bits: int
    class_names: tuple[str, ...]
    data: dict[str, Any]
    preprocessing: str
    step: int
    weights: str
    metrics: dict[str, float]
    versions: dict[str, str]


def export(flow: Glow, card: Card, folder: Path) -> None:
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


def load(path: str | Path) -> tuple[Glow, Card]:
    """An exported model: the flow, in evaluation mode on the CPU, and its card.

    Args:
        path: the folder of the export, or that of the run which contains it.

    Raises:
        UserError: there is no such model, or its files are damaged or do not belong together.
    """
    folder = Path(path).expanduser()
    if (folder / "model" / CARD).exists():
        folder = folder / "model"
    if not (folder / CARD).exists():
        raise UserError(f"no model at {path}: give the folder of a run, or one that holds {CARD} and {WEIGHTS}")
    try:
        content = json.loads((folder / CARD).read_text())
        if content.pop("format") != FORMAT:
            raise UserError(
                f"{folder / CARD} has another format than {FORMAT}: it was written by another version of glow_app"
            )
        digest = content.pop("sha256")
        content["model"] = ModelConfig(**content["model"])
        check_ranges(content["model"], "model.")
        content["image_shape"] = tuple(content["image_shape"])
        content["class_names"] = tuple(content["class_names"])
        card = Card(**content)
        flow = build_flow(card.model, card.image_shape, len(card.class_names))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(f"{folder / CARD} is damaged or not a model card ({error}); export the model again") from error
    try:
        weights = (folder / WEIGHTS).read_bytes()
        if hashlib.sha256(weights).hexdigest() != digest:
            raise UserError(f"{folder / WEIGHTS} is damaged, or not what {CARD} describes; export it again")
        flow.load_state_dict(safetensors.torch.load(weights))
    except (OSError, RuntimeError, safetensors.SafetensorError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{folder / WEIGHTS} cannot be loaded ({reason}); export the model again") from error
    return flow.eval(), card


class DurableCheckpointIO(TorchCheckpointIO):
    """Writes Lightning's checkpoints whole or not at all."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        write_durably(Path(path), lambda file: torch.save(checkpoint, file))


def checkpoints_of(run_folder: Path) -> list[Path]:
    """The checkpoints of a run from which it can go on, oldest first."""
    return sorted((run_folder / "checkpoints").glob("step_*.ckpt"))


def checkpoint_path(run_folder: Path, step: int) -> Path:
    """Where the checkpoint of ``step`` is, or will be."""
    return run_folder / "checkpoints" / f"step_{step:08d}.ckpt"


def find_run(resume: str) -> tuple[Path, Path]:
    """The folder of the run, and the checkpoint, that ``resume`` means: a run (its newest checkpoint) or a checkpoint.

    Raises:
        UserError: there is no such run, or nothing in it to go on from.
    """
    path = Path(resume).expanduser()
    if path.is_file():
        return path.parent.parent, path
    found = checkpoints_of(path)
    if not found:
        what = "has no checkpoint yet" if path.is_dir() else "does not exist"
        raise UserError(
            f"resume={resume}: this run {what}; give the folder of a run, or a file checkpoints/step_*.ckpt"
        )
    return path, found[-1]
