"""A read-only LMDB of encoded images, opened on first use in each process."""

import hashlib
import os
import re
import tempfile
import threading
from pathlib import Path

import lmdb
import numpy as np

from glow_app.data.formats.files import refuse_html
from glow_app.data.image import CorruptImage
from glow_app.errors import UserError

# One environment per folder and process: LMDB refuses a second one, and a child must not use its parent's after a fork.
_environments: dict[str, tuple[int, lmdb.Environment]] = {}
_environments_lock = threading.Lock()


_LENGTH = b"length"
_SIZE_AND_NUMBER = re.compile(rb"(\d+)-\d+")
_MAGIC = (0xBEEFC0DE).to_bytes(4, "little")  # at byte 16 of the database
_MAGIC_AT = 16


def is_lmdb(path: Path) -> bool:
    """Returns whether ``path`` is an LMDB: a folder with ``data.mdb``, or a database in a single file."""
    if not path.is_file():
        return (path / "data.mdb").is_file()
    try:
        with open(path, "rb") as file:
            return file.read(_MAGIC_AT + 4)[_MAGIC_AT:] in (_MAGIC, _MAGIC[::-1])
    except OSError:
        return False


class LmdbStore:
    """The values of an LMDB by number, in the order of their keys. It is pickled without its environment.

    StyleGAN's LMDBs have a key ``length`` beside the images', which are named ``256-00000``: it is passed over.

    A file that was cut short, and damage that LMDB detects, raise an error. A damaged length in an otherwise intact
    file can end the process (SIGBUS): LMDB does not check it before reading.

    Args:
        folder: folder of ``data.mdb``, or the database itself if it is a single file (``subdir=False``).
        what: beginning of error messages.
        key_cache: folder for the file of enumerated keys (120 MB for LSUN's 3 million bedrooms), which is named after
            the database's name, size and time; None enumerates them each time.

    Raises:
        UserError: not an LMDB, cut short, empty, with each image at several sizes, or the key cache cannot be written.
    """

    def __init__(self, folder: Path, what: str, key_cache: Path | None = None) -> None:
        self.folder = folder
        self.what = what
        self._file = folder if folder.is_file() else folder / "data.mdb"
        self._check()
        self._key_file = None if key_cache is None else key_cache / f"lmdb_keys_{self.digest()[:16]}.npy"
        self._keys: np.ndarray | None = None
        if len(self.keys) == 0:
            raise UserError(f"{what}: {folder} is an LMDB without entries; download it again")

    def __len__(self) -> int:
        return len(self.keys)

    def __getstate__(self) -> dict[str, object]:
        # Without a key file the keys are pickled too.
        return self.__dict__ if self._key_file is None else {**self.__dict__, "_keys": None}

    @property
    def keys(self) -> np.ndarray:
        """All keys in the database's order, bytes (N,); memory-mapped if there is a key cache."""
        if self._keys is None:
            n_keys = self._environment().stat()["entries"] - self._has_length()
            self._keys = _cached_keys(self._key_file, n_keys) if self._key_file is not None else None
            if self._keys is None:
                self._keys = self._enumerate()
                if self._key_file is not None:
                    _write_keys(self._key_file, self._keys)
        return self._keys

    def read(self, row: int) -> bytes:
        """Reads the value of one key.

        Raises:
            CorruptImage: this entry is damaged.
        """
        key = bytes(self.keys[row])
        try:
            with self._environment().begin(buffers=False) as transaction:
                value = transaction.get(key)
        except lmdb.Error as error:
            raise CorruptImage(self.label(row), f"damaged inside the LMDB ({error})") from None
        if value is None:
            raise UserError(f"{self.what}: {self.label(row)} is missing: was the LMDB replaced? start again")
        return bytes(value)

    def label(self, row: int) -> str:
        """Key and folder of an image, for error messages."""
        return f"{self.key(row)} in {self.folder}"

    def key(self, row: int) -> str:
        """One key as text."""
        return bytes(self.keys[row]).decode("utf-8", "backslashreplace")

    def digest(self) -> str:
        """Digest that changes with the database file."""
        status = self._file.stat()
        return hashlib.sha256(f"{self.folder.name} {status.st_size} {status.st_mtime_ns}".encode()).hexdigest()

    def _enumerate(self) -> np.ndarray:
        try:
            with self._environment().begin() as transaction:
                keys = [bytes(key) for key in transaction.cursor().iternext(keys=True, values=False)]
        except lmdb.Error as error:
            raise self._damaged(error) from None
        if self._has_length():
            keys.remove(_LENGTH)
            sizes = {match.group(1).decode() for key in keys if (match := _SIZE_AND_NUMBER.fullmatch(key))}
            if len(sizes) > 1:
                raise UserError(
                    f"{self.what}: {self.folder} holds every image at several sizes ({', '.join(sorted(sizes))}); "
                    "make an LMDB of one size"
                )
        return np.array(keys, dtype="S")

    def _has_length(self) -> bool:
        try:
            with self._environment().begin() as transaction:
                return bytes(transaction.get(_LENGTH) or b"").isdigit()
        except lmdb.Error as error:
            raise self._damaged(error) from None

    def _damaged(self, error: lmdb.Error) -> UserError:
        return UserError(f"{self.what}: {self.folder} is damaged ({error}); download it again")

    def _check(self) -> None:
        """Refuses a file that is not an LMDB, or that was cut short, before memory beyond its end is read."""
        path = self._file
        try:
            with open(path, "rb") as file:
                refuse_html(path, file.read(512))
            size = path.stat().st_size
            environment = self._environment()
        except FileNotFoundError:
            raise UserError(f"{self.what}: no data.mdb in {self.folder}; unpack the archive there again") from None
        except OSError as error:
            raise UserError(f"{self.what}: {path} cannot be read ({error.strerror})") from None
        except lmdb.Error as error:
            raise UserError(f"{self.what}: {path} is no LMDB or damaged ({error}); download it again") from None
        needed = (environment.info()["last_pgno"] + 1) * environment.stat()["psize"]
        if size < needed:
            raise UserError(
                f"{self.what}: {path} was cut short ({size:,} of {needed:,} bytes); unpack or download it again"
            )

    def _environment(self) -> lmdb.Environment:
        path = os.path.realpath(self.folder)
        with _environments_lock:
            process, environment = _environments.get(path, (0, None))
            if environment is not None and process != os.getpid():
                environment.close()
                environment = None
            if environment is None:
                environment = lmdb.open(
                    path, subdir=os.path.isdir(path), readonly=True, lock=False, readahead=False, meminit=False
                )
                _environments[path] = (os.getpid(), environment)
            return environment


def _cached_keys(file: Path, n_entries: int) -> np.ndarray | None:
    """Reads the keys from a cache file; None if it is damaged or has another number of keys."""
    try:
        keys = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return keys if keys.dtype.kind == "S" and keys.shape == (n_entries,) else None


def _write_keys(file: Path, keys: np.ndarray) -> None:
    """Writes the keys atomically: two processes may enumerate the same database."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=file.parent, suffix=".tmp", delete=False) as temporary:
            try:
                np.save(temporary, keys)
                temporary.close()
                os.replace(temporary.name, file)
            except BaseException:
                os.unlink(temporary.name)
                raise
    except OSError as error:
        raise UserError(
            f"cannot write the keys of the LMDB to {file.parent}: {error.strerror}; free some space, or choose another "
            "folder with data.cache_folder=..."
        ) from None
