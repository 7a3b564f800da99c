"""Negatives of the compiled kernel: uniform over what was not played, whatever is held out."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chi2

from fedpersona.simulation.kernel import Histories, Trainer
from fedpersona.taste.gradient.descent import Recipe

ONE_OF_EACH = Recipe("bpr", "together", 1, 1, 1, 1e-3, 1e-3)
ITEMS, DEVICES = 50, 40_000


def looked_up(kernel, history):
    """Return how often each item was looked up by devices that have the same history, beside what they played."""
    indptr = len(history) * np.arange(DEVICES + 1)
    table = Histories(indptr, np.tile(history, DEVICES).astype(np.int32))
    keys = np.random.default_rng(4).integers(0, 2**64, DEVICES, dtype=np.uint64)
    items, rows = np.zeros((ITEMS, 1), np.float32), np.ones((DEVICES, 1), np.float32)
    moved = Trainer(kernel, ITEMS, 1, workers=2).train(ONE_OF_EACH, items, table, keys, rows, moved=True)
    counts = np.zeros(ITEMS, np.int64)
    for device in range(DEVICES):
        counts[moved.of(device)[0]] += 1
    return counts


@pytest.mark.parametrize("history", [[7], list(range(1, 50, 2)), list(range(10, 50))], ids=["one", "half", "most"])
def test_negatives_are_uniform_over_what_was_not_played(kernel, history):
    counts = looked_up(kernel, np.array(history))
    free = np.setdiff1d(np.arange(ITEMS), history)
    expected = DEVICES * (1.0 - (1.0 - 1.0 / len(free)) ** len(history))  # once or more in so many draws
    variance = expected * (1.0 - expected / DEVICES)
    surprise = float((np.square(counts[free] - expected) / variance).sum())
    assert surprise < chi2.isf(1e-6, len(free))
    assert (counts[history] == DEVICES).all()


def test_a_held_out_item_is_drawn_like_any_other(kernel):
    """What a trainer is given is the history alone: an item that was taken out of it comes as often as the others."""
    counts = looked_up(kernel, np.array([3, 20, 41]))
    held_out, others = 30, [item for item in range(ITEMS) if item not in (3, 20, 30, 41)]
    mean, deviation = counts[others].mean(), np.sqrt(counts[others].mean())
    assert abs(counts[held_out] - mean) < 5 * deviation
