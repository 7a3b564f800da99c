"""What accuracy does not tell: whether lists reach beyond the hits, differ within, and serve everyone.

Lists are int arrays of shape (people, length) over catalogue rows; -1 fills a list that ended early.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from fedpersona.errors import DataError
from fedpersona.randomness import generator
from fedpersona.simulation.population import Population

__all__ = [
    "coverage",
    "gini",
    "intra_list_diversity",
    "item_information",
    "mainstream_tertiles",
    "novelty_bits",
]

_PEOPLE_AT_ONCE = 8192


def coverage(lists: NDArray[np.integer], items: int) -> float:
    """Return the share of a catalogue of ``items`` that is on at least one list, in [0, 1]."""
    return float(np.count_nonzero(_recommended(lists, items))) / items


def gini(lists: NDArray[np.integer], items: int) -> float:
    """Return the Gini coefficient of how often items are recommended: 0 if all alike."""
    counts = np.sort(_recommended(lists, items)).astype(np.float64)
    total = counts.sum()
    if not total:
        return 0.0
    return float(1.0 - 2.0 * np.sum((np.cumsum(counts) - counts / 2.0) / total) / items)


def item_information(train: Population) -> NDArray[np.float64]:
    """Return -log2 of the share of people who played each item, in bits, shape (items,).

    An item nobody played counts as played by one: new to everyone here is log2(people) bits.
    """
    people = max(len(train), 1)
    return -np.log2(np.maximum(train.item_counts, 1) / people)


def novelty_bits(lists: NDArray[np.integer], train: Population) -> float:
    """Return the mean information of recommended items, in bits (Zhou et al. 2010, equation 4)."""
    shown = lists[lists >= 0]
    return float(item_information(train)[shown].mean()) if shown.size else 0.0


def intra_list_diversity(lists: NDArray[np.integer], train: Population, seed: int = 0, sample: int = 500) -> float:
    """Return one minus the mean cosine between two items of one list (Ziegler et al. 2005, by co-listening).

    The cosine of two items is the number of people who played both over the root of the product of how many
    played each; it is 0 where nobody played one of them. A list's pairs are never formed: the squared length
    of the sum of its items' unit columns holds them all, so the work is linear in the interactions.

    Args:
        lists: recommended items, shape (people, length); no item twice in a list.
        train: the histories that co-listening is counted in.
        seed: which lists are looked at, where there are more than ``sample``.
        sample: how many lists at most.

    Returns:
        A number in [0, 1]; 0 where no list has two items.
    """
    lists = lists[(lists >= 0).sum(axis=1) >= 2]
    if not len(lists):
        return 0.0
    if len(lists) > sample:
        lists = lists[np.sort(generator(seed, "diversity sample").choice(len(lists), sample, replace=False))]
    shown = lists >= 0
    lengths = shown.sum(axis=1)
    counts = train.item_counts
    unit = 1.0 / np.sqrt(np.maximum(counts, 1))
    owner = np.nonzero(shown)[0]
    members = sparse.csr_array(
        (unit[lists[shown]], (lists[shown], owner)), shape=(len(counts), len(lists)), dtype=np.float64
    )
    squares = np.zeros(len(lists))
    for begin in range(0, len(train), _PEOPLE_AT_ONCE):
        summed = _histories(train, begin, begin + _PEOPLE_AT_ONCE) @ members
        squares += np.bincount(summed.indices, weights=summed.data**2, minlength=len(lists))
    played = np.bincount(owner, weights=counts[lists[shown]] > 0, minlength=len(lists))
    cosines = (squares - played) / (lengths * (lengths - 1))
    return float(np.clip(1.0 - cosines.mean(), 0.0, 1.0))


def mainstream_tertiles(
    train: Population, people: NDArray[np.int64], per_person: dict[str, NDArray[np.float64]]
) -> dict[str, dict[str, float]]:
    """Return how accuracy falls to people by how mainstream their own history is.

    People are put in order of the mean information of what they played and cut into three groups of equal
    size; of equal people the one with the lower position is the more mainstream.

    Args:
        train: the histories.
        people: positions of the people measured, shape (people,).
        per_person: values by metric, each of shape (people,).

    Returns:
        ``mainstream``, ``middle``, ``niche``, each with its mean of every metric, and ``gap``: mainstream
        minus niche. Empty with fewer than three people.
    """
    if len(people) < 3:
        return {}
    order = np.argsort(_mean_information(train)[people], kind="stable")
    groups = dict(zip(("mainstream", "middle", "niche"), np.array_split(order, 3), strict=True))
    result = {
        group: {metric: float(values[members].mean()) for metric, values in per_person.items()}
        for group, members in groups.items()
    }
    result["gap"] = {metric: result["mainstream"][metric] - result["niche"][metric] for metric in per_person}
    return result


def _recommended(lists: NDArray[np.integer], items: int) -> NDArray[np.int64]:
    """Return on how many lists each item is, shape (items,)."""
    shown = lists[lists >= 0]
    if shown.size and shown.max() >= items:
        raise DataError(f"item rows must lie in [0, {items})", place="lists")
    return np.bincount(shown, minlength=items)


def _histories(train: Population, begin: int, end: int) -> sparse.csr_array:
    """Return people x items of ones, for the people at positions [begin, end)."""
    indptr = train.indptr[begin : end + 1]
    items = train.items[indptr[0] : indptr[-1]]
    shape = (len(indptr) - 1, len(train.catalogue))
    return sparse.csr_array((np.ones(len(items)), items, indptr - indptr[0]), shape=shape)


def _mean_information(train: Population) -> NDArray[np.float64]:
    """Return the mean information of what each person played, in bits; 0 for an empty history."""
    information = item_information(train)
    blocks = range(0, len(train), _PEOPLE_AT_ONCE)
    sums = [_histories(train, begin, begin + _PEOPLE_AT_ONCE) @ information for begin in blocks]
    return np.concatenate(sums) / np.maximum(np.diff(train.indptr), 1)
