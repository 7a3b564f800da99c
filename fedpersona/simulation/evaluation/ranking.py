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
    "checked_scores",
    "full_ranks",
    "hidden_positions",
    "hit_rate_at",
    "lists_of",
    "ndcg_at",
    "random_expectation",
    "ranks_of",
    "recall_at",
    "reciprocal_rank",
    "sampled_ranks",
    "top_items",
]

Masked: TypeAlias = "sparse.csr_matrix | sparse.csr_array | tuple[NDArray[np.integer], NDArray[np.integer]]"
"""The items that no list may hold, by person: a CSR matrix, or its ``(indptr, items)`` alone."""

_AT_ONCE = 1 << 18
"""Scores that are looked at together: few enough to stay near the processor."""
_GROUPS = 512
"""Into how many groups items are dealt, to find a bound that enough of them reach: some eight times a list's length."""


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
    scores = checked_scores(scores, people)
    hidden = hidden_positions(masked, scores.shape)
    return ranks_of(scores, targets, hidden, people=people)


def ranks_of(
    scores: NDArray[np.floating],
    targets: NDArray[np.integer],
    hidden: NDArray[np.int64],
    *,
    people: NDArray[np.integer] | None = None,
) -> NDArray[np.int64]:
    """Return `full_ranks` of scores that :func:`checked_scores` gave, with :func:`hidden_positions` masked."""
    _check_targets(targets, scores)
    _check_open(targets, hidden, scores.shape, people)
    thresholds = scores[np.arange(len(scores)), targets]
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
        checked_scores(scores, None)
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
    scores = checked_scores(scores, None)
    return lists_of(scores, hidden_positions(masked, scores.shape), k)


def lists_of(scores: NDArray[np.floating], hidden: NDArray[np.int64], k: int) -> NDArray[np.int32]:
    """Return `top_items` of scores that :func:`checked_scores` gave, with :func:`hidden_positions` masked.

    One person's scores at a time, which stay near the processor: what is below a bound that k items reach is left
    where it is, and only the rest is put in order.
    """
    if k < 1:
        raise ConfigError(f"a list needs at least one item, not {k}")
    people, items = scores.shape
    lists = np.full((people, k), -1, np.int32)
    begins = np.searchsorted(hidden, np.arange(people + 1, dtype=np.int64) * items)
    columns = hidden - np.repeat(np.arange(people, dtype=np.int64) * items, np.diff(begins))
    row = np.empty(items, scores.dtype)
    for person in range(people):
        row[:] = scores[person]
        row[columns[begins[person] : begins[person + 1]]] = -np.inf
        candidates = np.flatnonzero(row >= _reached(row, k))
        best = candidates[np.argsort(-row[candidates], kind="stable")[:k]]
        best = best[row[best] > -np.inf]
        lists[person, : len(best)] = best
    return lists


def _reached(row: NDArray[np.floating], k: int) -> np.floating:
    """Return a score that at least k of a row's items reach, or all of them where there are fewer: its k-th or below.

    The items are dealt into groups, and of the groups' best the k-th is taken.
    """
    groups = max(_GROUPS, 4 * k)
    depth = len(row) // groups
    if depth < 2:
        best, groups = row, len(row)
    else:
        best = row[: groups * depth].reshape(depth, groups).max(axis=0)
    if k >= groups:
        return row.dtype.type(-np.inf)
    reached: np.floating = np.partition(best, groups - k)[groups - k]
    return reached


def checked_scores(scores: NDArray[np.floating], people: NDArray[np.integer] | None) -> NDArray[np.floating]:
    """Return the scores in C order, having looked at every one; errors are those of `full_ranks`."""
    scores = np.ascontiguousarray(scores)
    if scores.ndim != 2 or scores.dtype.kind != "f":
        raise DataError(f"expected floating scores (people, items), got {scores.dtype} {scores.shape}", place="scores")
    step = max(1, _AT_ONCE // max(scores.shape[1], 1))
    for begin in range(0, len(scores), step):
        finite = np.isfinite(scores[begin : begin + step])
        if not finite.all():
            row, item = np.unravel_index(begin * scores.shape[1] + int(finite.argmin()), scores.shape)
            person = int(row) if people is None else int(people[row])
            raise NonFiniteScore(
                f"person {person}, item {int(item)}: the score is {scores[row, item]}, which has no rank "
                f"({int(np.count_nonzero(~np.isfinite(scores)))} such scores for these {len(scores)} people); "
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
    closed = (
        hidden[np.minimum(np.searchsorted(hidden, wanted), len(hidden) - 1)] == wanted if len(hidden) else wanted < 0
    )
    if closed.any():
        row = int(closed.argmax())
        person = row if people is None else int(people[row])
        raise SplitError(
            f"the held-out item {int(targets[row])} is among the masked items, so it has no rank; "
            "a split may hold each (person, item) pair once",
            place=f"person {person}",
        )


def hidden_positions(masked: Masked, shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Return row * items + item of every masked pair, sorted, each once."""
    indptr, items = masked if isinstance(masked, tuple) else (masked.indptr, masked.indices)
    if len(indptr) != shape[0] + 1 or int(indptr[-1]) != len(items):
        raise DataError(f"expected one masked row for each of {shape[0]} people", place="masked")
    if len(items) and (items.min() < 0 or items.max() >= shape[1]):
        raise DataError(f"item rows must lie in [0, {shape[1]})", place="masked")
    flat = np.repeat(np.arange(shape[0], dtype=np.int64) * shape[1], np.diff(indptr)) + items
    if not (flat[1:] > flat[:-1]).all():
        flat.sort(kind="stable")  # nearly in order: rows that increase, with perhaps one more item at their ends
        flat = flat[np.append(True, flat[1:] != flat[:-1])]
    return flat
