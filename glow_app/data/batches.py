"""Data sets that come as arrays in files: pickled batches (read without running code in them) and npz."""

import io
import pickle
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from glow_app.data.files import refuse_html
from glow_app.errors import UserError


def read_bytes(path: Path, what: str) -> bytes:
    """A whole file of the data set ``what``.

    Raises:
        UserError: it is missing, may not be read, is empty, or is a web page.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{what}: {path} does not exist; put it there") from None
    except OSError as error:
        raise UserError(f"{what}: {path} cannot be read ({error.strerror})") from None
    refuse_html(path, content)
    if not content:
        raise UserError(f"{what}: {path} is empty (0 bytes); download it again")
    return content


def load_pickle(path: Path, what: str) -> dict[str, Any]:
    """A pickled dictionary of numbers, text, lists and NumPy arrays, written by Python 2 or 3; keys as text.

    A pickle may name any function to be called on loading. Here only NumPy's own constructors of arrays are admitted,
    so that a file from anywhere can be read.

    Raises:
        UserError: cut short, damaged, not a dictionary, or it asks for anything else to be called.
    """
    content = read_bytes(path, what)
    try:
        loaded = _ArrayUnpickler(io.BytesIO(content), encoding="latin1").load()
    except _Refused as refused:
        raise UserError(f"{what}: {path} asks to call {refused}, which data never does; delete this file") from None
    except Exception as error:
        # A damaged pickle may misuse any of its opcodes; the kinds of errors are not a closed list.
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(f"{what}: {path} is cut short or damaged ({reason}); download it again") from None
    if not isinstance(loaded, dict):
        raise UserError(f"{what}: {path} holds a {type(loaded).__name__}, not a batch; is it of another data set?")
    return {key.decode("latin1") if isinstance(key, bytes) else str(key): value for key, value in loaded.items()}


def load_npz(path: Path, what: str, keys: Sequence[str]) -> dict[str, np.ndarray]:
    """Those of the arrays ``keys`` that an npz file has; objects in it are refused, as they would be unpickled.

    Raises:
        UserError: missing, cut short, damaged, or not an npz.
    """
    try:
        with open(path, "rb") as file:
            refuse_html(path, file.read(512))
            file.seek(0)
            with np.load(file, allow_pickle=False) as arrays:
                return {key: arrays[key] for key in keys if key in arrays.files}
    except FileNotFoundError:
        raise UserError(f"{what}: {path} does not exist; put it there") from None
    except (ValueError, OSError, EOFError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(
            f"{what}: {path} is cut short or no npz of plain arrays ({reason}); download it again"
        ) from None


def rows_and_labels(batch: dict[str, Any], path: Path, what: str, row: int) -> tuple[np.ndarray, np.ndarray]:
    """uint8 (N, row) pixels and int64 (N,) labels of a batch with keys ``data`` and ``labels``.

    Raises:
        UserError: a key is missing, or shapes or types are not those of a batch of rows of that many values.
    """
    missing = [key for key in ("data", "labels") if key not in batch]
    if missing:
        there = ", ".join(batch) or "nothing"
        raise UserError(f"{what}: {path} has no '{missing[0]}', only {there}; is it of another data set?")
    data, labels = np.asarray(batch["data"]), np.asarray(batch["labels"])
    if data.ndim > 1:
        data = data.reshape(len(data), -1)
    if data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != row:
        raise UserError(
            f"{what}: {path} holds {data.dtype} rows of {data.shape[-1] if data.ndim else 0} values where uint8 rows "
            f"of {row} belong: another data set, or another image size?"
        )
    if labels.shape != (len(data),) or labels.dtype.kind not in "iu":
        raise UserError(f"{what}: {path} holds {len(data)} images, labels of shape {labels.shape}; download it again")
    return data, labels.astype(np.int64)


class _Refused(Exception):
    pass


def _latin1(text: str, encoding: str = "latin1") -> bytes:
    """What pickles of protocol 2 call to make bytes out of text."""
    if encoding not in ("latin1", "latin-1"):
        raise _Refused(f"_codecs.encode with {encoding}")
    return text.encode("latin1")


class _ArrayUnpickler(pickle.Unpickler):
    """Admits NumPy's constructors of arrays and scalars, and nothing else."""

    # Taken from NumPy's own pickles, so that their private module names need not be imported.
    _CALLS = {  # noqa: RUF012
        "_reconstruct": np.empty(0).__reduce__()[0],
        "_frombuffer": np.empty(0).__reduce_ex__(5)[0],
        "scalar": np.float64(0).__reduce__()[0],
        "ndarray": np.ndarray,
        "dtype": np.dtype,
    }

    def find_class(self, module: str, name: str) -> Any:
        if module == "_codecs" and name == "encode":
            return _latin1
        if module.partition(".")[0] == "numpy" and name in self._CALLS:
            return self._CALLS[name]
        raise _Refused(f"{module}.{name}")
