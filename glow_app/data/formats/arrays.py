"""Data sets stored as arrays: pickled batches (read without running their code) and npz."""

import io
import pickle
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from glow_app.data.formats.files import refuse_html
from glow_app.errors import UserError


def read_bytes(path: Path, what: str) -> bytes:
    """Reads a whole file of the data set ``what``.

    Raises:
        UserError: it is missing, unreadable, empty, or a web page.
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
    """Loads a pickled dictionary of numbers, text, lists and NumPy arrays, written by Python 2 or 3; keys as text.

    A pickle may name any function to be called on loading. Only NumPy's array constructors are allowed here, so that
    untrusted files can be read.

    Raises:
        UserError: cut short, damaged, not a dictionary, or it names another function to call.
    """
    content = read_bytes(path, what)
    try:
        loaded = _ArrayUnpickler(io.BytesIO(content), encoding="latin1").load()
    except _Refused as refused:
        raise UserError(f"{what}: {path} asks to call {refused}, which data never does; delete this file") from None
    except Exception as error:
        # A damaged pickle may raise almost any exception.
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(f"{what}: {path} is cut short or damaged ({reason}); download it again") from None
    if not isinstance(loaded, dict):
        raise UserError(f"{what}: {path} holds a {type(loaded).__name__}, not a batch; is it of another data set?")
    return {
        key.decode("latin1") if isinstance(key, bytes) else str(key): _unwrapped(value) for key, value in loaded.items()
    }


def load_npz(path: Path, what: str, keys: Sequence[str]) -> dict[str, np.ndarray]:
    """Loads the arrays named ``keys`` that an npz file has; refuses objects, because they would be unpickled.

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
    except UserError:
        raise
    except Exception as error:  # damage in zip, header and array raises different exceptions
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(
            f"{what}: {path} is cut short or no npz of plain arrays ({reason}); download it again"
        ) from None


def rows_and_labels(
    batch: dict[str, Any], path: Path, what: str, row: int, label: str = "labels"
) -> tuple[np.ndarray, np.ndarray]:
    """Returns uint8 (N, row) pixels and int64 (N,) labels of a batch with keys ``data`` and ``label``.

    Raises:
        UserError: a key is missing, or a shape or dtype is wrong.
    """
    missing = [key for key in ("data", label) if key not in batch]
    if missing:
        there = ", ".join(batch) or "nothing"
        raise UserError(f"{what}: {path} has no '{missing[0]}', only {there}; is it of another data set?")
    try:
        data, labels = np.asarray(batch["data"]), np.asarray(batch[label])
    except (ValueError, TypeError) as error:
        raise UserError(f"{what}: {path} holds no rows of numbers ({error}); download it again") from None
    if data.ndim > 1 and len(data):
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
    """Replaces ``_codecs.encode``, which pickles of protocol 2 call to convert text to bytes."""
    if encoding not in ("latin1", "latin-1"):
        raise _Refused(f"_codecs.encode with {encoding}")
    return text.encode("latin1")


class _Dtype:
    """Replaces ``numpy.dtype``: plain numbers only, and only their byte order can be set."""

    def __init__(self, spec: object, *_: object) -> None:
        text = spec.decode("latin1") if isinstance(spec, bytes) else str(spec)
        if not re.fullmatch(r"[<>|=]?[biuf][1248]", text):
            raise _Refused(f"numpy.dtype({text[:20]!r})")
        self.dtype = np.dtype(text)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(state[1])


class _Array:
    """Replaces ``numpy.ndarray``, whose own ``__setstate__`` trusts its argument."""

    array: np.ndarray

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _version, shape, dtype, fortran, raw = state
        self.array = _plain_array(raw, dtype, shape, "F" if fortran else "C")


class _NdarrayType:
    """Replaces the class ``numpy.ndarray`` if a pickle names it as an argument."""


def _plain_array(raw: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    content = raw.encode("latin1") if isinstance(raw, str) else bytes(raw)
    if not isinstance(dtype, _Dtype) or order not in ("C", "F"):
        raise _Refused("an array that is not of plain numbers")
    return np.frombuffer(content, dtype.dtype).reshape(shape, order=order)


def _reconstruct(*_: object) -> _Array:
    return _Array()


def _from_buffer(raw: Any, dtype: Any, shape: Any, order: Any, *_: object) -> _Array:
    result = _Array()
    result.array = _plain_array(raw, dtype, shape, order)
    return result


def _scalar(dtype: Any, raw: Any) -> Any:
    return _plain_array(raw, dtype, (), "C")[()]


def _unwrapped(value: Any) -> Any:
    """Returns the array of an ``_Array``, also inside a list or tuple; other values are unchanged."""
    if isinstance(value, _Array):
        return value.array
    if isinstance(value, list | tuple):
        return [item.array if isinstance(item, _Array) else item for item in value]
    return value


class _ArrayUnpickler(pickle.Unpickler):
    """Creates only arrays of plain numbers, with the constructors of this module instead of NumPy's.

    A pickle must not reach NumPy's: ``dtype.__setstate__`` accepts flags that let raw bytes pass for pointers.
    """

    _CALLS: ClassVar[dict[str, Any]] = {
        "_reconstruct": _reconstruct,
        "_frombuffer": _from_buffer,
        "scalar": _scalar,
        "ndarray": _NdarrayType,
        "dtype": _Dtype,
    }

    def find_class(self, module: str, name: str) -> Any:
        if module == "_codecs" and name == "encode":
            return _latin1
        if module.partition(".")[0] == "numpy" and name in self._CALLS:
            return self._CALLS[name]
        raise _Refused(f"{module}.{name}")
