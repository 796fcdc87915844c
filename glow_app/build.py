"""Turns shared options of a configuration into dtypes, torch settings and data sets."""

import torch
from rich.console import Console

from glow_app.config.data import DataConfig
from glow_app.data.cache import CachedSource, cached, default_workers
from glow_app.data.source import ImageSource
from glow_app.runtime.console import counting, say

PRECISIONS: dict[str, torch.dtype | None] = {"fp32": None, "bf16": torch.bfloat16}
"""``trainer.precision`` -> the dtype of the conditioners."""


def forbid_tf32() -> None:
    """Disables TF32: only ``precision`` may lower the precision of float32."""
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


def open_split(data: DataConfig, split: str, console: Console, with_classes: bool = False) -> ImageSource:
    """Opens one split of a data set, through the cache if ``data.cache`` is set.

    Args:
        data: options of the data set.
        split: ``train``, ``val`` or ``test``.
        console: where to report progress.
        with_classes: whether the model is conditional, see :meth:`glow_app.data.source.ImageSource.find_classes`.

    Raises:
        UserError: see :meth:`glow_app.config.data.DataConfig.open` and :func:`glow_app.data.cache.cached`.
    """
    source = _open(data, split, console)
    if with_classes:
        source.find_classes()
    return through_cache(source, data, default_workers(), console) if data.cache else source


def _open(data: DataConfig, split: str, console: Console) -> ImageSource:
    source = data.open(split)
    if source.warning is not None:
        say(console, f"warning: {source.warning}")
    return source


def open_cached(data: DataConfig, split: str, workers: int, console: Console) -> CachedSource:
    """Opens one split of a data set through the cache, which is built first if necessary.

    Raises:
        UserError: see :meth:`glow_app.config.data.DataConfig.open` and :func:`glow_app.data.cache.cached`.
    """
    return through_cache(_open(data, split, console), data, workers, console)


def through_cache(source: ImageSource, data: DataConfig, workers: int, console: Console) -> CachedSource:
    """Returns a source with its pixels in the cache of ``data``, which is built first if necessary.

    Raises:
        UserError: see :func:`glow_app.data.cache.cached`.
    """
    with counting(console, f"preparing {source.name} {source.split}") as progress:
        try:
            return cached(source, data.cache_path, workers, progress)
        except KeyboardInterrupt:
            say(console, "interrupted; the decoded images are saved, and the same command resumes from there")
            raise
