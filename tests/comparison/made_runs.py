"""Folders of runs that were never trained: a configuration, validations with known figures, perhaps a card."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

MODEL = {
    "name": "glow", "n_levels": 1, "n_steps": 1, "width": 4, "coupling": "affine", "permutation": "lu",
    "scale": "bounded", "border": True, "class_conditional": False, "memory": "plain", "anchor_every": 32,
}  # fmt: skip
OPTIONS = {
    "name": "made", "seed": 0, "max_steps": 4, "val_images": 0, "debug": False,
    "data": {"name": "drawn_faces", "image_size": 4, "n_bits": 8, "flip": True, "cache_folder": None},
    "model": MODEL,
    "optim": {"name": "adam", "ema_decay": 0.999},
    "trainer": {"batch_size": 8, "accumulate": 1},
    "logger": {"name": "csv"},
}  # fmt: skip


def made(
    folder: Path,
    *options: str,
    validation: Sequence[tuple[int, float]] = ((2, 5.0), (4, 4.0)),
    test: float | None = None,
    speed: float | None = None,
) -> Path:
    """A run.

    Args:
        folder: of the run.
        options: ``"model.width=8"``, other than ``OPTIONS``.
        validation: (step, bits/dim).
        test: bits/dim; None for a run that has exported nothing.
        speed: images per second; None if it was never logged.
    """
    config = OmegaConf.merge(OmegaConf.create(OPTIONS), OmegaConf.from_dotlist(list(options)))
    folder.mkdir(parents=True)
    OmegaConf.save(config, folder / "config.yaml")
    rows = ["step,train/bits_per_dim,speed/images_per_second,val/bits_per_dim", "1,9.0,,"]
    for step, bits in validation:
        rows += [f"{step},{bits},{speed or ''},", f"{step},,,{bits}"]
    (folder / "metrics.csv").write_text("\n".join(rows) + "\n")
    if test is not None:
        card: dict[str, Any] = {
            "format": 1, "sha256": "0", "model": OmegaConf.to_container(config.model), "image_shape": [3, 4, 4],
            "n_bits": 8, "class_names": [], "data": {"name": "drawn_faces"}, "preprocessing": "", "step": 4,
            "weights": "averaged", "metrics": {"test/bits_per_dim": test}, "versions": {},
        }  # fmt: skip
        (folder / "model").mkdir()
        (folder / "model" / "model.json").write_text(json.dumps(card))
    return folder
