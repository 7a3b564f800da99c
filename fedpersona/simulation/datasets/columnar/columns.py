"""Columns of a population on disk: ``.npy`` files that grow piece by piece, and the header that says what they are."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np
from numpy.lib import format as npy
from numpy.typing import DTypeLike, NDArray
from pydantic import BaseModel, ConfigDict, Field

from fedpersona.simulation.mapped_array import sync

__all__ = ["CATALOGUE", "COLUMNS", "HEADER", "OPTIONAL", "Column", "Header"]

HEADER = "population.json"
"""Written last: a folder without it is no population."""
CATALOGUE = "catalogue.json"

COLUMNS: dict[str, type[np.generic]] = {
    "indptr": np.int64,
    "items": np.int32,
    "weights": np.float32,
    "times": np.int64,
    "person_ids": np.int64,
    "val": np.int32,
    "test": np.int32,
    "val_negatives": np.int32,
    "test_negatives": np.int32,
}
"""Every column by name, as :class:`Population` and :class:`Split` describe them."""
OPTIONAL = frozenset({"weights", "times", "val_negatives", "test_negatives"})
"""Columns that may be missing; weights are, where all of them are one."""


class Header(BaseModel):
    """What a folder holds, in numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["fedpersona population 1"] = "fedpersona population 1"
    name: str
    people: int = Field(ge=0)
    items: int = Field(ge=1)
    interactions: int = Field(ge=0)
    hashes: dict[str, str]
    """SHA-256 of each column's entries, and of the catalogue's file, in hexadecimal."""


class Column:
    """One column while it is written, piece by piece.

    Args:
        path: a new file.
        dtype: of an entry.
        width: entries of a row; None for a column of one dimension.
    """

    def __init__(self, path: Path, dtype: DTypeLike, width: int | None = None) -> None:
        self.path = path
        self.dtype = np.dtype(dtype)
        self._tail = () if width is None else (width,)
        self._digest = hashlib.sha256()
        self.rows = 0
        self._file = path.open("w+b")
        self._write_header()

    def _write_header(self) -> None:
        """Write how many rows there are; numpy leaves room for any number of them."""
        self._file.seek(0)
        header = {"descr": npy.dtype_to_descr(self.dtype), "fortran_order": False, "shape": (self.rows, *self._tail)}
        npy.write_array_header_1_0(self._file, header)

    def append(self, piece: NDArray[Any]) -> None:
        """Add rows at the end."""
        data = np.ascontiguousarray(piece, self.dtype).data
        self._file.write(data)
        self._digest.update(data)
        self.rows += len(piece)

    def finish(self) -> str:
        """Close the file, on the disk, and return the hash of its entries."""
        self._write_header()
        self._file.close()
        sync(self.path)
        return self._digest.hexdigest()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
