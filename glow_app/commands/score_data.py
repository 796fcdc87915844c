"""The images that ``glow-score`` is given: files, a data set, other data sets to compare with, training images."""

import dataclasses
import os
from typing import Any

import yaml
from rich.console import Console

from glow_app.artifacts import shipped
from glow_app.artifacts.card import Card
from glow_app.commands.common import open_split_of, thresholds_folder
from glow_app.config.check import check_choice
from glow_app.config.commands import ScoreConfig
from glow_app.config.data import DATA_SCHEMAS, DataConfig, PointsConfig
from glow_app.data.sets.files import Files
from glow_app.data.source import ImageSource
from glow_app.data.stream import evenly_spaced
from glow_app.errors import UserError
from glow_app.evaluation.likelihood import measure_likelihood
from glow_app.model import Model
from glow_app.runtime.console import counting, say
from glow_app.scores import thresholds
from glow_app.scores.controls import CONTROLS, Controls

NAMES = tuple(name for name, schema in DATA_SCHEMAS.items() if name != "own" and not issubclass(schema, PointsConfig))
"""Data sets of images that a command can open."""


def open_images(model: Model, config: ScoreConfig, console: Console) -> ImageSource:
    """Opens ``images``, or else the split of the data set.

    Raises:
        UserError: they are missing, or do not fit the model.
    """
    if config.images is None:
        return open_split_of(model, config.data, config.split, console)
    if model.flow.n_classes and config.label is None:
        known = ", ".join(model.card.class_names)
        raise UserError(f"this model is class-conditional: add the class of the images, label=..., one of {known}")
    return Files(config.images, model.image_shape, model.card.data)


def open_other(text: str, model: Model, config: ScoreConfig, console: Console) -> ImageSource:
    """Opens one of ``against``: noise, constant, NAME:FOLDER of a data set, or files.

    Raises:
        UserError: there is no such data set or file, or the images do not fit the model.
    """
    if text in CONTROLS:
        return Controls(text, model.image_shape, config.seed)
    name, colon, root = text.partition(":")
    if os.path.exists(text) or not colon:
        if text in NAMES and not os.path.exists(text):
            if text == "drawn_faces":
                return _named(text, text, None, model, config, console)
            raise UserError(f"against={text} needs the folder of its files: against={text}:/path/to/it")
        return Files([text], model.image_shape, model.card.data)
    check_choice("against", name, NAMES)
    if not os.path.isdir(root) and not os.path.isfile(root):
        raise UserError(f"against={text}: there is no {root}; name the folder that holds the data set")
    return _named(text, name, root, model, config, console)


def _named(text: str, name: str, root: str | None, model: Model, config: ScoreConfig, console: Console) -> ImageSource:
    """Opens a data set of ``against`` by its name."""
    data = named_data(name, root, model.image_shape, model.n_bits)
    try:
        return open_split_of(model, data, config.against_split, console)
    except UserError as error:
        shape = "x".join(map(str, model.image_shape))
        raise UserError(f"against={text} cannot be compared with images of this model, {shape}: {error}") from error


def named_data(name: str, root: str | None, image_shape: tuple[int, int, int], n_bits: int | None) -> DataConfig:
    """Returns the options of a data set by its name: its file's in ``conf/data``, for images of a model."""
    channels, height, width = image_shape
    values: dict[str, Any] = yaml.safe_load((shipped.folder("conf") / "data" / f"{name}.yaml").read_text())
    known = {"root": root, "n_bits": n_bits, "channels": channels}
    known["image_size"] = height if height == width else [height, width]
    values |= {key: value for key, value in known.items() if key in values}
    return DATA_SCHEMAS[name](**values)


def mean_of_training(model: Model, config: ScoreConfig, console: Console) -> tuple[float, str] | None:
    """Returns the mean bits per dimension of training images, and of which images, in words.

    Measured on ``mean_images`` training images if these are on this machine; else what
    :func:`glow_app.scores.thresholds.mean_of_training` knows.
    """
    if config.mean_images:
        try:
            train = _training_images(model, config, console)
            indices = evenly_spaced(range(len(train)), config.mean_images)
            with counting(console, "bits/dim of training images") as progress:
                how = (model.n_bits, config.seed, config.batch_size, config.data.workers)
                found = measure_likelihood(model.flow, train, indices, *how, progress)
        except (UserError, TypeError) as reason:
            say(console, f"training images cannot be opened ({reason})")
        else:
            return found.mean, f"{len(indices):,} training images"
    return thresholds.mean_of_training(thresholds_folder(model), model.digest, model.card.metrics)


def _training_images(model: Model, config: ScoreConfig, console: Console) -> ImageSource:
    data = config.data if config.data.name == model.card.data["name"] else data_of_card(model.card)
    if data.missing is not None:
        raise UserError(f"there is no {data.missing}")
    return open_split_of(model, data, "train", console)


def data_of_card(card: Card) -> DataConfig:
    """Returns the options of the data set that a model was trained on.

    Raises:
        UserError: a command cannot open it.
    """
    if card.data["name"] not in NAMES:
        raise UserError(f"data={card.data['name']} are of a program")
    schema = DATA_SCHEMAS[card.data["name"]]
    fields = {field.name for field in dataclasses.fields(schema)}
    return schema(**{key: value for key, value in card.data.items() if key in fields})
