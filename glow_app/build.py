"""What the words of a configuration stand for where they are no options of one model or data set."""

import torch
from rich.console import Console

from glow_app.config.data import DataConfig
from glow_app.data.cache import CachedSource, cached, default_workers
from glow_app.data.source import ImageSource
from glow_app.runtime.console import counting, say

PRECISIONS: dict[str, torch.dtype | None] = {"fp32": None, "bf16": torch.bfloat16}
"""``trainer.precision`` -> the dtype of the conditioners."""


def forbid_tf32() -> None:
    """float32 means float32: what may be less precise is said by ``precision``."""
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


def open_split(data: DataConfig, split: str, console: Console) -> ImageSource:
    """One split of a data set, through the cache if ``data.cache`` says so.

    Raises:
        UserError: see :meth:`glow_app.config.data.DataConfig.open` and :func:`glow_app.data.cache.cached`.
    """
    return open_cached(data, split, default_workers(), console) if data.cache else data.open(split)


def open_cached(data: DataConfig, split: str, workers: int, console: Console) -> CachedSource:
    """One split of a data set with its pixels in the cache, which is built first if it has to be.

    Raises:
        UserError: see :meth:`glow_app.config.data.DataConfig.open` and :func:`glow_app.data.cache.cached`.
    """
    source = data.open(split)
    with counting(console, f"preparing {data.name} {split}") as progress:
        try:
            return cached(source, data.cache_path, workers, progress)
        except KeyboardInterrupt:
            say(console, "interrupted; what is decoded is kept, and the same command goes on from there")
            raise
