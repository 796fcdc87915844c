"""Shared helpers of the commands that use a trained model: the model, the output folder, pictures and labels."""

import dataclasses
import os
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from glow_app.artifacts.card import Card
from glow_app.artifacts.hub import local
from glow_app.artifacts.shipped import is_shipped
from glow_app.build import PRECISIONS, forbid_tf32, open_split
from glow_app.config.check import did_you_mean, no_gpu
from glow_app.config.commands import ComputeConfig, EvaluateConfig, OpenConfig, Plot2dConfig, UseConfig
from glow_app.config.data import DataConfig
from glow_app.config.models.continuous import FIXED, method_and_number
from glow_app.data.identity import difference
from glow_app.data.source import EmptySplit, ImageSource, Labelled, fingerprint_digest
from glow_app.data.stream import evenly_spaced
from glow_app.errors import UserError
from glow_app.evaluation.likelihood import Likelihood, measure_likelihood
from glow_app.flows import CNF, VAE, Flow
from glow_app.model import Model, load
from glow_app.runtime import distributed
from glow_app.runtime.console import counting, say
from glow_app.runtime.malloc import keep_freed_memory


def open_model(config: OpenConfig, path: str | None = None, vae: bool = False) -> Model:
    """Opens a model of images with :func:`open_any_model`.

    Raises:
        UserError: the model or the device does not exist, or the model is one of points in the plane.
    """
    model = open_any_model(config, path, vae)
    if model.n_bits is None:
        raise UserError(
            f"{config.checkpoint} is a model of points in the plane, and this command is for images: look at it with "
            f"glow-plot2d checkpoint={config.checkpoint}"
        )
    return model


def open_any_model(config: OpenConfig, path: str | None = None, vae: bool = False) -> Model:
    """Opens the model at ``config.checkpoint`` (or ``path``), of images or of points.

    Args:
        config: options of the command.
        path: the model; None for ``config.checkpoint``.
        vae: whether the command takes a VAE, which has no exact density and no exact latents.

    Raises:
        UserError: the model or the device does not exist, ``solver`` is for another kind of model, or it is a VAE.
    """
    model = load(path or str(config.checkpoint), device_of(config))
    if isinstance(model.flow, VAE) and not vae:
        raise UserError(
            f"{path or config.checkpoint} is a VAE, without exact densities and latents: glow-evaluate checkpoint=, "
            "glow-sample, glow-interpolate and glow-export take it; choose a flow for this"
        )
    model.flow.set_conditioner_dtype(PRECISIONS[config.precision])
    if config.solver is not None:
        _set_solver(model.flow, config.solver, path or str(config.checkpoint))
    return model


def _set_solver(flow: Flow, text: str, path: str) -> None:
    method, number = method_and_number(text)
    if not isinstance(flow, CNF):
        raise UserError(f"solver={text} is for continuous flows, and {path} is a {flow.kind}: leave it out")
    how = {"n_steps": int(number)} if method in FIXED else {"rtol": number, "atol": number}
    flow.ode.solver = dataclasses.replace(flow.ode.solver, method=method, **how)


def device_of(config: ComputeConfig) -> torch.device:
    """Returns the device to compute on.

    Raises:
        UserError: ``device=cuda`` on a machine without one.
    """
    if config.device == "cuda" and not torch.cuda.is_available():
        raise no_gpu("device", "cuda")
    forbid_tf32()
    if config.device == "cpu" or not torch.cuda.is_available():
        keep_freed_memory()
        return torch.device("cpu")
    return torch.device("cuda", distributed.local_rank())


def output_folder(config: UseConfig | Plot2dConfig, model: Model, command: str) -> Path:
    """Creates and returns the output folder: ``output=``, or ``<command>/`` in :func:`run_folder`.

    Raises:
        UserError: the folder is not writable; checked here, before the work.
    """
    return output_folder_at(Path(config.output) if config.output is not None else run_folder(model) / command)


def output_folder_at(folder: Path) -> Path:
    """Creates and returns a folder for output.

    Raises:
        UserError: the folder is not writable; checked here, before the work.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        reason = None if os.access(folder, os.W_OK) else "no permission"
    except OSError as error:
        reason = error.strerror
    if reason:
        raise UserError(f"nothing can be written into {folder} ({reason}): choose another folder, output=...")
    return folder


def run_folder(model: Model) -> Path:
    """Returns the run that a model belongs to; for a model without a run, a folder in ``outputs/``.

    It is ``outputs/<name>/`` for a shipped model and ``outputs/<folder>-<digest>/`` for any other: two of these may
    have the same folder name.
    """
    run, name = model.folder.parent, model.folder.name
    if is_shipped(model.folder):
        return Path("outputs", name)
    return run if (run / "config.yaml").exists() else Path("outputs", f"{name}-{model.digest[:8]}")


def directions_folder(path: str | None, model: Model) -> Path:
    """Returns ``directions=``, else the folder in the model's own, else the one that glow-directions writes for it."""
    if path is not None:
        return local(path)
    own = model.folder / "directions"
    return own if own.is_dir() else run_folder(model) / "directions"


def thresholds_folder(model: Model) -> Path:
    """Returns where glow-score saves thresholds: a model's folder, or, of a shipped model, that of its outputs."""
    return run_folder(model) if is_shipped(model.folder) else model.folder


def on_training_images(model: Model, config: EvaluateConfig, console: Console) -> Likelihood | None:
    """Measures the likelihood of training images for the train-test gap; None if it is not asked for."""
    if config.gap_images == 0 or config.split == "train":
        return None
    try:
        train = open_split_of(model, config.data, "train", console)
    except EmptySplit as reason:
        say(console, f"no train-test gap: {reason}")
        return None
    indices = evenly_spaced(range(len(train)), config.gap_images)
    with counting(console, "bits/dim of training images") as progress:
        how = (model.n_bits, config.seed, config.batch_size, config.data.workers)
        return measure_likelihood(model.flow, train, indices, *how, progress)


def images_between(source: ImageSource, key: str, first: int, n: int) -> range:
    """Returns the numbers of ``n`` images (0: all) from ``first`` on; ``key`` is the option that sets ``first``.

    Raises:
        UserError: there are no such images.
    """
    if first >= len(source):
        raise UserError(f"{key}={first}: {source.name} {source.split} has the images 0 to {len(source) - 1}")
    return range(first, min(first + n, len(source)) if n else len(source))


def open_split_of(model: Model, data: DataConfig, split: str, console: Console) -> ImageSource:
    """Opens a split of a data set that fits the model.

    Raises:
        UserError: the data set is missing, or its images or classes do not fit.
    """
    source = open_split(data, split, console, bool(model.flow.n_classes))
    if source.image_shape != model.image_shape:
        raise UserError(
            f"images of data={data.name} are {_shape(source.image_shape)}, and the model takes "
            f"{_shape(model.image_shape)}: choose data available in that shape"
        )
    require_classes(model, source)
    if data.name == model.card.data["name"] and (text := difference(source, run_folder(model))):
        say(console, f"note: {text}")
    return source


def open_labelled_split_of(model: Model, data: DataConfig, split: str, console: Console) -> ImageSource:
    """Opens a split as :func:`open_split_of` does, without images whose attributes are unknown; says how many they are.

    Raises:
        UserError: as there, or the attributes of all images are unknown.
    """
    return labelled_images(open_split_of(model, data, split, console), console)


def labelled_images(source: ImageSource, console: Console) -> ImageSource:
    """Returns the images of a source whose attributes are known; says how many are left out, if any are.

    Raises:
        UserError: the attributes of all images are unknown.
    """
    if source.labelled is None or source.attributes is None:
        return source
    labelled = Labelled(source)
    what = f"the table of attributes has no row for {len(source) - len(labelled):,} of the {len(source):,} images"
    if not len(labelled):
        raise UserError(f"data={source.name} {source.split}: {what}; add rows, or choose another split")
    say(console, f"{source.name} {source.split}: {what}, which are left out here")
    return labelled


def require_classes(model: Model, source: ImageSource) -> None:
    """Raises a UserError if a conditional model has other classes than the data."""
    if model.flow.n_classes and len(source.class_names) != model.flow.n_classes:
        raise UserError(
            f"the model knows {model.flow.n_classes} classes, and data={source.name} has {len(source.class_names)}: "
            "choose the data that it was trained on"
        )
    if model.flow.n_classes and source.class_names != model.card.class_names:
        pairs = zip(model.card.class_names, source.class_names, strict=True)
        known, found = next((known, found) for known, found in pairs if known != found)
        raise UserError(
            f"the model knows a class {known} where data={source.name} has {found}: choose the data that it was "
            "trained on"
        )


def _shape(shape: tuple[int, int, int]) -> str:
    return "x".join(map(str, shape))


def file_name(text: str) -> str:
    """Returns any text as a valid part of a file name: letters, digits, ``_`` and ``-``."""
    return re.sub(r"[^\w-]+", "_", text).strip("_") or "image"


def class_number(card: Card, label: str) -> int:
    """Returns the number of a class, given its name or its number.

    Raises:
        UserError: the model has no such class, or no classes.
    """
    names = list(card.class_names)
    if not names:
        raise UserError(f"label={label}: this model is not class-conditional; leave it out")
    if label in names:
        return names.index(label)
    if label.isdecimal() and int(label) < len(names):
        return int(label)
    raise UserError(f"label={label} is not one of {', '.join(names)}{did_you_mean(label, names)}")


def metadata_of(model: Model, source: ImageSource, config: UseConfig) -> dict[str, Any]:
    """Returns the model, the data and the options, JSON-ready: enough to reproduce the metrics."""
    return {
        "model": str(model.folder),
        "digest": model.digest,
        "step": model.card.step,
        "weights": model.card.weights,
        "data": dataclasses.asdict(config.data),
        "split": source.split,
        "preprocessing": source.preprocessing,
        "fingerprint": fingerprint_digest(source),
        "n_bits": model.n_bits,
        "seed": config.seed,
        "precision": config.precision,
        "device": str(model.device),
        **({"solver": model.flow.ode.settings()} if isinstance(model.flow, CNF) else {}),
        "versions": {name: version(name) for name in ("glow_app", "torch", "numpy", "pillow")},
    }
