"""Measure a scorer on a split: the held-out item of each person among every item they have not played."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fedpersona.errors import ConfigError, DataError
from fedpersona.randomness import generator
from fedpersona.simulation.evaluation.discovery import (
    coverage,
    gini,
    intra_list_diversity,
    mainstream_tertiles,
    novelty_bits,
)
from fedpersona.simulation.evaluation.intervals import bootstrap_interval
from fedpersona.simulation.evaluation.ranking import (
    METRICS,
    checked_scores,
    hidden_positions,
    hit_rate_at,
    lists_of,
    ndcg_at,
    random_expectation,
    ranks_of,
    sampled_ranks,
)
from fedpersona.simulation.population import Split

__all__ = ["Evaluation", "HeldOut", "Scorer", "chance", "evaluate", "people_sample", "quick_ndcg", "quick_ndcgs"]

Scorer: TypeAlias = Callable[[NDArray[np.int64]], NDArray[np.float32]]
"""From people's positions, shape (b,), to one score an item for each of them, shape (b, items)."""

HeldOut: TypeAlias = Literal["val", "test"]
"""Which held-out item is looked for: settings are chosen on ``val``, figures are reported on ``test``."""

_BLOCK_BYTES = 1 << 26
_TERTILE_METRICS = ("ndcg@10", "recall@20")


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What a scorer achieved on one side of a split."""

    on: HeldOut
    """The held-out items that were looked for."""
    people: NDArray[np.int64]
    """Positions of the people measured, shape (people,)."""
    metrics: dict[str, float]
    """Means over people of ``ndcg@10``, ``recall@20``, ``mrr``, ``hr@10``, from full rankings."""
    per_person: dict[str, NDArray[np.float64]]
    """The same metrics a person, each of shape (people,): what a paired test takes."""
    intervals: dict[str, tuple[float, float]]
    """95 % bootstrap interval of each metric; empty without details."""
    sampled: dict[str, float] | None
    """``hr@10`` and ``ndcg@10`` among 99 sampled negatives, for comparison with papers only."""
    discovery: dict[str, float]
    """``coverage``, ``gini``, ``novelty_bits``, ``intra_list_diversity`` ; empty without details."""
    tertiles: dict[str, dict[str, float]]
    """NDCG@10 and Recall@20 of mainstream, middle and niche listeners and the gap; empty without details."""


def evaluate(
    split: Split,
    scorer: Scorer,
    *,
    on: HeldOut,
    people: NDArray[np.int64] | None = None,
    seed: int = 0,
    list_length: int = 30,
    block: int | None = None,
    details: bool = True,
) -> Evaluation:
    """Rank each person's held-out item among all items they have not played, and measure their lists.

    Train items are out of the ranking; on the test side the validation item too. On the validation side the
    test item is a candidate like any other.

    Args:
        split: the people, and what is held back of each.
        scorer: gives every item a finite score for the people it is asked about.
        on: which held-out item is looked for.
        people: positions of the people to measure, shape (n,); everyone if None.
        seed: seed of the resamples and of the lists looked at for diversity.
        list_length: how many items a list has, for the discovery figures.
        block: people scored at once; by default what fits 64 MB of scores, between 16 and 1024.
        details: also intervals, discovery and tertiles; a search over settings can do without.

    Raises:
        NonFiniteScore: a score is NaN or infinite.
        SplitError: a held-out item is also a train item (or, on the test side, the validation item).
        DataError: nobody to measure, or scores of another shape.
        ConfigError: a setting out of its range.
    """
    people = _chosen_people(split, people)
    negatives = split.val_negatives if on == "val" else split.test_negatives
    targets = _targets(split, on)
    ranks, among_sampled, lists = [], [], []
    for members, scores, masked in _blocks(split, scorer, on, people, block):
        scores = checked_scores(scores, members)
        hidden = hidden_positions(masked, scores.shape)
        ranks.append(ranks_of(scores, targets[members], hidden, people=members))
        if negatives is not None:
            among_sampled.append(sampled_ranks(scores, targets[members], negatives[members]))
        if details:
            lists.append(lists_of(scores, hidden, list_length))
    all_ranks = np.concatenate(ranks)
    per_person = {name: metric(all_ranks) for name, metric in METRICS.items()}
    return Evaluation(
        on=on,
        people=people,
        metrics={name: float(values.mean()) for name, values in per_person.items()},
        per_person=per_person,
        intervals={name: bootstrap_interval(values, seed) for name, values in per_person.items()} if details else {},
        sampled=_sampled_metrics(np.concatenate(among_sampled)) if among_sampled else None,
        discovery=_discovery(split, np.concatenate(lists), seed) if details else {},
        tertiles=mainstream_tertiles(split.train, people, {name: per_person[name] for name in _TERTILE_METRICS})
        if details
        else {},
    )


def quick_ndcg(
    split: Split,
    scorer: Scorer,
    *,
    on: HeldOut = "val",
    people: NDArray[np.int64] | None = None,
    block: int | None = None,
) -> float:
    """Return the mean NDCG@10 alone, from the same ranking as `evaluate`: what settings are chosen by.

    Arguments and errors are those of `evaluate`.
    """
    return quick_ndcgs(split, scorer, (None,), on=on, people=people, block=block)[0]


def quick_ndcgs(
    split: Split,
    scorer: Scorer,
    factors: Sequence[NDArray[np.float32] | None],
    *,
    on: HeldOut = "val",
    people: NDArray[np.int64] | None = None,
    block: int | None = None,
) -> list[float]:
    """Return :func:`quick_ndcg` of the scores times each factor, people being scored once.

    Args:
        split: as of `evaluate`, like the rest and the errors.
        scorer: gives the plain scores.
        factors: one number an item each, shape (items,); None leaves the scores as they are.
        on: which held-out item is looked for.
        people: positions of the people to measure.
        block: people scored at once.
    """
    people = _chosen_people(split, people)
    targets = _targets(split, on)
    ranks: list[list[NDArray[np.int64]]] = [[] for _ in factors]
    for members, plain, masked in _blocks(split, scorer, on, people, block):
        hidden = hidden_positions(masked, plain.shape)
        for factor, found in zip(factors, ranks, strict=True):
            scores = checked_scores(plain if factor is None else plain * factor, members)
            found.append(ranks_of(scores, targets[members], hidden, people=members))
    return [float(ndcg_at(np.concatenate(found), 10).mean()) for found in ranks]


def chance(split: Split, *, on: HeldOut, people: NDArray[np.int64] | None = None) -> dict[str, float]:
    """Return what a uniformly random ranking scores in each metric of `Evaluation`, in closed form."""
    indptr, _ = _masked(split, on, _chosen_people(split, people))
    candidates = len(split.catalogue) - np.diff(indptr)
    at_10, at_20 = random_expectation(candidates, 10), random_expectation(candidates, 20)
    return {name: (at_10 | at_20)[name] for name in METRICS}


def people_sample(split: Split, limit: int, seed: int) -> NDArray[np.int64]:
    """Return at most ``limit`` people's positions, drawn without replacement and sorted, shape (n,).

    For populations where measuring everyone would take longer than training.
    """
    if limit < 1:
        raise ConfigError(f"a sample of people needs at least one, not {limit}")
    everyone = len(split.train)
    if everyone <= limit:
        return np.arange(everyone, dtype=np.int64)
    drawn = generator(seed, "evaluation people").choice(everyone, limit, replace=False, shuffle=False)
    return np.sort(drawn).astype(np.int64)


def _chosen_people(split: Split, people: NDArray[np.int64] | None) -> NDArray[np.int64]:
    everyone = len(split.train)
    if people is None:
        people = np.arange(everyone, dtype=np.int64)
    if not len(people):
        raise DataError("there is nobody to measure", place=split.name)
    if people.min() < 0 or people.max() >= everyone:
        raise DataError(f"positions of people must lie in [0, {everyone})", place=split.name)
    return people


def _targets(split: Split, on: HeldOut) -> NDArray[np.int32]:
    if on not in ("val", "test"):
        raise ConfigError(f"a scorer is measured on 'val' or on 'test', not on '{on}'")
    return split.val if on == "val" else split.test


def _blocks(
    split: Split, scorer: Scorer, on: HeldOut, people: NDArray[np.int64], block: int | None
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32], tuple[NDArray[np.int64], NDArray[np.int32]]]]:
    """Yield people, their scores and their masked items, a block at a time."""
    items = len(split.catalogue)
    if block is None:
        block = min(max(_BLOCK_BYTES // (4 * items), 16), 1024)
    if block < 1:
        raise ConfigError(f"a block needs at least one person, not {block}")
    for begin in range(0, len(people), block):
        members = people[begin : begin + block]
        scores = np.asarray(scorer(members))
        if scores.shape != (len(members), items):
            raise DataError(
                f"the scorer returned shape {scores.shape} for {len(members)} people and {items} items",
                place=split.name,
            )
        yield members, scores, _masked(split, on, members)


def _masked(split: Split, on: HeldOut, people: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Return as CSR rows what is out of each ranking: train items, on the test side the val item too."""
    begins = split.train.indptr[people]
    played = split.train.indptr[people + 1] - begins
    extra = int(on == "test")
    indptr = np.zeros(len(people) + 1, np.int64)
    np.cumsum(played + extra, out=indptr[1:])
    places = np.arange(int(played.sum())) + np.repeat(begins - (np.cumsum(played) - played), played)
    items = split.train.items[places]
    if extra:
        items = np.insert(items, np.cumsum(played), split.val[people])
    return indptr, items


def _sampled_metrics(ranks: NDArray[np.int64]) -> dict[str, float]:
    return {"hr@10": float(hit_rate_at(ranks, 10).mean()), "ndcg@10": float(ndcg_at(ranks, 10).mean())}


def _discovery(split: Split, lists: NDArray[np.int32], seed: int) -> dict[str, float]:
    items = len(split.catalogue)
    return {
        "coverage": coverage(lists, items),
        "gini": gini(lists, items),
        "novelty_bits": novelty_bits(lists, split.train),
        "intra_list_diversity": intra_list_diversity(lists, split.train, seed),
    }
