"""``glow-train`` and ``glow-directions`` for programs and notebooks."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from torch import nn

from glow_app.cli.compose import composed
from glow_app.cli.resume import require_like
from glow_app.commands.common import labelled_images, require_classes
from glow_app.commands.directions import find
from glow_app.config.check import check, check_choice
from glow_app.config.commands import METHODS
from glow_app.config.data import OwnDataConfig
from glow_app.config.editing import DirectionsConfig
from glow_app.config.model import OwnModelConfig
from glow_app.config.paths import as_path
from glow_app.config.train import AUTO, TrainConfig
from glow_app.data.sets.own import as_source
from glow_app.data.source import SPLITS, ImageSource
from glow_app.errors import UserError
from glow_app.flows import Bijection, Flow
from glow_app.latents.directions import Directions
from glow_app.model import Model, load
from glow_app.runtime import distributed
from glow_app.training.checkpoints.format import newest_whole
from glow_app.training.checkpoints.run_folder import new_run_folder, remove_if_empty
from glow_app.training.run import fit
from glow_app.training.trainer import layout

OF_THE_COMMAND = ("resume", "estimate", "report", "debug")
"""Options that only a command line has."""


def train(
    data: Any, model: Any, output: str | Path | None, resume: bool, quiet: bool, options: dict[str, Any]
) -> Model:
    """See :func:`glow_app.train`."""
    distributed.require_one("glow_app.train")
    for key in OF_THE_COMMAND:
        if key in options:
            raise UserError(f"{key} is an option of the command glow-train alone: leave it out")
    images, data = _images(data)
    flow = model if isinstance(model, nn.Module) else None
    if flow is not None:
        if not isinstance(flow, Flow | Bijection):
            raise UserError(f"model is a {type(flow).__name__}: give a Flow, a Bijection, or the name of a model")
        conditional = isinstance(flow, Flow) and flow.n_classes > 0
        model = {"name": "own", "source": flow.kind, "class_conditional": conditional}
    named = {key: value for key, value in (("data", data), ("model", model)) if value is not None}
    whole = composed("train", {**options, **named})
    if whole.trainer.devices is None:
        whole.trainer.devices = 1
    if resume:
        whole.resume = AUTO
    config = check(whole, TrainConfig)
    if layout(config.trainer).world_size > 1:
        raise UserError(f"trainer.devices={config.trainer.devices}: several processes are for glow-train; choose 1")
    if isinstance(config.data, OwnDataConfig):
        config.data.splits = images
    if isinstance(config.model, OwnModelConfig):
        config.model.flow = flow
    console = Console(quiet=quiet)
    folder, checkpoint = _run_and_checkpoint(config, output, resume, console)
    try:
        fit(config, folder, checkpoint, console)
    finally:
        if output is None:
            remove_if_empty(folder)
    return load(folder, flow=flow)


def find_directions(model: Model, images: Any, method: str, quiet: bool, options: dict[str, Any]) -> Directions:
    """See :func:`glow_app.find_directions`."""
    distributed.require_one("glow_app.find_directions")
    check_choice("method", method, METHODS)
    given, data = _images(images)
    if not given:
        raise UserError(f"images is {images!r}: give an object with images and their attributes")
    source = given["train"]
    if source.image_shape != model.image_shape:
        raise UserError(f"the images are {source.image_shape}, and the model takes {model.image_shape}")
    require_classes(model, source)
    config = check(composed("directions", {**options, "data": data, "checkpoint": model.folder}), DirectionsConfig)
    console = Console(quiet=quiet)
    found = find(model, labelled_images(source, console), config, console)
    for one in found:
        if one.method == method:
            return one
    raise UserError(f"method={method}: only {', '.join(one.method for one in found)} were found")


def _images(data: Any) -> tuple[dict[str, ImageSource], Any]:
    """The splits of data objects, if there are any, and the options of the data set."""
    if data is None or isinstance(data, str):
        return {}, data
    given = data if isinstance(data, Mapping) else {"train": data}
    objects = {key: value for key, value in given.items() if key in SPLITS}
    if not objects:
        return {}, data
    if "train" not in objects:
        raise UserError(f"data has {' and '.join(objects)} images, and none to train on: add 'train'")
    for split, value in objects.items():
        if not (hasattr(value, "__len__") and hasattr(value, "__getitem__")) or isinstance(value, str):
            raise UserError(
                f"the {split} data is a {type(value).__name__}: give the name of a data set, or an object with a "
                "length and an image for every index"
            )
    images = {split: as_source(value, split) for split, value in objects.items()}
    shape = images["train"].image_shape
    for split, source in images.items():
        if source.image_shape != shape:
            raise UserError(f"the {split} images are {source.image_shape}, and the training images {shape}")
        known = len(images["train"].class_names)
        if known and source.classes is not None and int(source.classes.max()) >= known:
            raise UserError(
                f"the {split} images have a class {int(source.classes.max())}, and the training images only 0 to "
                f"{known - 1}"
            )
    rest = {key: value for key, value in given.items() if key not in SPLITS}
    kind = type(objects["train"]).__name__
    return images, {"name": "own", "source": kind, "channels": shape[0], "image_size": list(shape[1:]), **rest}


def _run_and_checkpoint(
    config: TrainConfig, output: str | Path | None, resume: bool, console: Console
) -> tuple[Path, Path | None]:
    """The folder of the run, and the checkpoint to resume from."""
    if output is None:
        if resume:
            raise UserError("resume=True resumes the run in output: name its folder, output=...")
        return new_run_folder(config.name), None
    folder = Path(as_path(str(output)))
    if not (folder / "config.yaml").exists():
        return folder, None
    if not resume:
        raise UserError(f"{folder} is the folder of a run: resume=True resumes it; or choose another output")
    require_like(config, folder)
    return folder, newest_whole(folder, console)
