"""Scores for many people at once: what evaluation, tuning and the central twins have in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from fedpersona.simulation.population import Population
from fedpersona.taste.query import discounted

__all__ = [
    "PersonalScorer",
    "RawScores",
    "Scorer",
    "Serving",
    "discount_factor",
    "play_matrix",
    "query_matrix",
    "serve",
]


class Scorer(Protocol):
    """A fitted model that scores every item for people whose plays it is given."""

    @property
    def listeners(self) -> NDArray[np.floating]:
        """How many people play each item, as far as the model knows, shape (items,)."""
        ...

    def scores(self, query: csr_array) -> NDArray[np.float32]:
        """Return scores (people, items) for weighted plays (people, items), before any popularity discount."""
        ...


@runtime_checkable
class PersonalScorer(Protocol):
    """A fitted model that scores every item for people whom it knows by position: it has what their devices keep."""

    @property
    def listeners(self) -> NDArray[np.floating]:
        """As of :class:`Scorer`."""
        ...

    def scores_for(self, people: NDArray[np.int64], query: csr_array, half_life: float | None) -> NDArray[np.float32]:
        """Return scores (people, items), before any popularity discount.

        Args:
            people: positions in the population that was trained on, shape (n,).
            query: their plays, weighted by the half-life, shape (n, items).
            half_life: None where all plays count alike: what devices keep is of use then.
        """
        ...


@dataclass(frozen=True)
class Serving:
    """What a device decides for itself, at no upload: see ``TasteModel.recency`` and ``TasteModel.discount``."""

    recency: float | None = None
    discount: float = 0.0


def play_matrix(population: Population, people: NDArray[np.int64]) -> csr_array:
    """Return who played what as ones, float64, shape (people, items), in catalogue order within a person."""
    starts, ends = population.indptr[people], population.indptr[people + 1]
    indptr = np.zeros(len(people) + 1, np.int64)
    np.cumsum(ends - starts, out=indptr[1:])
    if len(people) and people[-1] - people[0] == len(people) - 1:  # neighbours: a view will do
        items = population.items[starts[0] : ends[-1]]
    else:
        items = population.items[_gather(starts, indptr)]
    return csr_array((np.ones(len(items)), items, indptr), shape=(len(people), len(population.catalogue)))


def _gather(starts: NDArray[np.int64], indptr: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the positions of all entries of rows that begin at ``starts`` and have the lengths of ``indptr``."""
    lengths = np.diff(indptr)
    return np.arange(indptr[-1]) + np.repeat(starts - indptr[:-1], lengths)


def query_matrix(population: Population, people: NDArray[np.int64], half_life: float | None) -> csr_array:
    """Return the weighted plays of people, shape (people, items): ``taste.query.query_weights`` for all at once."""
    matrix = play_matrix(population, people)
    if half_life is None or population.times is None:
        return matrix
    times = population.times[_gather(population.indptr[people], matrix.indptr.astype(np.int64))]
    rows = np.repeat(np.arange(len(people)), np.diff(matrix.indptr))
    order = np.lexsort((times, rows))
    sorted_rows, sorted_times = rows[order], times[order]
    # The last position of every run of equal times within a person, then how many come after it.
    ends_run = np.append((sorted_rows[1:] != sorted_rows[:-1]) | (sorted_times[1:] != sorted_times[:-1]), True)
    run_end = np.flatnonzero(ends_run)[np.cumsum(ends_run) - ends_run]
    age = np.empty(len(order))
    age[order] = matrix.indptr[sorted_rows + 1] - 1 - run_end
    matrix.data = np.exp2(-age / half_life)
    return matrix


class RawScores:
    """Scores before any discount, remembered for the latest scorer and half-life where they fit in memory.

    Trying several discounts, or measuring on validation and on test items, then costs one pass over the people.
    """

    def __init__(self, population: Population, *, most_bytes: int = 400_000_000) -> None:
        self.population = population
        self.most_bytes = most_bytes
        self._latest: tuple[Scorer | PersonalScorer, float | None] | None = None
        self._blocks: dict[bytes, NDArray[np.float32]] = {}
        self._bytes = 0

    def get(
        self, scorer: Scorer | PersonalScorer, half_life: float | None, people: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Return scores (people, items), read-only."""
        if self._latest is None or self._latest[0] is not scorer or self._latest[1] != half_life:
            self._latest, self._blocks, self._bytes = (scorer, half_life), {}, 0
        key = people.tobytes()
        if key not in self._blocks:
            query = query_matrix(self.population, people, half_life)
            if isinstance(scorer, PersonalScorer):
                raw = scorer.scores_for(people, query, half_life)
            else:
                raw = scorer.scores(query)
            raw.flags.writeable = False
            if self._bytes + raw.nbytes > self.most_bytes:
                return raw
            self._blocks[key] = raw
            self._bytes += raw.nbytes
        return self._blocks[key]


def serve(
    scorer: Scorer | PersonalScorer, raw: RawScores, serving: Serving
) -> Callable[[NDArray[np.int64]], NDArray[np.float32]]:
    """Return a function from people to their scores (people, items), as their devices would make them."""
    factor = discount_factor(scorer, serving.discount)

    def scores(people: NDArray[np.int64]) -> NDArray[np.float32]:
        plain = raw.get(scorer, serving.recency, people)
        return plain if factor is None else plain * factor

    return scores


def discount_factor(scorer: Scorer | PersonalScorer, discount: float) -> NDArray[np.float32] | None:
    """Return what a discount multiplies each item's score by, shape (items,); None where it leaves all as they are."""
    if discount == 0 or not scorer.listeners.any():
        return None
    return discounted(np.ones(len(scorer.listeners)), scorer.listeners, discount).astype(np.float32)
