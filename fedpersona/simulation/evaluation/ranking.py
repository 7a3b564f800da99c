"""Ranks of held-out items among all items, and what the ranking metrics make of them.

Every person has one relevant item, so each metric is a function of its rank alone. Scores come in blocks: a
few hundred people by all items, never the whole table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from fedpersona.errors import ConfigError, DataError, NonFiniteScore, SplitError

__all__ = [
    "METRICS",
    "Masked",
    "full_ranks",
    "hit_rate_at",
    "ndcg_at",
    "random_expectation",
    "recall_at",
    "reciprocal_rank",
    "sampled_ranks",
    "top_items",
]

Masked: TypeAlias = "sparse.csr_matrix | sparse.csr_array | tuple[NDArray[np.integer], NDArray[np.integer]]"
"""The items that no list may hold, by person: a CSR matrix, or its ``(indptr, items)`` alone."""


def full_ranks(
    scores: NDArray[np.floating],
    targets: NDArray[np.integer],
    masked: Masked,
    *,
    people: NDArray[np.integer] | None = None,
) -> NDArray[np.int64]:
    """Rank each person's held-out item among all items that are not masked.

    Ties are pessimistic: every other item with the same score counts as ahead, so a model that scores all
    items alike comes last and not first.

    Args:
        scores: one score an item, float32 or float64, shape (people, items); left as it is.
        targets: the catalogue row of each held-out item, shape (people,).
        masked: items out of the ranking, one CSR row a person; an item named twice is masked once.
        people: what to call the people in an error, shape (people,); their rows in the block if None.

    Returns:
        int64 array of shape (people,): how many items are ahead, 0 for the best.

    Raises:
        NonFiniteScore: a score is NaN or infinite, masked items' scores too.
        SplitError: a held-out item is itself masked, so no model could ever be right about it.
        DataError: shapes do not fit, or a row is not in the catalogue.
    """
    scores = _checked(scores, people)
    rows = np.arange(len(scores))
    _check_targets(targets, scores)
    hidden = _flat_positions(masked, scores.shape)
    _check_open(targets, hidden, scores.shape, people)
    thresholds = scores[rows, targets]
    ahead = np.fromiter(
        (np.count_nonzero(row >= mine) for row, mine in zip(scores, thresholds, strict=True)),
        np.int64,
        len(scores),
    )
    # Taking masked items out of the count, instead of out of the scores, spares a copy of the whole block.
    hidden_rows = hidden // scores.shape[1]
    hidden_ahead = scores.reshape(-1)[hidden] >= thresholds[hidden_rows]
    return ahead - 1 - np.bincount(hidden_rows[hidden_ahead], minlength=len(scores))


def sampled_ranks(
    scores: NDArray[np.floating], targets: NDArray[np.integer], negatives: NDArray[np.integer]
) -> NDArray[np.int64]:
    """Rank each held-out item among a few sampled items, as older papers do (He et al. 2017, section 4.1).

    The figures are far higher than those of a full ranking, and can order two models the other way round
    (Krichene and Rendle 2020): they stand beside it for comparison with papers, never in its place.

    Args:
        scores: one score an item, shape (people, items).
        targets: the catalogue row of each held-out item, shape (people,).
        negatives: catalogue rows to rank it against, shape (people, negatives), 99 in the papers.

    Returns:
        int64 array of shape (people,); ties are pessimistic.

    Raises:
        NonFiniteScore: a score that is looked at is NaN or infinite.
        DataError: shapes do not fit, a row is not in the catalogue, or a held-out item is its own negative.
    """
    scores = np.asarray(scores)
    _check_targets(targets, scores)
    if negatives.ndim != 2 or len(negatives) != len(scores):
        raise DataError(f"expected {len(scores)} rows of negatives, got shape {negatives.shape}", place="negatives")
    if negatives.size and (negatives.min() < 0 or negatives.max() >= scores.shape[1]):
        raise DataError(f"item rows must lie in [0, {scores.shape[1]})", place="negatives")
    own = (negatives == targets[:, None]).any(axis=1)
    if own.any():
        row = int(own.argmax())
        raise DataError("the held-out item is among its own negatives", place=f"negatives[{row}]")
    rows = np.arange(len(scores))
    mine, others = scores[rows, targets], np.take_along_axis(scores, negatives.astype(np.int64), axis=1)
    if not (np.isfinite(mine).all() and np.isfinite(others).all()):
        _checked(scores, None)
    ahead: NDArray[np.int64] = (others >= mine[:, None]).sum(axis=1, dtype=np.int64)
    return ahead


def ndcg_at(ranks: NDArray[np.integer], k: int) -> NDArray[np.float64]:
    """Return NDCG@k of each person: 1 / log2(rank + 2) above the cut (Järvelin and Kekäläinen 2002)."""
    return np.where(ranks < k, 1.0 / np.log2(np.asarray(ranks, np.float64) + 2.0), 0.0)


def recall_at(ranks: NDArray[np.integer], k: int) -> NDArray[np.float64]:
    """Return Recall@k of each person; with one relevant item, 1 where it is above the cut and 0 where not."""
    return (np.asarray(ranks) < k).astype(np.float64)


def hit_rate_at(ranks: NDArray[np.integer], k: int) -> NDArray[np.float64]:
    """Return HR@k of each person; with one relevant item it is Recall@k by another name."""
    return recall_at(ranks, k)


def reciprocal_rank(ranks: NDArray[np.integer]) -> NDArray[np.float64]:
    """Return 1 / (rank + 1) of each person, over the whole ranking: no cut."""
    return 1.0 / (np.asarray(ranks, np.float64) + 1.0)


METRICS: Mapping[str, Callable[[NDArray[np.integer]], NDArray[np.float64]]] = MappingProxyType(
    {
        "ndcg@10": lambda ranks: ndcg_at(ranks, 10),
        "recall@20": lambda ranks: recall_at(ranks, 20),
        "mrr": reciprocal_rank,
        "hr@10": lambda ranks: hit_rate_at(ranks, 10),
    }
)
"""The metrics that a run reports, each from ranks to one value a person."""


def random_expectation(candidates: NDArray[np.integer], k: int) -> dict[str, float]:
    """Return what a uniformly random ranking scores on average: what chance is.

    With n candidates every rank has the probability 1/n, so the expectations are sums of a metric over its
    ranks.

    Args:
        candidates: how many items each person's held-out item is ranked among, itself included, shape
            (people,).
        k: the cut.

    Returns:
        ``ndcg@k``, ``recall@k``, ``mrr`` and ``hr@k``, with the number for k, averaged over people.
    """
    if not candidates.size or candidates.min() < 1:
        raise DataError("everyone needs at least one candidate, the held-out item", place="candidates")
    above = np.minimum(candidates, k)
    gains = np.concatenate(([0.0], np.cumsum(1.0 / np.log2(np.arange(k) + 2.0))))
    harmonic = np.concatenate(([0.0], np.cumsum(1.0 / np.arange(1, int(candidates.max()) + 1))))
    recall = float(np.mean(above / candidates))
    return {
        f"ndcg@{k}": float(np.mean(gains[above] / candidates)),
        f"recall@{k}": recall,
        "mrr": float(np.mean(harmonic[candidates] / candidates)),
        f"hr@{k}": recall,
    }


def top_items(scores: NDArray[np.floating], masked: Masked, k: int) -> NDArray[np.int32]:
    """Return each person's k best items that are not masked, best first; of equals the lower row first.

    Args:
        scores: one score an item, float32 or float64, shape (people, items); left as it is.
        masked: items that no list may hold, one CSR row a person.
        k: the length of a list.

    Returns:
        int32 array of shape (people, k). A list with fewer items to choose from ends in -1.

    Raises:
        NonFiniteScore: a score is NaN or infinite.
        ConfigError: k is below one.
    """
    if k < 1:
        raise ConfigError(f"a list needs at least one item, not {k}")
    scores = _checked(scores, None)
    people, items = scores.shape
    open_scores = scores.copy()
    open_scores.reshape(-1)[_flat_positions(masked, scores.shape)] = -np.inf
    length = min(k, items)
    lowest = np.partition(open_scores, items - length, axis=1)[:, items - length, None]
    chosen = (open_scores >= lowest) & (open_scores > -np.inf)
    crowded = np.flatnonzero(chosen.sum(axis=1) > length)
    if crowded.size:  # more items tie for the last places than there are places: the lowest rows take them
        ahead = open_scores[crowded] > lowest[crowded]
        tied = open_scores[crowded] == lowest[crowded]
        places = length - ahead.sum(axis=1, keepdims=True)
        chosen[crowded] = ahead | (tied & (np.cumsum(tied, axis=1, dtype=np.int32) <= places))
    owner, item = np.nonzero(chosen)
    order = np.lexsort((item, -open_scores[owner, item], owner))
    owner, item = owner[order], item[order]
    begins = np.searchsorted(owner, np.arange(people))
    lists = np.full((people, k), -1, np.int32)
    lists[owner, np.arange(len(owner)) - begins[owner]] = item
    return lists


def _checked(scores: NDArray[np.floating], people: NDArray[np.integer] | None) -> NDArray[np.floating]:
    """Return the scores in C order, having looked at every one."""
    scores = np.ascontiguousarray(scores)
    if scores.ndim != 2 or scores.dtype.kind != "f":
        raise DataError(f"expected floating scores (people, items), got {scores.dtype} {scores.shape}", place="scores")
    finite = np.isfinite(scores)
    if not finite.all():
        row, item = np.unravel_index(int(finite.argmin()), scores.shape)
        person = int(row) if people is None else int(people[row])
        raise NonFiniteScore(
            f"person {person}, item {int(item)}: the score is {scores[row, item]}, which has no rank "
            f"({int(finite.size - np.count_nonzero(finite))} such scores for these {len(scores)} people); "
            "look for a diverged or untrained model"
        )
    return scores


def _check_targets(targets: NDArray[np.integer], scores: NDArray[np.floating]) -> None:
    if targets.shape != scores.shape[:1]:
        raise DataError(f"expected {len(scores)} held-out items, got shape {targets.shape}", place="targets")
    if targets.size and (targets.min() < 0 or targets.max() >= scores.shape[1]):
        raise DataError(f"item rows must lie in [0, {scores.shape[1]})", place="targets")


def _check_open(
    targets: NDArray[np.integer],
    hidden: NDArray[np.int64],
    shape: tuple[int, ...],
    people: NDArray[np.integer] | None,
) -> None:
    """Refuse a held-out item that is among the masked ones."""
    wanted = np.arange(len(targets), dtype=np.int64) * shape[1] + targets
    closed = np.isin(wanted, hidden, assume_unique=True)
    if closed.any():
        row = int(closed.argmax())
        person = row if people is None else int(people[row])
        raise SplitError(
            f"the held-out item {int(targets[row])} is among the masked items, so it has no rank; "
            "a split may hold each (person, item) pair once",
            place=f"person {person}",
        )


def _flat_positions(masked: Masked, shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Return row * items + item of every masked pair, sorted, each once."""
    indptr, items = masked if isinstance(masked, tuple) else (masked.indptr, masked.indices)
    if len(indptr) != shape[0] + 1 or int(indptr[-1]) != len(items):
        raise DataError(f"expected one masked row for each of {shape[0]} people", place="masked")
    if len(items) and (items.min() < 0 or items.max() >= shape[1]):
        raise DataError(f"item rows must lie in [0, {shape[1]})", place="masked")
    flat = np.repeat(np.arange(shape[0], dtype=np.int64) * shape[1], np.diff(indptr)) + items
    return flat if (flat[1:] > flat[:-1]).all() else np.unique(flat)
