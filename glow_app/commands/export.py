"""``glow-export``: a model for others to use, without paths of this machine."""

import dataclasses
import re
from pathlib import Path
from typing import Any

from rich.console import Console

from glow_app import figures
from glow_app.artifacts.card import Card
from glow_app.artifacts.decoder import save_onnx, save_torch
from glow_app.artifacts.weights import STORAGE
from glow_app.artifacts.weights import export as export_model
from glow_app.commands.common import directions_folder, open_model, run_folder, thresholds_folder
from glow_app.commands.reports import export_figures
from glow_app.commands.reports.model_card import model_card
from glow_app.config.check import PATHS
from glow_app.config.commands import METHODS, ExportConfig
from glow_app.errors import UserError
from glow_app.latents import directions as attribute_vectors
from glow_app.latents.directions import METADATA, Directions
from glow_app.model import Model
from glow_app.runtime.atomic import write_text
from glow_app.runtime.console import say
from glow_app.scores import thresholds

N_SAMPLES, COLUMNS = 32, 8


def export(config: ExportConfig, made_by: str | None, console: Console) -> None:
    """Writes a folder that :func:`glow_app.load` and the Hugging Face hub can read, or the decoder as one file.

    Args:
        config: options of the command.
        made_by: command that trained the model, if known.
        console: console to print to.

    Raises:
        UserError: the model, its directions or a package is missing, or the files cannot be written.
    """
    if config.license is not None and not re.fullmatch(r"\w[\w.+-]*", config.license):
        raise UserError(f"license={config.license!r} is no identifier of a licence: write one such as mit or cc-by-4.0")
    model = open_model(config, vae=True)
    folder = Path(config.output) if config.output is not None else run_folder(model) / "export"
    if config.format != "folder":
        suffix, save = ("pt2", save_torch) if config.format == "torch" else ("onnx", save_onnx)
        path = folder / f"decoder.{suffix}"
        difference = save(model.flow.cpu(), path)
        say(console, f"{path}: differs from the model by at most {difference:.1g} in x, which is in [-0.5, 0.5]")
        return
    if folder.resolve() == model.folder.resolve():
        raise UserError(f"output={folder} is the model's own folder: choose another folder")
    storage = config.storage or model.storage
    same = storage == model.storage  # the same bits, and so the same digest
    directions = _directions(config, model, same)
    others = folder / "directions"
    if not directions and others.exists():
        raise UserError(f"{others} belongs to another model and would be exported with this one: choose another folder")
    metrics = model.card.metrics | export_figures.bits_per_dim(model) if same else {}
    judged = export_figures.judgement(model) if directions else None
    export_model(model.flow, _card(model, made_by, metrics), folder, storage)
    if directions:
        attribute_vectors.save(directions, folder / "directions", STORAGE[storage])
    if same and (calibration := thresholds.usable(thresholds_folder(model), model.digest)):
        thresholds.save(calibration, folder)
    written = open_model(config, str(folder), vae=True)
    samples = written.sample(N_SAMPLES, config.temperature, config.seed)
    figures.save_png(figures.grid(samples, COLUMNS), folder / "samples.png")
    first = directions[0] if directions else None
    text = model_card(written, folder.resolve().name, config.license, first, judged, config.temperature)
    write_text(folder / "README.md", text)
    say(console, f"exported to {folder}: read README.md, then")
    if not same:
        say(
            console,
            f"  glow-evaluate checkpoint={folder}   (and glow-directions, glow-judge: {storage} changes the weights,",
        )
        say(console, f"  glow-export checkpoint={folder} output=...   and another export shows their results)")
    say(console, f"  glow-sample checkpoint={folder}")
    say(console, f"  hf upload OWNER/NAME {folder} .")


def _card(model: Model, made_by: str | None, metrics: dict[str, float]) -> Card:
    """Returns the card of the model, without paths of this machine."""
    data, command = _portable(model.card.data), made_by or model.card.command
    return dataclasses.replace(model.card, data=data, command=command, metrics=metrics)


def _directions(config: ExportConfig, model: Model, same: bool) -> list[Directions]:
    """Loads the directions of all methods found.

    Without ``directions=``, returns [] if there are none or if the export has other weights.
    """
    if not same:
        if config.directions is not None:
            raise UserError(
                f"directions={config.directions}: storage={config.storage} changes the weights, so they do not fit; "
                "export it without directions, make directions for the export, and export that again"
            )
        return []
    folder = directions_folder(config.directions, model)
    if config.directions is None and not (folder / METADATA).is_file():
        return []
    found: list[Directions] = []
    for method in METHODS:
        try:
            found.append(attribute_vectors.load(folder, method))
        except UserError as error:
            if not str(error).startswith(f"method={method}"):
                raise
    for one in found:
        one.require(model.digest)
    return [dataclasses.replace(one, metadata=_portable_metadata(one.metadata)) for one in found]


def _portable_metadata(metadata: dict[str, Any]) -> dict[str, Any]:
    data = metadata.get("data")
    kept = {key: value for key, value in metadata.items() if key not in ("model", "data")}
    return kept | ({"data": _portable(data)} if isinstance(data, dict) else {})


def _portable(data: dict[str, Any]) -> dict[str, Any]:
    """Options of the data with the last part of each place: where the data are is for the one to say who has them."""
    paths = {key for key in data if {f"data.{key}", key} & PATHS.keys()} - ({"root"} if data["name"] == "hf" else set())
    known = {key: Path(value).name if key in paths and value else value for key, value in data.items()}
    return known | ({"cache_folder": None} if "cache_folder" in known else {})
