"""Many simulated people's histories in one compressed table, and the split that holds some of each one back."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedpersona.catalogue import Catalogue
from fedpersona.errors import DataError, SplitError
from fedpersona.plays import Plays

__all__ = ["Population", "Split", "pieces", "unit_weights"]

_PIECE = 1 << 22
"""Entries of a column that are looked at together: columns may be files larger than memory."""


def pieces(column: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Yield a column in pieces, each contiguous."""
    for start in range(0, len(column), _PIECE):
        yield np.ascontiguousarray(column[start : start + _PIECE])


def unit_weights(count: int) -> NDArray[np.float32]:
    """Return so many weights of one, which take no memory; they cannot be written to."""
    return np.broadcast_to(np.float32(1.0), (count,))


@dataclass(frozen=True, eq=False)
class Population:
    """Histories of simulated people, by rows of a compressed sparse table (CSR).

    Person ``p`` played ``items[indptr[p]:indptr[p + 1]]``. A simulation may hold such a table; a server never does.
    """

    name: str
    """What the population is called in reports: ``lastfm-2k``, ``synthetic``."""
    catalogue: Catalogue
    indptr: NDArray[np.int64]
    """Where each person's rows begin, shape (people + 1,)."""
    items: NDArray[np.int32]
    """Catalogue rows, strictly increasing within a person, shape (interactions,)."""
    weights: NDArray[np.float32]
    """Play counts or other positive weights, shape (interactions,)."""
    times: NDArray[np.int64] | None
    """Unix seconds of the last play of each, shape (interactions,), or None."""
    person_ids: NDArray[np.int64]
    """The ids people have in the source, shape (people,)."""
    folder: Path | None = None
    """Where all of it lies, columns as files that are mapped into memory; None where it is in memory alone."""

    def __post_init__(self) -> None:
        for name in ("indptr", "items", "weights", "person_ids"):
            if not isinstance(getattr(self, name), np.ndarray) or getattr(self, name).ndim != 1:
                raise DataError("must be an array of one dimension", path=self.name, place=name)
        indptr, pairs = self.indptr, self.items.size
        if len(indptr) < 1 or indptr[0] != 0 or indptr[-1] != pairs or (np.diff(indptr) < 0).any():
            raise DataError(f"must rise from 0 to the {pairs:,} interactions", path=self.name, place="indptr")
        if len(self.person_ids) != len(self):
            raise DataError(
                f"{len(self.person_ids):,} ids for {len(self):,} people", path=self.name, place="person_ids"
            )
        for name in ("weights", "times"):
            column = getattr(self, name)
            if column is not None and column.shape != self.items.shape:
                raise DataError(f"{column.size:,} entries for {pairs:,} interactions", path=self.name, place=name)
        self._check_entries()

    def _check_entries(self) -> None:
        for start in range(0, self.items.size, _PIECE):
            self._check_items(start, min(start + _PIECE, self.items.size))
        single = self.weights.strides == (0,)
        for number, some in enumerate(pieces(self.weights[:1] if single else self.weights)):
            bad = np.flatnonzero(~(np.isfinite(some) & (some > 0)))
            if bad.size:
                place = f"weights[{number * _PIECE + bad[0]}]"
                raise DataError("a weight must be positive and finite", path=self.name, place=place)

    def _check_items(self, start: int, end: int) -> None:
        rows, items = len(self.catalogue), np.asarray(self.items[start:end])
        if items.min() < 0 or items.max() >= rows:
            outside = int(np.flatnonzero((items < 0) | (items >= rows))[0])
            problem = f"is {items[outside]}: rows of this catalogue go from 0 to {rows - 1:,}"
            raise DataError(problem, path=self.name, place=f"items[{start + outside}]")
        before = max(start - 1, 0)  # the last item of the piece before is compared with too
        falls = np.diff(self.items[before:end]) <= 0
        begins = self.indptr[np.searchsorted(self.indptr, before, side="right") : np.searchsorted(self.indptr, end)]
        falls[begins - before - 1] = False
        if falls.any():
            place = before + int(np.flatnonzero(falls)[0]) + 1
            person = int(np.searchsorted(self.indptr, place, side="right")) - 1
            raise DataError(
                f"a person's items must increase: person {person} has {self.items[place]} twice or out of order",
                path=self.name,
                place=f"items[{place}]",
            )

    def __getstate__(self) -> dict[str, Any]:
        """Weights of one are sent as one number, however many they are."""
        state = dict(vars(self))
        if self.weights.strides == (0,):
            state["weights"] = None
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        weights = state["weights"]
        vars(self).update(state, weights=unit_weights(state["items"].size) if weights is None else weights)

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def __repr__(self) -> str:
        return (
            f"Population({self.name}: {len(self):,} people, {len(self.catalogue):,} {self.catalogue.kind}s, "
            f"{self.interactions:,} interactions)"
        )

    @property
    def interactions(self) -> int:
        """Number of (person, item) pairs."""
        return int(self.items.size)

    @property
    def timed(self) -> bool:
        """Whether the histories carry times."""
        return self.times is not None

    def plays(self, person: int) -> Plays:
        """Return one person's history as the arrays a taste model takes."""
        rows = slice(int(self.indptr[person]), int(self.indptr[person + 1]))
        return Plays(self.items[rows], self.weights[rows], None if self.times is None else self.times[rows])

    def repeated(self, times: int) -> Population:
        """Return a population in which everyone is there so many times, with the same id: first all, then all again."""
        starts = self.indptr[-1] * np.arange(times, dtype=np.int64)
        return Population(
            name=self.name,
            catalogue=self.catalogue,
            indptr=np.append((starts[:, None] + self.indptr[None, :-1]).reshape(-1), starts[-1] + self.indptr[-1]),
            items=np.tile(self.items, times),
            weights=np.tile(self.weights, times),
            times=None if self.times is None else np.tile(self.times, times),
            person_ids=np.tile(self.person_ids, times),
        )

    def first(self, people: int) -> Population:
        """Return the first so many people."""
        return self.between(0, people)

    def between(self, begin: int, end: int, catalogue: Catalogue | None = None) -> Population:
        """Return the people from position ``begin`` to before ``end``, of another catalogue of that length if given."""
        rows = slice(int(self.indptr[begin]), int(self.indptr[end]))
        return Population(
            name=self.name,
            catalogue=catalogue or self.catalogue,
            indptr=self.indptr[begin : end + 1] - self.indptr[begin],
            items=self.items[rows],
            weights=self.weights[rows],
            times=None if self.times is None else self.times[rows],
            person_ids=self.person_ids[begin:end],
        )

    def person(self, person_id: int) -> int:
        """Return the position of the person with this id.

        Raises:
            DataError: nobody here has that id.
        """
        found = np.flatnonzero(self.person_ids == person_id)
        if not found.size:
            low, high = int(self.person_ids.min()), int(self.person_ids.max())
            raise DataError(
                f"nobody in {self.name} has the id {person_id}: {len(self):,} people have ids from {low} to {high}, "
                "and people with very short histories are left out"
            )
        return int(found[0])

    @cached_property
    def item_counts(self) -> NDArray[np.int64]:
        """How many people played each item, shape (items,)."""
        counts = np.zeros(len(self.catalogue), np.int64)
        for some in pieces(self.items):
            counts += np.bincount(some, minlength=len(counts))
        return counts

    @cached_property
    def data_hash(self) -> str:
        """SHA-256 over the catalogue's version and every array, in hexadecimal."""
        digest = hashlib.sha256(self.catalogue.version.encode())
        for array in (self.indptr, self.items, self.weights, self.times, self.person_ids):
            if array is not None:
                digest.update(f"{array.dtype.str}{array.shape}".encode())
                for some in pieces(array):
                    digest.update(some.data)
        return digest.hexdigest()

    @classmethod
    def from_pairs(
        cls,
        name: str,
        catalogue: Catalogue,
        people: NDArray[np.integer],
        items: NDArray[np.integer],
        *,
        person_ids: NDArray[np.integer],
        weights: NDArray[np.floating] | None = None,
        times: NDArray[np.integer] | None = None,
    ) -> Population:
        """Build the table from unique (person, item) pairs in any order; people are positions in ``person_ids``.

        Raises:
            DataError: a pair is there twice, or a position, a row or a weight is out of range.
        """
        people, items, person_ids = np.asarray(people), np.asarray(items), np.asarray(person_ids)
        columns = [people, items, *(np.asarray(c) for c in (weights, times) if c is not None)]
        if any(column.shape != (len(people),) for column in columns):
            raise DataError("people, items, weights and times must have one entry a pair", path=name)
        outside = np.flatnonzero((people < 0) | (people >= len(person_ids)))
        if outside.size:
            problem = f"is {people[outside[0]]}: positions go from 0 to {len(person_ids) - 1:,}"
            raise DataError(problem, path=name, place=f"people[{outside[0]}]")
        order = np.lexsort((items, people))
        people = people[order]
        indptr = np.zeros(len(person_ids) + 1, np.int64)
        np.cumsum(np.bincount(people, minlength=len(person_ids)), out=indptr[1:])
        return cls(
            name=name,
            catalogue=catalogue,
            indptr=indptr,
            items=items[order].astype(np.int32),
            weights=(np.ones(len(order)) if weights is None else np.asarray(weights)[order]).astype(np.float32),
            times=None if times is None else np.asarray(times)[order].astype(np.int64),
            person_ids=np.asarray(person_ids, np.int64),
        )


@dataclass(frozen=True, eq=False)
class Split:
    """A population to train on, and for each person one item held back for validation and one for the test.

    To the trainer a held-out item is an ordinary unseen item: nothing in ``train`` tells which it is.
    """

    train: Population
    val: NDArray[np.int32]
    """Held-out validation item of each person, shape (people,)."""
    test: NDArray[np.int32]
    """Held-out test item of each person, shape (people,)."""
    val_negatives: NDArray[np.int32] | None = None
    """Items outside all of the person's, for the sampled protocol of older papers, shape (people, 99)."""
    test_negatives: NDArray[np.int32] | None = None
    """As above, for the test item."""
    complete: Population | None = None
    """Every interaction, held-out ones too, where the source has them: what a person's own list must leave out."""

    def __post_init__(self) -> None:
        people, rows = len(self.train), len(self.train.catalogue)
        for name, held_out in (("val", self.val), ("test", self.test)):
            if held_out.shape != (people,):
                raise SplitError(f"{held_out.size:,} held-out items for {people:,} people", path=self.name, place=name)
            if held_out.size and not (held_out.min() >= 0 and held_out.max() < rows):
                raise SplitError(f"rows of this catalogue go from 0 to {rows - 1:,}", path=self.name, place=name)

    @cached_property
    def question(self) -> str:
        """SHA-256 over who played which item and which items are held out: equal for runs that can be compared.

        Titles, play counts and times do not count: they are no part of what is asked.
        """
        digest = hashlib.sha256("\x1f".join(self.catalogue.ids).encode())
        for array in (self.train.indptr, self.train.items, self.val, self.test):
            for some in pieces(array):
                digest.update(some.astype(np.int64).data)
        return digest.hexdigest()

    def __repr__(self) -> str:
        return f"Split({self.train!r}, one item for validation and one for the test held back from each)"

    @property
    def catalogue(self) -> Catalogue:
        """The vocabulary of both sides of the split."""
        return self.train.catalogue

    @property
    def name(self) -> str:
        """What the dataset is called."""
        return self.train.name

    def everything(self, person: int) -> Plays:
        """Return all that a person played, held-out items too: what a list of music new to them must leave out.

        Where the source has no time for a held-out item, it counts as played with the latest one known.
        """
        if self.complete is not None:
            return self.complete.plays(person)
        known = self.train.plays(person)
        items = np.append(known.items, [self.val[person], self.test[person]]).astype(np.int32)
        order = np.argsort(items)
        weights = np.append(known.weights, [1.0, 1.0]).astype(np.float32)[order]
        if known.last_played is None:
            return Plays(items[order], weights)
        latest = known.last_played.max(initial=0)
        return Plays(items[order], weights, np.append(known.last_played, [latest, latest])[order])
