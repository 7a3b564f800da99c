"""What a population looks like in figures, so that a reader sees how alike two of them are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from fedpersona.randomness import generator
from fedpersona.simulation.population import Population

__all__ = ["LASTFM_2K", "PopulationStatistics", "comparison_rows", "describe"]

_OVERLAP_PEOPLE = 10_000
_OVERLAP_PAIRS = 20_000


@dataclass(frozen=True, kw_only=True)
class PopulationStatistics:
    """Figures of a population; a figure that it has too little data for is NaN."""

    name: str
    """What the population is called."""
    people: int
    """Number of people."""
    items: int
    """Number of items in the catalogue, also those that nobody played."""
    interactions: int
    """Number of (person, item) pairs."""
    density: float
    """Interactions over people times items."""
    history_quartiles: tuple[float, float, float]
    """25th, 50th and 75th percentile of the number of items a person played."""
    listener_quartiles: tuple[float, float, float]
    """25th, 50th and 75th percentile of the number of people who played an item, over items that someone played."""
    zipf_exponent: float
    """Minus the slope of log(listeners) over log(rank), fitted at ranks evenly spaced in log(rank)."""
    popularity_gini: float
    """Gini coefficient of listeners over all items: 0 when all are alike, near 1 when one has them all."""
    top_1_percent_share: float
    """Share of the interactions that is with the most popular 1 % of the items."""
    top_10_percent_share: float
    """Share of the interactions that is with the most popular 10 % of the items."""
    overlap_within: float
    """Mean cosine between the listeners of two items of one person's history, that person left out."""
    overlap_between: float
    """Mean cosine between the listeners of an item of one person and an item of another, both left out."""
    repeated_plays: float
    """Share of all plays that are of an item the person had played before (weights taken as counts)."""
    favourite_share: float
    """Median over people of the share of a person's plays that is of their most played item."""

    @property
    def clustering(self) -> float:
        """How many times more listeners two items of one history share than two items of two people's histories."""
        return self.overlap_within / self.overlap_between if self.overlap_between > 0 else float("nan")


# Measured with `describe` below on the artists with three or more listeners and the people with five or more of them
# (HetRec 2011, Last.fm), held-out items put back; weights are the listening counts of user_artists.dat.
LASTFM_2K = PopulationStatistics(
    name="lastfm-2k",
    people=1_869,
    items=4_607,
    interactions=77_432,
    density=0.008993,
    history_quartiles=(38.0, 44.0, 48.0),
    listener_quartiles=(4.0, 6.0, 13.0),
    zipf_exponent=0.764,
    popularity_gini=0.650,
    top_1_percent_share=0.1818,
    top_10_percent_share=0.5741,
    overlap_within=0.1016,
    overlap_between=0.0411,
    repeated_plays=0.9988,
    favourite_share=0.1427,
)
"""lastfm-2k's figures, to read others against. Its items are artists and its counts span years, so nearly all plays
there are repeats; and it keeps a person's top 50 artists only, so the lengths of its histories are cut short."""


def describe(population: Population) -> PopulationStatistics:
    """Measure a population; takes seconds at a million people.

    The overlaps are means over 20,000 sampled pairs of items among at most 10,000 people, evenly spaced, so that they
    compare across sizes; the sample is the same each time.
    """
    counts = population.item_counts
    popular_first = np.sort(counts)[::-1]
    lengths = np.diff(population.indptr)
    within, between = _overlaps(population)
    cells = len(population) * len(counts)
    return PopulationStatistics(
        name=population.name,
        people=len(population),
        items=len(counts),
        interactions=population.interactions,
        density=population.interactions / cells if cells else float("nan"),
        history_quartiles=_quartiles(lengths),
        listener_quartiles=_quartiles(counts[counts > 0]),
        zipf_exponent=_zipf_exponent(popular_first),
        popularity_gini=_gini(popular_first),
        top_1_percent_share=_top_share(popular_first, 0.01),
        top_10_percent_share=_top_share(popular_first, 0.10),
        overlap_within=within,
        overlap_between=between,
        repeated_plays=_repeated_plays(population),
        favourite_share=_favourite_share(population),
    )


def comparison_rows(statistics: PopulationStatistics) -> list[tuple[str, str, str]]:
    """Return (figure, this population, lastfm-2k) as text, one row a figure, for a report."""
    return [
        (label, mine, reference)
        for (label, mine), (_, reference) in zip(_rows(statistics), _rows(LASTFM_2K), strict=True)
    ]


def _rows(s: PopulationStatistics) -> list[tuple[str, str]]:
    return [
        ("people", f"{s.people:,}"),
        ("items", f"{s.items:,}"),
        ("interactions", f"{s.interactions:,}"),
        ("density", _percent(s.density, 2)),
        ("items a person, quartiles", _triple(s.history_quartiles)),
        ("listeners an item, quartiles", _triple(s.listener_quartiles)),
        ("Zipf exponent of popularity", _number(s.zipf_exponent, 2)),
        ("Gini of popularity", _number(s.popularity_gini, 2)),
        ("interactions with the top 1 % of items", _percent(s.top_1_percent_share)),
        ("interactions with the top 10 % of items", _percent(s.top_10_percent_share)),
        ("listener overlap, two items of one person", _number(s.overlap_within, 3)),
        ("listener overlap, items of two people", _number(s.overlap_between, 3)),
        ("clustering (ratio of the two)", _number(s.clustering, 2)),
        ("plays that are repeats", _percent(s.repeated_plays)),
        ("share of the most played item, median", _percent(s.favourite_share)),
    ]


def _number(value: float, digits: int) -> str:
    return "–" if np.isnan(value) else f"{value:.{digits}f}"


def _percent(value: float, digits: int = 1) -> str:
    return "–" if np.isnan(value) else f"{100 * value:.{digits}f} %"


def _triple(values: tuple[float, float, float]) -> str:
    return " / ".join("–" if np.isnan(value) else f"{value:,.0f}" for value in values)


def _quartiles(values: NDArray[np.int64]) -> tuple[float, float, float]:
    if not values.size:
        return (float("nan"),) * 3
    low, middle, high = np.percentile(values, (25, 50, 75))
    return float(low), float(middle), float(high)


def _zipf_exponent(popular_first: NDArray[np.int64]) -> float:
    heard = popular_first[popular_first > 0]
    if heard.size < 2 or heard[0] == heard[-1]:
        return float("nan")
    # Evenly spaced in log(rank): otherwise the thousands of ranks in the tail would decide the slope alone.
    ranks = np.unique(np.geomspace(1, heard.size, 200).round().astype(np.int64))
    slope = np.polyfit(np.log(ranks), np.log(heard[ranks - 1]), 1)[0]
    return float(-slope)


def _gini(popular_first: NDArray[np.int64]) -> float:
    total, n = float(popular_first.sum()), popular_first.size
    if total == 0:
        return float("nan")
    ranks = np.arange(1, n + 1)
    return float((n + 1 - 2 * (ranks @ popular_first) / total) / n)


def _top_share(popular_first: NDArray[np.int64], share: float) -> float:
    total = popular_first.sum()
    return float(popular_first[: max(1, round(share * popular_first.size))].sum() / total) if total else float("nan")


def _repeated_plays(population: Population) -> float:
    plays = float(population.weights.sum(dtype=np.float64))
    return 1 - population.interactions / plays if plays else float("nan")


def _favourite_share(population: Population) -> float:
    starts = population.indptr[:-1][np.diff(population.indptr) > 0]
    if not starts.size:
        return float("nan")
    totals = np.add.reduceat(population.weights, starts, dtype=np.float64)
    return float(np.median(np.maximum.reduceat(population.weights, starts) / totals))


def _overlaps(population: Population) -> tuple[float, float]:
    """Return the mean cosine within one history and between two histories."""
    listeners, indptr = _sampled_listeners(population)
    lengths = np.diff(indptr)
    rich = np.flatnonzero(lengths >= 2)
    if rich.size < 2:
        return float("nan"), float("nan")
    rng = generator(0, "statistics: pairs of items")
    items = listeners.indices
    one = rng.choice(rich, _OVERLAP_PAIRS)
    other = rich[(np.searchsorted(rich, one) + rng.integers(1, rich.size, _OVERLAP_PAIRS)) % rich.size]
    first = rng.integers(0, lengths[one])
    second = (first + rng.integers(1, lengths[one])) % lengths[one]
    elsewhere = rng.integers(0, lengths[other])
    by_item = listeners.T.tocsr()
    within = _cosine_without(by_item, items[indptr[one] + first], items[indptr[one] + second], (one,))
    between = _cosine_without(by_item, items[indptr[one] + first], items[indptr[other] + elsewhere], (one, other))
    return within, between


def _sampled_listeners(population: Population) -> tuple[sp.csr_array, NDArray[np.int64]]:
    people = len(population)
    chosen = np.unique(np.linspace(0, max(people - 1, 0), min(people, _OVERLAP_PEOPLE)).astype(np.int64))
    whole = sp.csr_array(
        (np.ones(population.interactions, np.float32), population.items, population.indptr),
        shape=(people, len(population.catalogue)),
    )
    listeners = whole[chosen] if chosen.size < people else whole
    return listeners, listeners.indptr.astype(np.int64)


def _cosine_without(
    by_item: sp.csr_array,
    first: NDArray[np.int32],
    second: NDArray[np.int32],
    left_out: tuple[NDArray[np.int64], ...],
) -> float:
    """Return the mean cosine of listener sets without the people whose histories the items were drawn from.

    Left in, they would make two items that only they played look alike.
    """
    ones, others = by_item[first], by_item[second]
    common = np.asarray(ones.multiply(others).sum(axis=1), np.float64)
    size_one, size_other = np.asarray(ones.sum(axis=1), np.float64), np.asarray(others.sum(axis=1), np.float64)
    for person in left_out:
        in_one = _played(by_item, first, person)
        in_other = _played(by_item, second, person)
        common, size_one, size_other = common - in_one * in_other, size_one - in_one, size_other - in_other
    scale = np.sqrt(size_one * size_other)
    return float(np.divide(common, scale, out=np.zeros(len(first)), where=scale > 0).mean())


def _played(by_item: sp.csr_array, items: NDArray[np.int32], people: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return 1 where the person played the item, shape (pairs,)."""
    return np.asarray(by_item[items, people], dtype=np.float64).ravel()
