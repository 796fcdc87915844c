"""Tables of image annotations: CelebA's text files, and tables from spreadsheets and statistics programs."""

import codecs
import csv
import difflib
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from glow_app.data.formats.files import refuse_html
from glow_app.errors import UserError

_BLOCK = 1 << 18
_SEPARATORS = ",;\t"


@dataclass(frozen=True)
class Table:
    """One row of small integers per image.

    Attributes:
        path: file of the table, for error messages.
        names: the images' file names, as written.
        columns: names of the columns; empty if the file has none.
        values: int64 or int32 (len(names), number of columns).
    """

    path: Path
    names: list[str]
    columns: tuple[str, ...]
    values: np.ndarray

    def rows(self) -> dict[str, int]:
        """Row number of each image name."""
        return {name: row for row, name in enumerate(self.names)}

    def as_binary(self) -> Tensor:
        """Values as uint8 (N, columns): 1 stays 1, 0 and -1 become 0.

        Raises:
            UserError: another value occurs.
        """
        wrong = np.argwhere((self.values < -1) | (self.values > 1))
        if len(wrong):
            row, column = (int(i) for i in wrong[0])
            raise UserError(
                f"{self.path}: {self.names[row]}, column {self.columns[column]}: {self.values[row, column]} "
                "is not an attribute's value; write 1 and 0, or 1 and -1"
            )
        return torch.from_numpy((self.values == 1).astype(np.uint8))


def attribute_column(names: Sequence[str], attribute: str) -> int:
    """Returns the column of an attribute by its name, ignoring case.

    Raises:
        UserError: no attribute has that name; the nearest is suggested.
    """
    lowered = [name.lower() for name in names]
    if attribute.lower() in lowered:
        return lowered.index(attribute.lower())
    if not names:
        raise UserError(f"attribute {attribute}: this data set has no attributes; give it a table of them")
    near = difflib.get_close_matches(attribute.lower(), lowered, n=1, cutoff=0.4)
    hint = f"did you mean {names[lowered.index(near[0])]}? " if near else ""
    raise UserError(f"attribute {attribute} is unknown: {hint}there are {', '.join(names)}")


def read_table(path: Path, header: bool) -> Table:
    """Reads CelebA's format: one image per line, its name and integers separated by blanks.

    Args:
        path: the file; with the suffix ``.csv`` it is read by ``read_csv``.
        header: whether the file begins with a line with the number of rows and a line of column names
            (``list_attr_celeba.txt``; CelebAMask-HQ's attribute file has the same form).

    Raises:
        UserError: missing, a web page, lines of different lengths, or not as many rows as the first line announces.
    """
    if path.suffix == ".csv":
        return read_csv(path)
    content = _read(path)
    columns: tuple[str, ...] = ()
    announced = None
    if header:
        first, _, rest = content.partition(b"\n")
        second, _, content = rest.partition(b"\n")
        if not first.strip().isdigit() or not second.strip():
            raise UserError(
                f"{path}: should begin with the number of rows and a line of attribute names; download it again"
            )
        announced, columns = int(first), tuple(second.decode("utf-8", "replace").split())
        _require_names(path, columns)
    names, values = _parse_rows(path, content, len(columns) or None, first_line=3 if header else 1)
    if announced is not None and announced != len(names):
        raise UserError(f"{path}: announces {announced} rows and has {len(names)}: cut short? download it again")
    return Table(path, names, columns, values)


def read_csv(path: Path) -> Table:
    """Reads a table as Excel, pandas and R write it.

    Cells are separated by commas, semicolons or tabs. A header line names the columns. The file name is in the first
    column, or follows a column of row numbers without a name; the other columns hold integers, also written as 1.0, or
    True and False.

    Raises:
        UserError: missing, a web page, no header, two columns of one name, a line of another length, or another value.
    """
    header, lines = _lines(path)
    while header[0] == "" or header[0].startswith("Unnamed:"):
        # Row numbers, unless these are the file names, and values begin in the next column.
        if len(header) < 3 or all(_integer(cells[1]) in (-1, 0, 1) for _, cells in lines):
            break
        header, lines = header[1:], [(number, cells[1:]) for number, cells in lines]
    if all(_integer(name) is not None for name in header[1:]):
        raise UserError(f"{path}: the first line must name the columns (file,Smiling,...); it holds values")
    _require_names(path, header[1:])
    values = np.empty((len(lines), len(header) - 1), dtype=np.int64)
    for row, (number, cells) in enumerate(lines):
        integers = [_integer(cell) for cell in cells[1:]]
        known = [value for value in integers if value is not None]
        if len(known) < len(integers):
            column = integers.index(None) + 1
            wrong = f"{cells[column][:40]!r} is no 1 or 0" if cells[column] else "has no value"
            raise UserError(
                f"{path}: line {number} ({cells[0][:80]}), column {header[column]}: {wrong}; correct it, or remove the "
                "line or the column"
            )
        values[row] = known
    return Table(path, [cells[0] for _, cells in lines], tuple(header[1:]), values)


def _lines(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Cells of the header, and number and cells of each other line that is not empty, as many as the header's.

    Raises:
        UserError: there are no two columns or no lines, or a line has another length than the header.
    """
    text = read_text(path).replace("\r\n", "\n").replace("\r", "\n")
    first = text.lstrip("\n").partition("\n")[0]
    splits = [_split(path, text, separator) for separator in _SEPARATORS if separator in first]
    if not splits:
        raise UserError(f"{path}: needs a header line (file name, then attribute names) and one line per image")
    # A name in the header may hold another separator: that one does not divide all lines into as many cells.
    lines = max(splits, key=lambda lines: (len({len(cells) for _, cells in lines}) == 1, len(lines[0][1])))
    header = lines[0][1]
    while header and not header[-1]:
        header.pop()
    if all(len(cells) > len(header) and cells[0].isdecimal() and _integer(cells[1]) is None for _, cells in lines[1:]):
        header = ["", *header]  # R's write.table has a column of row numbers, and no header of that
    n = len(header)
    if len(lines) < 2 or n < 2:
        raise UserError(f"{path}: needs a header line (file name, then attribute names) and one line per image")
    # Excel ends lines with empty cells where another line is longer.
    cut = [(number, cells if any(cells[n:]) else cells[:n]) for number, cells in lines[1:]]
    for number, cells in cut:
        if len(cells) != n:
            raise UserError(
                f"{path}: line {number} ({cells[0][:80]}) has {len(cells)} cells and the header {n}; correct it"
            )
    return header, cut


def _split(path: Path, text: str, separator: str) -> list[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text), delimiter=separator)
    try:
        lines = [(reader.line_num, [cell.strip() for cell in line]) for line in reader]
    except csv.Error as error:
        raise UserError(f"{path} is no table of separated values ({error}); correct it") from None
    return [(number, cells) for number, cells in lines if any(cells)]


def _require_names(path: Path, columns: Sequence[str]) -> None:
    """Raises a UserError if a column has no name, or two have the same; attributes are found ignoring case."""
    lowered = [name.lower() for name in columns]
    for column, name in enumerate(lowered):
        if not name:
            raise UserError(f"{path}: a column after {columns[column - 1] if column else 'the first'} has no name")
        if name in lowered[:column]:
            raise UserError(f"{path}: two columns have the name {columns[column]}; rename or remove one")


def read_text(path: Path) -> str:
    """Reads a text file of annotations.

    Raises:
        UserError: missing, unreadable, empty, or a web page.
    """
    return _read(path).decode("utf-8", "surrogateescape")  # names of files need not be text


def _read(path: Path) -> bytes:
    """Reads a text file as UTF-8 without a byte-order mark; a UTF-16 file (Windows' "Unicode") has one."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"annotation file {path} does not exist; put it there or correct its name") from None
    except OSError as error:
        raise UserError(f"annotation file {path}: cannot be read ({error.strerror})") from None
    content = content.removeprefix(codecs.BOM_UTF8)
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        try:
            content = content.decode("utf-16").encode()
        except UnicodeError:
            raise UserError(f"{path} begins as UTF-16 text and is none: save it as UTF-8, or get it again") from None
    refuse_html(path, content)
    if not content.strip():
        raise UserError(f"{path} is empty: download it again")
    return content


def _parse_rows(path: Path, content: bytes, n_values: int | None, first_line: int) -> tuple[list[str], np.ndarray]:
    """Parses names, and values as int32 (N, n_values), in blocks of whole lines of about a quarter of a megabyte.

    Python's own split would create 8 million small objects for the full attribute file. Array operations on the
    positions of its blanks take a fraction of a second, and blocks keep the arrays in the processor's cache.
    """
    if n_values is None:
        n_values = len(content.lstrip().partition(b"\n")[0].split()) - 1
        if n_values < 1:
            raise _wrong_length(path, content, n_values, first_line)
    if not content.endswith(b"\n"):
        content += b"\n"
    names: list[str] = []
    blocks: list[np.ndarray] = []
    begin = 0
    while begin < len(content):
        end = content.index(b"\n", min(begin + _BLOCK, len(content) - 1)) + 1
        block = content[begin:end]
        raw = np.frombuffer(block, dtype=np.uint8)
        edges = np.flatnonzero(np.diff(raw <= 32, prepend=True))
        starts, ends = edges[0::2], edges[1::2]
        if len(starts) % (n_values + 1) or not _rows_are_lines(raw, starts, n_values + 1):
            raise _wrong_length(path, content, n_values, first_line)
        starts, ends = starts.reshape(-1, n_values + 1), ends.reshape(-1, n_values + 1)
        first = zip(starts[:, 0].tolist(), ends[:, 0].tolist(), strict=True)
        names += [block[a:b].decode("utf-8", "replace") for a, b in first]
        values, wrong = _integers(raw, starts[:, 1:], ends[:, 1:])
        if wrong is not None:
            name = names[len(names) - len(starts) + wrong]
            raise UserError(f"{path}: the line of {name} holds something that is no integer; download the file again")
        blocks.append(values)
        begin = end
    if not names:
        raise UserError(f"{path} holds no rows: download it again")
    return names, np.concatenate(blocks)


def _rows_are_lines(raw: np.ndarray, starts: np.ndarray, per_row: int) -> bool:
    """Returns whether every ``per_row`` tokens are one line, by the lines of each row's first and last token."""
    line = np.searchsorted(np.flatnonzero(raw == 10), starts)
    first, last = line[::per_row], line[per_row - 1 :: per_row]
    return bool(np.array_equal(first, last) and (np.diff(first) > 0).all())


def _wrong_length(path: Path, content: bytes, n_values: int, first_line: int) -> UserError:
    for number, line in enumerate(content.splitlines(), start=first_line):
        if line.strip() and (len(line.split()) != n_values + 1 or n_values < 1):
            return UserError(
                f"{path}: line {number} should hold a file name and {max(1, n_values)} values and holds "
                f"{len(line.split())} words: was the file cut short? download it again"
            )
    return UserError(f"{path}: its lines do not hold one image each: download it again")


def _integers(raw: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, int | None]:
    """Parses all tokens raw[start:end] at once: int32 values, and the first row with a token that is not an integer."""
    negative = raw[starts] == ord("-")
    values = np.zeros(starts.shape, dtype=np.int32)
    digits = ends - starts - negative
    bad = (digits < 1) | (digits > 9)
    for place in range(min(9, int(digits.max(initial=0)))):
        inside = place < digits
        digit = raw[np.where(inside, ends - digits + place, starts)].astype(np.int32) - ord("0")
        bad |= inside & ((digit < 0) | (digit > 9))
        values = np.where(inside, values * 10 + digit, values)
    rows = np.flatnonzero(bad.any(axis=1))
    return np.where(negative, -values, values), int(rows[0]) if len(rows) else None


@lru_cache(maxsize=1 << 16)
def _integer(cell: str) -> int | None:
    """Value of a cell: an integer, also written as 1.0, or True or False; None for anything else."""
    if cell.lower() in ("true", "false"):
        return int(cell.lower() == "true")
    match = re.fullmatch(r"([+-]?[0-9]{1,9})([.,]0*)?", cell)
    return int(match.group(1)) if match else None
