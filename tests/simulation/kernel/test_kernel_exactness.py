"""The compiled kernel against the float64 loop of one device, on the same samples."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fedpersona.simulation.kernel import Trainer
from fedpersona.taste.gradient.descent import Recipe, descend
from tests.simulation.kernel.conftest import devices

FEDMF = Recipe("bce", "together", 1, 64, 4, 5.0, 5.0)
SIZES = [1, 0, 2, 16, 50, 100, 449, 450, 451, 700, 900]
"""One item, none, both sides of half the catalogue, and all of it."""
CLOSE = 3e-5


def largest_errors(kernel, recipe, those, variant=None):
    """Return the largest error of items as a share of the largest update, and that of private parts likewise."""
    trainer = Trainer(kernel, *those.items.shape, variant=variant)
    rows, moved = those.train(trainer, recipe, moved=True)
    items, parts, largest_change, largest_part = [0.0], [0.0], 0.0, 0.0
    for device in range(len(those)):
        start, bias = those.privates[device, :-1], float(those.privates[device, those.items.shape[1]])
        weights = None if those.histories.weights is None else those.histories.weights[those.part(device)]
        exact = descend(
            those.items, those.history(device), start, bias if recipe.bias else 0.0, those.keys[device], recipe, weights
        )
        touched, vectors = moved.of(device)
        order = np.argsort(touched)
        np.testing.assert_array_equal(touched[order], exact.touched)
        change = vectors[order].astype(np.float64) - those.items[exact.touched]
        part = np.append(exact.vector, [exact.bias] if recipe.bias else [])
        items.append(np.abs(change - exact.change).max(initial=0.0))
        parts.append(np.abs(rows[device] - part).max())
        largest_change = max(largest_change, np.abs(exact.change).max(initial=0.0))
        largest_part = max(largest_part, np.abs(part).max())
    return max(items) / (largest_change or 1.0), max(parts) / (largest_part or 1.0)


@pytest.mark.parametrize("epochs", [1, 2, 5])
@pytest.mark.parametrize("batch", [1, 7, 64, 100_000])
def test_items_and_private_vectors_are_those_of_the_float64_loop(kernel, epochs, batch):
    lr = 5.0 if batch > 1 else 0.5
    recipe = replace(FEDMF, epochs=epochs, batch=batch, lr=lr, item_lr=lr)
    items, parts = largest_errors(kernel, recipe, devices(SIZES))
    assert items < CLOSE
    assert parts < CLOSE
