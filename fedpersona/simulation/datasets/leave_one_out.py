"""Hold two items of each person back: one to choose settings by, one to test with.

A person's position is the same in the split's ``train`` and in its ``complete`` population.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedpersona.errors import DataError
from fedpersona.randomness import generator
from fedpersona.simulation.population import Population, Split

__all__ = ["NEGATIVES", "SHORTEST", "SPLIT_SEED", "at_random", "by_time", "latest"]

SPLIT_SEED = 2026
"""Seeds every split of a real dataset, so that runs with other training seeds stay comparable."""

NEGATIVES = 99
"""Items drawn beside each held-out one, for the sampled protocol of older papers."""

SHORTEST = 3
"""Fewest items of a person: one to test, one to validate, one to learn from."""

_MOST_PEOPLE_WITH_NEGATIVES = 20_000
"""Above this the draw costs more than the sampled protocol is worth."""


def by_time(population: Population, seed: int = SPLIT_SEED, *, file_order: NDArray[np.integer] | None = None) -> Split:
    """Hold each person's last item back for the test, and the one before it for validation.

    Args:
        population: the histories, with times; people with fewer than three items are left out.
        seed: seeds the negatives; the held-out items depend on the times alone.
        file_order: what breaks ties of time, the higher number counting as later, shape (interactions,) in
            the population's own order; catalogue rows where it is None.

    Returns:
        The split, with ``complete`` set. Its negatives are None for more than 20,000 people, or where someone
        has fewer than 198 items they never played.

    Raises:
        DataError: the histories have no times, or nobody has three items.
    """
    if population.times is None:
        raise DataError(f"{population.name} has no times to split by: hold items back at random")
    kept, rows = _long_enough(population)
    times = population.times[rows]
    ties = kept.items if file_order is None else file_order[rows]
    left = np.ones(kept.interactions, np.bool_)
    test = latest(kept.indptr, times, ties, left)
    left[test] = False
    val = latest(kept.indptr, times, ties, left)
    return _held_out(kept, test=test, val=val, rng=generator(seed, "leave-one-out negatives"))


def at_random(population: Population, seed: int = SPLIT_SEED) -> Split:
    """Hold two items of each person back, drawn uniformly: for histories without times.

    The draw is numpy's ``default_rng(seed)`` in the population's own order and not the keyed generator of
    ``fedpersona.randomness``, since it repeats the split of lastfm-2k that earlier figures were measured with.

    Args:
        population: the histories; people with fewer than three items are left out.
        seed: seeds the held-out items and the negatives.

    Returns:
        The split, with ``complete`` set and negatives as for ``by_time``.

    Raises:
        DataError: nobody has three items.
    """
    kept, _ = _long_enough(population)
    rng = np.random.default_rng(seed)
    order = np.lexsort((rng.random(kept.interactions), _person_of(kept)))
    begins = kept.indptr[:-1]
    return _held_out(kept, test=order[begins], val=order[begins + 1], rng=rng)


def latest(
    indptr: NDArray[np.int64],
    times: NDArray[np.int64],
    ties: NDArray[np.integer],
    left: NDArray[np.bool_],
) -> NDArray[np.int64]:
    """Return where each person's latest interaction is among those left, of which everyone has one.

    Two maxima a person in place of a sort, which takes most of a minute for a million people.
    """
    begins, lengths = indptr[:-1], np.diff(indptr)
    times = np.where(left, times, np.iinfo(np.int64).min)
    tied = left & (times == np.repeat(np.maximum.reduceat(times, begins), lengths))
    ties = np.where(tied, ties, -1)
    return np.flatnonzero(tied & (ties == np.repeat(np.maximum.reduceat(ties, begins), lengths)))


def _person_of(population: Population) -> NDArray[np.int64]:
    """Return the person of each interaction, shape (interactions,)."""
    return np.repeat(np.arange(len(population)), np.diff(population.indptr))


def _select(population: Population, people: NDArray[np.bool_], rows: NDArray[np.bool_]) -> Population:
    """Return the chosen interactions of the chosen people, as a population of its own."""
    chosen_before = np.concatenate([np.zeros(1, np.int64), np.cumsum(rows)])
    counts = np.diff(chosen_before[population.indptr])
    return Population(
        name=population.name,
        catalogue=population.catalogue,
        indptr=np.concatenate([np.zeros(1, np.int64), np.cumsum(counts[people])]),
        items=population.items[rows],
        weights=population.weights[rows],
        times=None if population.times is None else population.times[rows],
        person_ids=population.person_ids[people],
    )


def _long_enough(population: Population) -> tuple[Population, NDArray[np.bool_]]:
    """Return the people with three items or more, and which interactions are theirs."""
    lengths = np.diff(population.indptr)
    people = lengths >= SHORTEST
    if not people.any():
        raise DataError(
            f"nobody in {population.name} has {SHORTEST} items, which holding one back for the test and one "
            "for validation needs"
        )
    rows = np.repeat(people, lengths)
    return (population if people.all() else _select(population, people, rows)), rows


def _held_out(
    population: Population, *, test: NDArray[np.int64], val: NDArray[np.int64], rng: np.random.Generator
) -> Split:
    """Take one interaction of each person out for the test and one for validation, by position."""
    rows = np.ones(population.interactions, np.bool_)
    rows[test] = rows[val] = False
    val_negatives, test_negatives = _negatives(population, rng)
    return Split(
        train=_select(population, np.ones(len(population), np.bool_), rows),
        val=population.items[val],
        test=population.items[test],
        val_negatives=val_negatives,
        test_negatives=test_negatives,
        complete=population,
    )


def _negatives(
    population: Population, rng: np.random.Generator
) -> tuple[NDArray[np.int32], NDArray[np.int32]] | tuple[None, None]:
    """Draw 99 + 99 distinct items a person, outside all of theirs: validation's first, then the test's."""
    people, items = len(population), len(population.catalogue)
    fewest_unseen = items - int(np.diff(population.indptr).max())
    if people > _MOST_PEOPLE_WITH_NEGATIVES or fewest_unseen < 2 * NEGATIVES:
        return None, None
    drawn = np.empty((people, 2 * NEGATIVES), np.int32)
    unseen = np.ones(items, np.bool_)
    for person in range(people):
        own = population.items[population.indptr[person] : population.indptr[person + 1]]
        unseen[own] = False
        drawn[person] = rng.choice(np.flatnonzero(unseen), 2 * NEGATIVES, replace=False)
        unseen[own] = True
    return drawn[:, :NEGATIVES].copy(), drawn[:, NEGATIVES:].copy()
