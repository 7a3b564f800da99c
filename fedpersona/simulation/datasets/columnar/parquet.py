"""Listening histories in Parquet files, read a batch of rows at a time."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedpersona.errors import ConfigError, DataError, DataNotFound
from fedpersona.simulation.datasets.columnar.pairs import Pairs

__all__ = ["ColumnNames", "Numbering", "ParquetSource", "is_parquet"]

_BATCH = 1 << 18
"""Rows that are read together."""
_MOST = 2**31 - 1
"""Most people, and most items: rows are numbers of 32 bits."""


@dataclass(frozen=True)
class ColumnNames:
    """What the columns are called; a weight or time that is None is taken where it goes by its usual name."""

    person: str = "person"
    item: str = "item"
    weight: str | None = None
    time: str | None = None


class Numbering:
    """Numbers for ids, in the order in which they come; all of whole numbers, or all of text."""

    def __init__(self, what: str) -> None:
        self.what = what
        self._numbers: dict[int | str, int] = {}

    def __len__(self) -> int:
        return len(self._numbers)

    def of(self, column: Any) -> NDArray[np.int32]:
        """Return the number of each id of an Arrow array without nulls."""
        encoded = column.dictionary_encode()
        known = self._numbers
        numbers = [known.setdefault(value, len(known)) for value in encoded.dictionary.to_pylist()]
        if len(known) > _MOST:
            raise DataError(f"more than {_MOST:,} of them cannot be numbered", place=self.what)
        places: NDArray[np.int64] = encoded.indices.to_numpy(zero_copy_only=False)
        return np.asarray(numbers, np.int32)[places]

    def sorted(self) -> tuple[list[int | str], NDArray[np.int32]]:
        """Return the ids in their own order, and the place of each number among them.

        Raises:
            DataError: some are text and some are numbers.
        """
        ids: list[Any] = list(self._numbers)
        try:
            order = sorted(range(len(ids)), key=ids.__getitem__)
        except TypeError:
            raise DataError("is text in some files and whole numbers in others", place=self.what) from None
        rank = np.empty(len(ids), np.int32)
        rank[order] = np.arange(len(ids), dtype=np.int32)
        return [ids[number] for number in order], rank


def is_parquet(path: Path) -> bool:
    """Return whether a path is meant as Parquet: by its ending, or as a folder that has such files."""
    return path.suffix in (".parquet", ".pq") or (path.is_dir() and bool(_in_folder(path)))


def _in_folder(path: Path) -> list[Path]:
    return sorted(file for file in path.rglob("*.parquet") if file.is_file() and file.name[0] not in "._")


def _files_of(path: Path) -> list[Path]:
    """Return the Parquet files that a path stands for: itself, or those in the folder, in the order of their names.

    Raises:
        DataNotFound: there are none.
    """
    if path.is_dir():
        found = _in_folder(path)
        if not found:
            raise DataNotFound("there is no .parquet file in this folder", path=path)
        return found
    if not path.is_file():
        raise DataNotFound("there is no such file", path=path)
    return [path]


class ParquetSource:
    """Pairs out of files that nobody vouches for.

    Args:
        path: a file, or a folder of files with the same columns.
        names: what the columns are called.

    Raises:
        ConfigError: pyarrow is not installed.
        DataNotFound: there are no files.
        DataError: one is no Parquet file, or lacks a column, or has one of another type than belongs there.
    """

    def __init__(self, path: Path, names: ColumnNames) -> None:
        try:
            self._arrow = importlib.import_module("pyarrow")
            self._parquet = importlib.import_module("pyarrow.parquet")
        except ImportError:
            raise ConfigError(
                "Parquet files need pyarrow, which is not installed: pip install 'fedpersona[parquet]'"
            ) from None
        given = [name for name in vars(names).values() if name is not None]
        if len(set(given)) < len(given):
            raise ConfigError(f"one column cannot be two things: {', '.join(given)}")
        self.files = _files_of(path)
        self.names = names
        self.people, self.items = Numbering(names.person), Numbering(names.item)
        schemas = [(file, self._opened(file)) for file in self.files]
        first = schemas[0][1].schema_arrow.names
        self._weight = self._optional(names.weight, "weight", first)
        self._time = self._optional(names.time, "timestamp", first)
        self.rows = sum(opened.metadata.num_rows for _, opened in schemas)
        for file, opened in schemas:
            self._check_schema(file, opened.schema_arrow)
            opened.close()
        if not self.rows:
            raise DataError("holds no rows", path=path)

    @staticmethod
    def _optional(given: str | None, usual: str, there: list[str]) -> str | None:
        return given if given is not None else (usual if usual in there else None)

    def _opened(self, file: Path) -> Any:
        try:
            return self._parquet.ParquetFile(file, memory_map=False, pre_buffer=False)
        except (self._arrow.ArrowException, OSError) as error:
            raise _damaged(file, error) from None

    def _check_schema(self, file: Path, schema: Any) -> None:
        kinds = self._arrow.types
        ids, numbers = (kinds.is_integer, _is_text), (kinds.is_integer, kinds.is_floating)
        wanted = [
            (self.names.person, ids, "whole numbers or text"),
            (self.names.item, ids, "whole numbers or text"),
            (self._weight, numbers, "numbers"),
            (self._time, (*numbers, kinds.is_timestamp), "Unix seconds or timestamps"),
        ]
        for name, fitting, words in wanted:
            if name is None:
                continue
            if schema.names.count(name) > 1:
                raise DataError("more than one column is called so: rename the others", path=file, place=name)
            if name not in schema.names:
                raise DataError(
                    f"there is no such column; there are {', '.join(schema.names)}: say which one it is "
                    "(--person, --item, --weight, --time)",
                    path=file,
                    place=name,
                )
            kind = schema.field(name).type
            kind = kind.value_type if kinds.is_dictionary(kind) else kind
            if not any(fits(kind) for fits in fitting):
                raise DataError(f"is of type {kind}: {words} belong there", path=file, place=name)

    def __iter__(self) -> Iterator[Pairs]:
        """Yield the pairs, a batch of rows at a time."""
        columns = [name for name in (self.names.person, self.names.item, self._weight, self._time) if name is not None]
        for file in self.files:
            opened, row = self._opened(file), 0
            try:
                for batch in opened.iter_batches(batch_size=_BATCH, columns=columns, use_threads=False):
                    yield self._pairs(file, row, batch)
                    row += batch.num_rows
            except (self._arrow.ArrowException, OSError) as error:
                raise _damaged(file, error) from None
            finally:
                opened.close()

    def _pairs(self, file: Path, row: int, batch: Any) -> Pairs:
        for name in batch.schema.names:
            column = batch.column(name)
            if column.null_count:
                at = row + column.is_null().to_pylist().index(True)
                raise DataError("is empty: every row needs one", path=file, place=f"{name}, row {at:,}")
        numbers = []
        for numbering in (self.people, self.items):
            try:
                numbers.append(numbering.of(_plain(batch.column(numbering.what))))
            except UnicodeDecodeError:
                raise DataError(
                    f"is text that is not UTF-8, in or after row {row:,}: write it anew in UTF-8",
                    path=file,
                    place=numbering.what,
                ) from None
        people, items = numbers
        return Pairs(people, items, self._weights(file, row, batch), self._times(file, row, batch))

    def _weights(self, file: Path, row: int, batch: Any) -> NDArray[np.float32] | None:
        if self._weight is None:
            return None
        weights = batch.column(self._weight).to_numpy(zero_copy_only=False).astype(np.float64)
        bad = np.flatnonzero(~(np.isfinite(weights) & (weights > 0) & (weights <= np.finfo(np.float32).max)))
        if bad.size:
            place = f"{self._weight}, row {row + bad[0]:,}"
            raise DataError(f"is {weights[bad[0]]:g}: a weight is a positive number", path=file, place=place)
        return np.asarray(np.maximum(weights.astype(np.float32), np.finfo(np.float32).tiny))

    def _times(self, file: Path, row: int, batch: Any) -> NDArray[np.int64] | None:
        if self._time is None:
            return None
        column = batch.column(self._time)
        if self._arrow.types.is_timestamp(column.type):
            column = column.cast(self._arrow.timestamp("s", tz=column.type.tz), safe=False).cast(self._arrow.int64())
        times: NDArray[Any] = column.to_numpy(zero_copy_only=False)
        whole = times.astype(np.float64)
        bad = np.flatnonzero(~(np.isfinite(whole) & (np.abs(whole) < 2.0**62)))
        if bad.size:
            place = f"{self._time}, row {row + bad[0]:,}"
            raise DataError(f"is {times[bad[0]]}: Unix seconds belong there", path=file, place=place)
        return np.asarray(np.floor(times), np.int64) if times.dtype.kind == "f" else times.astype(np.int64)


def _is_text(kind: Any) -> bool:
    return str(kind) in ("string", "large_string", "string_view")


def _plain(column: Any) -> Any:
    """Return a column without a dictionary of its own, which may hold what no row has."""
    return column.dictionary_decode() if hasattr(column, "dictionary_decode") else column


def _damaged(file: Path, error: Exception) -> DataError:
    first = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
    return DataError(f"is no Parquet file, or was cut off or damaged ({first})", path=file)
