"""Original files as lines and as columns of whole numbers; a malformed line is named by its number."""

from __future__ import annotations

from array import array
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedpersona.errors import DataError

__all__ = ["integer_columns", "lines", "refuse_repeated_pairs", "text"]


def lines(path: Path) -> list[bytes]:
    """Return a file's lines without their ends, blank ones at the end of the file left out.

    Raises:
        DataError: the file cannot be read.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})", path=path) from None
    # Not splitlines: it would also split names at rarer characters.
    found = [line.removesuffix(b"\r") for line in content.split(b"\n")]
    while found and not found[-1].strip():
        found.pop()
    return found


def text(raw: bytes) -> str:
    """Decode UTF-8, or the Windows alphabet where it is not that: old files mix the two by line."""
    try:
        decoded = raw.decode("utf-8")
    except UnicodeDecodeError:
        decoded = raw.decode("cp1252", errors="replace")
    return " ".join(decoded.split())


def integer_columns(path: Path, names: tuple[str, ...], *, separator: bytes = b"\t") -> tuple[NDArray[np.int64], int]:
    """Read a table of whole numbers that are not negative.

    Args:
        path: the file; a first line that starts with the first column's name is a heading.
        names: what the columns are called, in order; a line may not have more or fewer.
        separator: what stands between two columns.

    Returns:
        int64 array of shape (lines, columns), and the number of the line that its first row is.

    Raises:
        DataError: a line has another number of columns, a cell is no such number, or there is no line at all.
    """
    rows = lines(path)
    first = 2 if rows and rows[0].startswith(names[0].encode()) else 1
    cells = array("q")
    for number, row in enumerate(rows[first - 1 :], first):
        parts = row.split(separator)
        if len(parts) != len(names):
            raise DataError(
                f"{len(parts)} columns where {len(names)} belong ({', '.join(names)})",
                path=path,
                place=f"line {number}",
            )
        try:
            cells.extend(map(int, parts))
        except (ValueError, OverflowError):
            raise _not_a_number(path, number, names, parts) from None
    table = np.frombuffer(cells, np.int64).reshape(-1, len(names)) if cells else np.empty((0, len(names)), np.int64)
    if not len(table):
        raise DataError("has no lines to read", path=path)
    if table.min() < 0:
        row, column = np.argwhere(table < 0)[0]
        raise DataError(
            f"{names[column]} is {table[row, column]}: it cannot be negative",
            path=path,
            place=f"line {row + first}",
        )
    return table, first


def _not_a_number(path: Path, number: int, names: tuple[str, ...], parts: list[bytes]) -> DataError:
    def fits(cell: bytes) -> bool:
        try:
            array("q", [int(cell)])
        except (ValueError, OverflowError):
            return False
        return True

    name, cell = next((name, cell) for name, cell in zip(names, parts, strict=True) if not fits(cell))
    return DataError(f"{name} is '{text(cell[:40])}': a whole number belongs there", path=path, place=f"line {number}")


def refuse_repeated_pairs(path: Path, people: NDArray[np.int64], items: NDArray[np.int64], *, first_line: int) -> None:
    """Refuse a table in which one person has one item twice.

    Args:
        path: the file, for the message.
        people: one id a line, shape (lines,).
        items: one id a line, shape (lines,).
        first_line: the number of the line that position 0 is.

    Raises:
        DataError: a pair comes twice; the message names the later line.
    """
    order = np.lexsort((items, people))
    again = (np.diff(people[order]) == 0) & (np.diff(items[order]) == 0)
    if again.any():
        place = int(order[1:][again].min())
        raise DataError(
            f"person {people[place]} has item {items[place]} a second time",
            path=path,
            place=f"line {place + first_line}",
        )
