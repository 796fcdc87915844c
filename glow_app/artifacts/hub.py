"""Models on the Hugging Face hub: ``hf://owner/name``, or ``hf://owner/name@revision``."""

import re
from functools import lru_cache
from pathlib import Path

from glow_app.artifacts import shipped
from glow_app.errors import UserError

SCHEME = "hf://"

WANTED = ("model.json", "model.safetensors", "directions/directions.json", "directions/directions.safetensors")
"""The only files that are fetched: none of them can contain code."""

_ADDRESS = re.compile(r"hf://([\w.-]+/[\w.-]+)(?:@([\w./-]+))?")


def local(path: str | Path) -> Path:
    """A local folder: ``path`` itself, or that of the shipped model or the hub's model that it names.

    Raises:
        UserError: the address is invalid, the package ``huggingface_hub`` is missing, or the hub refuses.
    """
    return _fetched(path) if isinstance(path, str) and path.startswith(SCHEME) else shipped.found(path)


@lru_cache(maxsize=8)
def _fetched(address: str) -> Path:
    """Fetches a model once per process, so that it stays the same whatever is uploaded meanwhile."""
    parts = _ADDRESS.fullmatch(address)
    if parts is None:
        raise UserError(f"{address} is no address: write hf://owner/name, or hf://owner/name@revision")
    try:
        from huggingface_hub import snapshot_download
    except ModuleNotFoundError as error:
        raise UserError(f"{address} needs {error.name}: install it with pip install huggingface_hub") from error
    try:
        return Path(snapshot_download(parts[1], revision=parts[2], allow_patterns=list(WANTED)))
    except Exception as error:  # of many types: the hub's, the network's, the disk's
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"{address} cannot be fetched ({reason}); check the name, the network and your login"
        ) from error
