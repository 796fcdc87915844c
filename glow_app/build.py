"""From names in a configuration to objects: the one place where constructors are chosen."""

import os
from pathlib import Path
from typing import cast

import torch

from glow_app.config import ModelConfig
from glow_app.config_data import DataConfig, DrawnFacesConfig, FolderConfig
from glow_app.data.drawn_faces import DrawnFaces
from glow_app.data.files import OnCorrupt
from glow_app.data.folder import Folder
from glow_app.data.source import ImageSource
from glow_app.errors import UserError
from glow_app.flows import Glow

PRECISIONS: dict[str, torch.dtype | None] = {"fp32": None, "bf16": torch.bfloat16}
"""``trainer.precision`` -> the dtype of the conditioners."""


def build_flow(model: ModelConfig, image_shape: tuple[int, int, int], n_classes: int) -> Glow:
    """A new Glow for images of ``image_shape``; ``n_classes`` counts only if the model is conditional."""
    return Glow(
        image_shape,
        n_levels=model.n_levels,
        n_steps=model.n_steps,
        width=model.width,
        coupling=model.coupling,
        permutation=model.permutation,
        scale=model.scale,
        border=model.border,
        n_classes=n_classes if model.class_conditional else 0,
        memory=model.memory,
    )


def open_source(data: DataConfig, split: str) -> ImageSource:
    """One split of the data set that ``data`` names.

    Raises:
        UserError: its files are missing or not as they should be.
    """
    height, width = data.size
    if isinstance(data, DrawnFacesConfig):
        if height != width:
            raise UserError(f"data.image_size={data.image_size}: drawn faces are square; give one side")
        return DrawnFaces(split, image_size=height, seed=data.seed, n_images=data.n_images)
    assert isinstance(data, FolderConfig)
    if data.channels not in (1, 3):
        raise UserError(f"data.channels={data.channels}: choose 3 for colour or 1 for grey")
    return Folder(
        data.root,
        split,
        image_size=(height, width),
        channels=data.channels,
        on_corrupt=cast(OnCorrupt, data.on_corrupt),
        attributes=data.attributes,
    )


def cache_folder(data: DataConfig) -> Path:
    """Where decoded pixels are kept."""
    if data.cache_folder is not None:
        return Path(data.cache_folder).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "glow_app"
