"""Assignment of images to train, val and test for data sets that do not define it."""

import hashlib
import unicodedata

from glow_app.data.source import EmptySplit
from glow_app.errors import UserError


def name_hash(name: str) -> int:
    """Hash of a name, in 0..99: the same on every machine and file system."""
    # File systems store accents in different ways; NFC makes their names equal.
    normal = unicodedata.normalize("NFC", name).encode("utf-8", "surrogateescape")
    return int.from_bytes(hashlib.sha256(normal).digest()[:8], "big") % 100


def held_out(n: int, validation: int, split: str, what: str) -> range:
    """Rows of ``train`` or ``val`` when the last ``validation`` of ``n`` training images are held out.

    For data sets of two parts: the second part is ``test``, for the reported results; models are selected on images
    held out from the first.

    Raises:
        UserError: ``validation`` is negative or leaves nothing to train on.
        EmptySplit: ``validation`` is 0 and ``split`` is ``val``.
    """
    if not 0 <= validation < n:
        raise UserError(f"{what}: data.validation={validation} of {n:,} training images; choose 0 to {n - 1:,}")
    if split == "val" and validation == 0:
        raise EmptySplit(f"{what}: data.validation=0 leaves no validation images; set e.g. {max(1, n // 10)}")
    return range(n - validation) if split == "train" else range(n - validation, n)
