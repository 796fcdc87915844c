"""A split of a data set, ready to be read: from the cache, which is built first where there is none."""

from rich.console import Console

from glow_app.build import cache_folder, open_source
from glow_app.config.data import DataConfig
from glow_app.data.cache import CachedSource, cached, default_workers
from glow_app.data.source import ImageSource
from glow_app.runtime.console import counting, say


def open_split(data: DataConfig, split: str, console: Console) -> ImageSource:
    """One split of a data set, through the cache if ``data.cache`` says so.

    Raises:
        UserError: see :func:`glow_app.build.open_source` and :func:`glow_app.data.cache.cached`.
    """
    return open_cached(data, split, default_workers(), console) if data.cache else open_source(data, split)


def open_cached(data: DataConfig, split: str, workers: int, console: Console) -> CachedSource:
    """One split of a data set with its pixels in the cache, which is built first if it has to be.

    Raises:
        UserError: see :func:`glow_app.build.open_source` and :func:`glow_app.data.cache.cached`.
    """
    source = open_source(data, split)
    with counting(console, f"preparing {data.name} {split}") as progress:
        try:
            return cached(source, cache_folder(data), workers, progress)
        except KeyboardInterrupt:
            say(console, "interrupted; what is decoded is kept, and the same command goes on from there")
            raise
