"""Glow: a multiscale, invertible image model with exact likelihoods (Kingma & Dhariwal 2018).

``glow_app.load(path)`` returns a trained model, whose methods are the main interface. The public names are in
``__all__``: two functions, and the modules that the API reference documents.
"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType

    from glow_app import artifacts, errors, evaluation, flows, latents, likelihood, model, noise, units
    from glow_app.latents.directions import Directions
    from glow_app.model import Model

__all__ = [
    "artifacts",
    "errors",
    "evaluation",
    "flows",
    "latents",
    "likelihood",
    "load",
    "load_directions",
    "model",
    "noise",
    "units",
]


def __getattr__(name: str) -> "ModuleType":
    # Modules are imported on first use, so that commands check their options before they import torch.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module(f"{__name__}.{name}")


def load(path: str | Path, device: str = "cpu") -> "Model":
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

    Returns:
        a :class:`glow_app.model.Model`: ``help(model)`` lists its methods.

    Raises:
        UserError: there is no such model, or its files are damaged.
    """
    from glow_app.model import load

    return load(path, device)


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
