"""Glow: a multiscale, invertible image model with exact likelihoods (Kingma & Dhariwal 2018).

``glow_app.load(path)`` gives a trained model; everything else that a person needs hangs on it.
"""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from glow_app.evaluation.directions import Directions
    from glow_app.model import Model

__all__ = ["load", "load_directions"]


def load(path: str | Path, device: str = "cpu") -> "Model":
    """A trained model: see :func:`glow_app.model.load`."""
    # Imported here: commands check their options before they load torch.
    from glow_app.model import load

    return load(path, device)


def load_directions(path: str | Path, method: str = "mean_difference") -> "Directions":
    """Attribute vectors: see :func:`glow_app.evaluation.directions.load`."""
    from glow_app.evaluation.directions import load

    return load(path, method)
