"""Which images belong to train, val and test, where a data set leaves that to its reader."""

import hashlib
import unicodedata

from glow_app.data.source import EmptySplit
from glow_app.errors import UserError


def name_hash(name: str) -> int:
    """A number in 0..99, a function of the name alone: the same on every machine and file system."""
    # File systems disagree on how accents are stored; NFC makes one name of them.
    normal = unicodedata.normalize("NFC", name).encode("utf-8", "surrogateescape")
    return int.from_bytes(hashlib.sha256(normal).digest()[:8], "big") % 100


def held_out(n: int, validation: int, split: str, what: str) -> range:
    """Rows of ``train`` or ``val`` when the last ``validation`` of ``n`` training images are held out.

    For data sets that come in two parts: the second part is ``test``, reported once, and models are selected on
    images that were taken from the first.

    Raises:
        UserError: ``validation`` is negative or leaves nothing to train on.
        EmptySplit: ``validation`` is 0 and ``val`` is asked for.
    """
    if not 0 <= validation < n:
        raise UserError(f"{what}: data.validation={validation} of {n:,} training images; choose 0 to {n - 1:,}")
    if split == "val" and validation == 0:
        raise EmptySplit(f"{what}: data.validation=0 leaves no validation images; set e.g. {max(1, n // 10)}")
    return range(n - validation) if split == "train" else range(n - validation, n)
