"""Pairs of people and items in no order, on their way to a table by people: spilled to disk, never all in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fedpersona.simulation.mapped_array import create_mapped

__all__ = ["Pairs", "Spill", "Table", "sorted_by_people"]

_TOGETHER = 1 << 20
"""Pairs that are looked at together."""


@dataclass(frozen=True, eq=False)
class Pairs:
    """Some pairs: numbers of people and items, with the weight and the time of each where the source has them."""

    people: NDArray[np.int32]
    items: NDArray[np.int32]
    weights: NDArray[np.float32] | None
    times: NDArray[np.int64] | None

    def columns(self) -> dict[str, NDArray[Any]]:
        """Return what is there by name."""
        return {name: column for name, column in vars(self).items() if column is not None}


class Spill:
    """Pairs in plain files, one a column, in the order in which they came."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.count = 0
        self.per_person = np.zeros(0, np.int64)
        """How many pairs each person has, by number."""
        self._files: dict[str, Any] = {}
        self._dtypes: dict[str, np.dtype[Any]] = {}

    def append(self, pairs: Pairs) -> None:
        """Add pairs, all with the same columns."""
        for name, column in pairs.columns().items():
            if name not in self._files:
                self._files[name] = (self.folder / f"{name}.spill").open("wb")
                self._dtypes[name] = column.dtype
            self._files[name].write(np.ascontiguousarray(column).data)
        counts = np.bincount(pairs.people, minlength=len(self.per_person))
        counts[: len(self.per_person)] += self.per_person
        self.per_person = counts.astype(np.int64, copy=False)
        self.count += len(pairs.people)

    def __iter__(self) -> Iterator[dict[str, NDArray[Any]]]:
        """Yield the columns piece by piece."""
        for file in self._files.values():
            file.flush()
        for start in range(0, self.count, _TOGETHER):
            yield {
                name: np.fromfile(
                    self.folder / f"{name}.spill",
                    dtype,
                    min(_TOGETHER, self.count - start),
                    offset=start * dtype.itemsize,
                )
                for name, dtype in self._dtypes.items()
            }

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name, file in self._files.items():
            file.close()
            (self.folder / f"{name}.spill").unlink(missing_ok=True)


@dataclass(frozen=True, eq=False)
class Table:
    """Pairs by people: those of person ``p`` lie from ``indptr[p]`` to before ``indptr[p + 1]``, in no order."""

    indptr: NDArray[np.int64]
    columns: dict[str, NDArray[Any]]
    """``items``, and ``weights`` and ``times`` where they are there: files that are mapped into memory."""

    def some(self, begin: int, end: int) -> tuple[NDArray[np.int64], dict[str, NDArray[Any]]]:
        """Return the people from ``begin`` to before ``end``: where each begins, and their columns, in memory."""
        rows = slice(int(self.indptr[begin]), int(self.indptr[end]))
        return self.indptr[begin : end + 1] - rows.start, {n: np.array(c[rows]) for n, c in self.columns.items()}


def sorted_by_people(
    spill: Spill, person_rank: NDArray[np.int32], item_rank: NDArray[np.int32]
) -> Iterator[tuple[int, Table]]:
    """Sort pairs by people, by counting: one pass over the spill, straight to where each pair belongs.

    Args:
        spill: the pairs.
        person_rank: the position of each person number in the end.
        item_rank: the row of each item number in the end.

    Yields:
        How many pairs are in their place, and the table, which is whole after the last.
    """
    counts = np.zeros(len(person_rank), np.int64)
    counts[person_rank] = spill.per_person
    indptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
    free = indptr[:-1].copy()
    table, done = Table(indptr, {}), 0
    for piece in spill:
        people = person_rank[piece.pop("people")]
        piece["items"] = item_rank[piece["items"]]
        order = np.argsort(people, kind="stable")
        people = people[order]
        begins = np.flatnonzero(np.concatenate([[True], people[1:] != people[:-1]]))
        lengths = np.diff(np.append(begins, len(people)))
        places = np.repeat(free[people[begins]] - begins, lengths) + np.arange(len(people))
        free[people[begins]] += lengths
        for name, column in piece.items():
            if name not in table.columns:
                table.columns[name] = create_mapped(spill.folder / f"{name}.sorted", column.dtype, (spill.count,))
            table.columns[name][places] = column[order]
        done += len(people)
        yield done, table
