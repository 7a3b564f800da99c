"""What a module is trained on: one device's plays as steps of arrays, drawn from the device's own stream.

Nothing here knows torch. Draws are those of :mod:`fedpersona.taste.gradient.sampling`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedpersona.plays import Plays
from fedpersona.randomness import GOLDEN, fingerprint, mix64
from fedpersona.taste.gradient.sampling import Stream, below, draw_epoch, draw_negatives

__all__ = ["Steps", "in_order", "pointwise_steps", "sequence_steps"]

_HALF = np.uint64(32)


@dataclass(frozen=True, eq=False)
class Steps:
    """All steps of one device in one round. What is only there to fill a step has the weight 0."""

    ids: tuple[NDArray[np.int64], ...]
    """Catalogue rows that the module looks up: one array for each argument of its ``forward``, shape (steps, ...)."""
    beside: tuple[NDArray[np.float32], ...]
    """What the loss takes besides, shape (steps, ...); the last are the weights, which add up to 1 in a step."""

    def __len__(self) -> int:
        return len(self.beside[-1])

    def __iter__(self) -> Iterator[tuple[tuple[NDArray[np.int64], ...], tuple[NDArray[np.float32], ...]]]:
        """Give the arrays of one step after another."""
        for step in range(len(self)):
            yield tuple(array[step] for array in self.ids), tuple(array[step] for array in self.beside)


def pointwise_steps(
    plays: Plays,
    key: int | np.uint64,
    items: int,
    *,
    epochs: int,
    batch: int,
    negatives: int,
    weights: NDArray[np.float64] | None = None,
) -> Steps:
    """Return plays and sampled negatives, shuffled: ids (batch,), then labels (batch,) and weights (batch,).

    Args:
        plays: the history.
        key: begins the device's draws.
        items: rows of the catalogue.
        epochs: passes over the plays.
        batch: samples of a step; the steps are as wide as the device has samples, where these are fewer.
        negatives: items not played for each that was.
        weights: how much each play counts, 1 on average, by default alike, shape (n,).
    """
    stream, ids, labels, shares = Stream(key), [], [], []
    counts = np.ones(items if weights is not None else 0)
    if weights is not None:
        counts[plays.items] = weights
    for _ in range(epochs if len(plays) else 0):
        drawn = draw_epoch(stream, plays.items, plays.items, items, negatives)
        size = len(drawn.items)
        width = min(batch, size)
        count = -(-size // width)
        rows = np.full(count * width, drawn.items[0], np.int64)
        rows[:size] = drawn.items
        label, share = np.zeros(count * width, np.float32), np.zeros(count * width, np.float32)
        label[:size] = drawn.labels
        share[:size] = 1.0 / width
        share[(count - 1) * width : size] = 1.0 / (size - (count - 1) * width)
        if weights is not None:
            share[:size] *= np.where(drawn.labels, counts[drawn.items], 1.0).astype(np.float32)
        ids.append(rows.reshape(count, width))
        labels.append(label.reshape(count, width))
        shares.append(share.reshape(count, width))
    if not ids:
        return Steps((np.empty((0, 1), np.int64),), (np.empty((0, 1), np.float32), np.empty((0, 1), np.float32)))
    return Steps((np.concatenate(ids),), (np.concatenate(labels), np.concatenate(shares)))


def sequence_steps(
    plays: Plays, key: int | np.uint64, items: int, *, epochs: int, length: int, negatives: int
) -> Steps:
    """Return windows of a history: ids (length,) and candidates (length, 1 + negatives), then weights (length,).

    At each place the candidates are the play that came next, and items not played. A pass cuts the history into
    windows at places that are drawn, so that every play is the next one once; a window that is not full is filled at
    its end.

    Args:
        plays: the history; see :func:`in_order`.
        key: begins the device's draws.
        items: rows of the catalogue.
        epochs: passes over the plays.
        length: plays of a window.
        negatives: items not played, for each that was.
    """
    stream, order = Stream(key), in_order(plays).astype(np.int64)
    histories, candidates, shares = [], [], []
    following = len(order) - 1
    for _ in range(epochs if following > 0 and len(order) < items else 0):
        others = draw_negatives(stream, plays.items, items, negatives * following).reshape(following, negatives)
        first = following
        if following > length:
            first = 1 + int(below(stream.take(1) >> _HALF, length)[0])
        starts, ends = np.array(list(_windows(following, first, length)), np.int64).T[..., np.newaxis]
        used = np.minimum(starts + np.arange(length), ends - 1)
        histories.append(order[used])
        candidates.append(np.concatenate([order[used + 1, np.newaxis], others[used]], axis=-1))
        shares.append(np.where(np.arange(length) < ends - starts, 1.0 / (ends - starts), 0.0).astype(np.float32))
    if not histories:
        return Steps(
            (np.empty((0, length), np.int64), np.empty((0, length, 1 + negatives), np.int64)),
            (np.empty((0, length), np.float32),),
        )
    return Steps((np.concatenate(histories), np.concatenate(candidates)), (np.concatenate(shares),))


def _windows(following: int, first: int, length: int) -> Iterator[tuple[int, int]]:
    """Give where windows begin and end: the first one is so long, the others have the full length as far as they go."""
    start, end = 0, first
    while start < following:
        yield start, end
        start, end = end, min(end + length, following)


def in_order(plays: Plays) -> NDArray[np.int32]:
    """Return what was played in the order of its last play, earliest first, shape (n,).

    A history without times gets an order that it alone decides: no other history has the same neighbours in it.
    """
    if plays.last_played is not None:
        return plays.items[np.argsort(plays.last_played, kind="stable")]
    marks = mix64((plays.items.astype(np.uint64) + np.uint64(1)) * GOLDEN ^ fingerprint(plays.items))
    return plays.items[np.argsort(marks, kind="stable")]
