"""Checks before torch is loaded, so that a wrong path or device is reported at once."""

import os
import sys
from glob import glob
from typing import Any

from glow_app.artifacts.hub import SCHEME
from glow_app.artifacts.shipped import found
from glow_app.cli.arguments import NUMBER
from glow_app.config.check import no_gpu, no_mask
from glow_app.config.commands import MASKS, RANDOM_MASK, SAMPLE, ScoreConfig
from glow_app.config.data import DataConfig
from glow_app.errors import UserError

GPU_DEVICES = ("/dev/nvidia*", "/dev/dxg", "/dev/kfd")
"""Linux has one of these if torch can have a GPU: NVIDIA's, through Windows, AMD's."""


def require_data(data: DataConfig) -> None:
    """Raises a UserError if the folder that holds the data does not exist and will not be downloaded."""
    if (folder := data.missing) is not None:
        raise UserError(
            f"data={data.name}: folder {folder} does not exist; set data.root to the folder that holds the data"
        )


def require_device(key: str, value: str) -> None:
    """Raises a UserError if a GPU is asked for, ``device=cuda``, on a machine that certainly has none."""
    if value in ("cuda", "gpu") and sys.platform == "linux" and not any(glob(name) for name in GPU_DEVICES):
        raise no_gpu(key, value)


def require_files(config: Any) -> None:
    """Raises a UserError for the first of ``images``, ``runs``, ``mask`` and ``directions`` that does not exist."""
    for name in getattr(config, "images", None) or []:
        if not (NUMBER.fullmatch(name) or SAMPLE.fullmatch(name) or os.path.exists(name)):
            if isinstance(config, ScoreConfig):
                raise UserError(f"image {name} does not exist: check its name; images= are files, or folders of files")
            raise UserError(
                f"image {name} does not exist: check its name, or give the number of an image of the data set, or a "
                "sample, sample:0"
            )
    for name in getattr(config, "runs", None) or []:
        if not os.path.exists(name):
            raise UserError(f"runs={name} does not exist: name folders of runs, or that hold runs")
    mask = getattr(config, "mask", None)
    if mask is not None and not (mask in MASKS or RANDOM_MASK.fullmatch(mask) or os.path.isfile(mask)):
        raise no_mask(mask)
    directions = getattr(config, "directions", None)
    if directions is not None and not directions.startswith(SCHEME) and not found(directions).exists():
        raise UserError(f"no directions at {directions}: make them with glow-directions checkpoint=...")
