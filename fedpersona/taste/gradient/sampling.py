"""What a device trains on in one epoch: its plays, and as many items it has not played as are asked for, shuffled.

Negatives are uniform over all items that are not in the device's history. A held-out item is one of these, like any
other: leaving it out would tell the model which it is. Every draw comes from one stream that a key begins
(:func:`fedpersona.randomness.draws`), so that a compiled form takes the very same samples.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedpersona.randomness import draws

__all__ = ["Epoch", "Stream", "Triples", "draw_epoch", "draw_negatives", "draw_triples", "split_history"]

_HALF = np.uint64(32)
_LOW = np.uint64(0xFFFFFFFF)


class Stream:
    """The draws of one device in one round, taken one after another."""

    def __init__(self, key: int | np.uint64) -> None:
        self.key = np.uint64(key)
        self.position = 0

    def peek(self, count: int) -> NDArray[np.uint64]:
        """Return the coming draws, and take none."""
        return draws(self.key, self.position, count)

    def take(self, count: int) -> NDArray[np.uint64]:
        """Take draws, uint64, shape (count,)."""
        taken = self.peek(count)
        self.position += count
        return taken


@dataclass(frozen=True, eq=False)
class Epoch:
    """Samples for a loss of single items, in the order of training."""

    items: NDArray[np.int32]
    """Catalogue rows, shape (samples,)."""
    labels: NDArray[np.bool_]
    """Whether each was played, shape (samples,)."""


@dataclass(frozen=True, eq=False)
class Triples:
    """Samples for a loss of pairs, in the order of training."""

    played: NDArray[np.int32]
    """Shape (samples,)."""
    others: NDArray[np.int32]
    """An item not played for each, shape (samples,)."""


def below(bits: NDArray[np.uint64], limit: int | NDArray[np.integer]) -> NDArray[np.int64]:
    """Return numbers in [0, limit) from 32 bits each (Lemire 2019, without its rejection).

    Their chances differ by less than ``limit`` parts in 2^32.
    """
    return ((bits * np.asarray(limit, np.uint64)) >> _HALF).astype(np.int64)


def draw_negatives(stream: Stream, history: NDArray[np.int32], items: int, count: int) -> NDArray[np.int32]:
    """Draw items that are not in a history, uniformly, with replacement, shape (count,); none where none is left.

    A draw gives two candidates, its lower half first. Where the history is at most half of the catalogue, played
    candidates are passed over; beyond, a candidate counts along the items that were not played. What is left of the
    last draw is given up.

    Args:
        stream: of the device.
        history: rows of all it played, increasing.
        items: rows of the catalogue.
        count: how many.
    """
    left = items - len(history)
    if left == 0 or count == 0:
        return np.empty(0, np.int32)
    if 2 * len(history) > items:
        others = np.setdiff1d(np.arange(items, dtype=np.int32), history, assume_unique=True)
        return others[below(_halves(stream.take(-(-count // 2))), left)[:count]]
    found, missing = [], count
    while missing:
        block = stream.peek(missing)  # at most half of all candidates were played: this is enough or nearly
        candidates = below(_halves(block), items).astype(np.int32)
        free = np.flatnonzero(~_among(history, candidates))[:missing]
        found.append(candidates[free])
        missing -= len(free)
        # Only the draw that brought the last negative is cut short; a block that is used up goes on in the next.
        stream.position += len(block) if missing else -(-(int(free[-1]) + 1) // 2)
    return np.concatenate(found)


def draw_epoch(
    stream: Stream, positives: NDArray[np.int32], history: NDArray[np.int32], items: int, negatives: int
) -> Epoch:
    """Draw one epoch for a loss of single items.

    Negatives are alike in distribution, so it is enough to put each positive at a place of its own: the first
    steps of Fisher and Yates's shuffle, one draw each, by its upper half.

    Args:
        stream: of the device.
        positives: rows to train on, all of them in the history.
        history: rows of all it played, increasing.
        items: rows of the catalogue.
        negatives: how many for each positive.
    """
    drawn = draw_negatives(stream, history, items, negatives * len(positives))
    rows = np.concatenate([positives, drawn])
    labels = np.arange(len(rows)) < len(positives)
    order = _shuffled(stream, len(rows), len(positives))
    return Epoch(rows[order], labels[order])


def draw_triples(
    stream: Stream, positives: NDArray[np.int32], history: NDArray[np.int32], items: int, negatives: int
) -> Triples:
    """Draw one epoch for a loss of pairs: each positive beside so many negatives; arguments as of `draw_epoch`."""
    others = draw_negatives(stream, history, items, negatives * len(positives))
    played = np.repeat(positives, negatives)[: len(others)]
    order = _shuffled(stream, len(others), len(others))
    return Triples(played[order], others[order])


def split_history(
    stream: Stream, history: NDArray[np.int32], share: float
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Split a history at random in two: to rebuild the person from, and to train items on.

    The first part has ``share`` of it, at least one item; where nothing would be left for the second, both are all of
    it. Both are in the order of the shuffle.
    """
    if share >= 1.0 or len(history) < 2:
        return history, history
    order = _shuffled(stream, len(history), len(history))
    first = min(len(history) - 1, max(1, round(share * len(history))))
    return history[order[:first]], history[order[first:]]


def _shuffled(stream: Stream, size: int, steps: int) -> NDArray[np.int64]:
    """Return the positions 0 to size - 1 after so many steps of the shuffle, each one draw."""
    order = np.arange(size)
    steps = min(steps, size)
    jumps = np.arange(steps) + below(stream.take(steps) >> _HALF, size - np.arange(steps))
    for place, other in enumerate(jumps.tolist()):
        order[place], order[other] = order[other], order[place]
    return order


def _halves(block: NDArray[np.uint64]) -> NDArray[np.uint64]:
    return np.stack([block & _LOW, block >> _HALF], axis=1).reshape(-1)


def _among(history: NDArray[np.int32], candidates: NDArray[np.int32]) -> NDArray[np.bool_]:
    if not len(history):
        return np.zeros(len(candidates), bool)
    places = np.minimum(np.searchsorted(history, candidates), len(history) - 1)
    return np.asarray(history[places] == candidates)
