"""Glow: a multiscale, invertible image model with exact likelihoods (Kingma & Dhariwal 2018).

``glow_app.load(path)`` returns a trained model, whose methods are the main interface. The public names are in
``__all__``: functions and classes, and the modules that the API reference documents.
"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from glow_app import artifacts, errors, evaluation, flows, latents, likelihood, model, noise, scores, units
    from glow_app.data.source import ImageSource
    from glow_app.flows import Bijection, Flow
    from glow_app.latents.directions import Directions
    from glow_app.model import Model

__all__ = [
    "ImageSource",
    "Model",
    "artifacts",
    "errors",
    "evaluation",
    "find_directions",
    "flows",
    "latents",
    "likelihood",
    "load",
    "load_directions",
    "model",
    "noise",
    "scores",
    "train",
    "units",
]

CLASSES = {"ImageSource": "glow_app.data.source", "Model": "glow_app.model"}
"""Public classes -> the modules that define them."""


def __getattr__(name: str) -> Any:
    # Modules are imported on first use, so that commands check their options before they import torch.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name in CLASSES:
        return getattr(import_module(CLASSES[name]), name)
    return import_module(f"{__name__}.{name}")


def load(path: str | Path, device: str = "cpu", flow: "Flow | Bijection | None" = None) -> "Model":
    """Loads a trained model.

    >>> import glow_app
    >>> model = glow_app.load("runs/drawn_faces/2026-01-01_12-00-00")
    >>> faces = model.sample(4, temperature=0.7, seed=0)  # here with a model of 16x16 pixels
    >>> faces.dtype, tuple(faces.shape)
    (torch.uint8, (4, 3, 16, 16))
    >>> model.bits_per_dim(faces).shape
    torch.Size([4])

    Args:
        path: the folder of a run, or of an exported model; or the name of a model that comes with the package; or
            ``hf://owner/name`` on the Hugging Face hub.
        device: device of the model, ``cpu`` or ``cuda``.
        flow: for a flow of a class of your own, whose files hold no code: another of that class, which gets the
            weights.

    Returns:
        a :class:`glow_app.model.Model`: ``help(model)`` lists its methods.

    Raises:
        UserError: there is no such model, its files are damaged, or ``flow`` is missing, not needed, or another.
    """
    from glow_app.model import load

    return load(path, device, flow)


def train(
    data: Any = None,
    model: Any = None,
    *,
    output: str | Path | None = None,
    resume: bool = False,
    quiet: bool = False,
    **options: Any,
) -> "Model":
    """Trains a model, as ``glow-train`` does, in this process.

    The options are those of ``glow-train --help``, with the same defaults. Those of a group are a dictionary with the
    group's choice, unless it is the default, as ``name``.

    >>> import glow_app
    >>> model = glow_app.train(  # a run of seconds, that has learned nothing
    ...     data={"name": "drawn_faces", "image_size": 16, "n_images": 32},
    ...     model={"name": "tiny", "n_levels": 2, "width": 8},
    ...     trainer={"batch_size": 8},
    ...     max_steps=4,
    ...     output="runs/mine",
    ...     quiet=True,
    ... )
    >>> tuple(model.sample(2).shape)
    (2, 3, 16, 16)

    Ctrl-C ends it with a checkpoint, from which the same call with ``resume=True`` goes on to the same bits.

    Args:
        data: name of a data set, or a dictionary of its options; by default the command's. Or images of your own: an
            :class:`ImageSource`, or any object with a length and an image for every index, such as a
            ``torch.utils.data.Dataset``. An image is a tensor (C, H, W), an array (H, W, C) or a PIL image, of uint8 or
            of floats from 0 to 1, all of one shape; or it is a pair of an image and the number of its class. The same
            index should always give the same image. With validation and test images they are a dictionary,
            ``{"train": ..., "val": ..., "test": ...}``, which may also hold options such as ``flip``.
        model: name of a model, or a dictionary of its options; by default the command's. Or a new flow of your own: a
            :class:`glow_app.flows.Flow`, or a :class:`glow_app.flows.Bijection` such as a ``Chain``. It gets the
            trained weights. One that is initialised already is trained from where it is.
        output: folder of the run; by default ``runs/<name>/<date_time>``.
        resume: go on from the newest checkpoint in ``output``, if it holds a run; the options are to be the same.
        quiet: print nothing.
        **options: all others; ``optim={"lr": 1e-3}``, ``trainer="gpu"``, ``experiment="celeba64"``, ``max_steps=1000``.

    Returns:
        the exported model in the folder of the run, with averaged weights, on the CPU.

    Raises:
        UserError: an option, the data or the flow is not as it should be, or ``output`` holds a run already.
    """
    from glow_app.cli.from_python import train

    return train(data, model, output, resume, quiet, options)


def load_directions(path: str | Path, method: str = "mean_difference") -> "Directions":
    """Loads the attribute vectors of a model, written by ``glow-directions``.

    >>> import glow_app
    >>> directions = glow_app.load_directions("runs/drawn_faces/2026-01-01_12-00-00", method="balanced")
    >>> "Smiling" in directions.names
    True

    Args:
        path: their folder, or that of the run that contains it as ``directions/``; or the name of a shipped model,
            or ``hf://owner/name``.
        method: ``mean_difference``, ``balanced`` or ``discriminant``; see :mod:`glow_app.latents.directions`.

    Returns:
        a :class:`glow_app.latents.directions.Directions`, for :meth:`glow_app.model.Model.edit`.

    Raises:
        UserError: they are not there, damaged, or not of this method.
    """
    from glow_app.latents.directions import load

    return load(path, method)


def find_directions(
    model: "Model", images: Any, method: str = "mean_difference", *, quiet: bool = False, **options: Any
) -> "Directions":
    """Finds the attribute vectors of a model in labelled images, as ``glow-directions`` does, and saves them.

    Args:
        model: a model, with a folder.
        images: an :class:`ImageSource` with ``attributes`` and ``attribute_names``; or a data set as :func:`train`
            takes it, with these two.
        method: the one that is returned; all are saved.
        quiet: print nothing.
        **options: those of ``glow-directions --help``; ``output`` is by default where :func:`load_directions` looks.

    Returns:
        a :class:`glow_app.latents.directions.Directions`, for :meth:`glow_app.model.Model.edit`.

    Raises:
        UserError: the images have no attributes, are too few, or do not fit the model.
    """
    from glow_app.cli.from_python import find_directions

    return find_directions(model, images, method, quiet, options)
