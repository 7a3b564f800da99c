"""From a table of pairs to a split: duplicates merged, items sorted, two of each person held back; in blocks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedpersona.simulation.datasets.columnar.pairs import Table
from fedpersona.simulation.datasets.columnar.writing import People
from fedpersona.simulation.datasets.leave_one_out import SHORTEST, SPLIT_SEED, latest

__all__ = ["held_out"]

_TOGETHER = 1 << 21
"""Pairs of a block, but for a person who has more alone."""


def held_out(
    table: Table, person_ids: NDArray[np.int64], items: int, *, seed: int = SPLIT_SEED, together: int = _TOGETHER
) -> Iterator[tuple[int, People]]:
    """Hold two items of each person back: ``leave_one_out.by_time`` where there are times, else ``at_random``.

    A pair that comes more than once counts once, with the sum of its weights and the latest of its times. People with
    fewer than three items are left out.

    Args:
        table: the pairs.
        person_ids: one a person of the table.
        items: how many items there are.
        seed: seeds what is held out where there are no times.
        together: pairs of a block.

    Yields:
        How many people of the table are through, and those of a block that stay, split.
    """
    rng = np.random.default_rng(seed)
    begin, people = 0, len(person_ids)
    while begin < people:
        goal = int(table.indptr[begin]) + together
        end = min(people, max(begin + 1, int(np.searchsorted(table.indptr, goal, side="right")) - 1))
        indptr, columns = table.some(begin, end)
        lengths, columns = _merged(indptr, columns, items)
        stay = lengths >= SHORTEST
        rows = np.repeat(stay, lengths)
        columns = {name: column[rows] for name, column in columns.items()}
        yield end, _split(lengths[stay], columns, person_ids[begin:end][stay], rng)
        begin = end


def _merged(
    indptr: NDArray[np.int64], columns: dict[str, NDArray[Any]], items: int
) -> tuple[NDArray[np.int64], dict[str, NDArray[Any]]]:
    """Sort the items within each person, and merge those that come more than once."""
    people = len(indptr) - 1
    key = np.repeat(np.arange(people) * items, np.diff(indptr)) + columns["items"]
    order = np.argsort(key, kind="stable")
    key = key[order]
    begins = np.flatnonzero(np.concatenate([np.ones(min(len(key), 1), np.bool_), key[1:] != key[:-1]]))
    merged = {"items": columns["items"][order][begins]}
    if "weights" in columns:
        # In double precision, and in the order of the source: a sum depends on both.
        sums = np.add.reduceat(columns["weights"][order].astype(np.float64), begins) if len(begins) else np.empty(0)
        merged["weights"] = np.minimum(sums, np.finfo(np.float32).max).astype(np.float32)
    if "times" in columns:
        merged["times"] = np.maximum.reduceat(columns["times"][order], begins) if len(begins) else columns["times"][:0]
    return np.bincount(key[begins] // items, minlength=people), merged


def _split(
    lengths: NDArray[np.int64],
    columns: dict[str, NDArray[Any]],
    person_ids: NDArray[np.int64],
    rng: np.random.Generator,
) -> People:
    """Take two pairs of each person out."""
    indptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    left = np.ones(int(indptr[-1]), np.bool_)
    if not len(lengths):
        test = val = np.empty(0, np.int64)
    elif "times" in columns:
        test = latest(indptr, columns["times"], columns["items"], left)
        left[test] = False
        val = latest(indptr, columns["times"], columns["items"], left)
    else:
        order = np.lexsort((rng.random(len(left)), np.repeat(np.arange(len(lengths)), lengths)))
        test, val = order[indptr[:-1]], order[indptr[:-1] + 1]
    left[test] = left[val] = False
    kept = {name: column[left] for name, column in columns.items()}
    items = columns["items"]
    return People(lengths - 2, {**kept, "person_ids": person_ids, "val": items[val], "test": items[test]})
