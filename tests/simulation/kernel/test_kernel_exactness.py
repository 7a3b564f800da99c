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


RECIPES = {
    "PFedRec's steps": replace(FEDMF, order="alternate", bias=True, epochs=2, item_lr=50.0),
    "pairs": replace(FEDMF, loss="bpr", epochs=2, batch=33),
    "pairs in alternate steps": replace(FEDMF, loss="bpr", order="alternate", bias=True, epochs=2),
    "FedProx": replace(FEDMF, prox=0.3, epochs=3, batch=16),
    "FedProx on pairs": replace(FEDMF, loss="bpr", prox=2.0, epochs=2),
    "FedRecon's split": replace(FEDMF, order="rebuild", rebuild_epochs=3, support=0.5, epochs=2),
    "FedRecon on pairs": replace(FEDMF, order="rebuild", loss="bpr", rebuild_epochs=2, support=0.3, epochs=2, prox=0.2),
    "FedRecon on all": replace(FEDMF, order="rebuild", rebuild_epochs=2, support=1.0),
    "a person alone": replace(FEDMF, order="rebuild", rebuild_epochs=5, epochs=0, bias=True),
    "one negative": replace(FEDMF, negatives=1, batch=15),
}


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES.keys())
@pytest.mark.parametrize("weighted", [False, True], ids=["plays alike", "weighted plays"])
def test_every_order_and_loss_is_that_of_the_float64_loop(kernel, recipe, weighted):
    items, parts = largest_errors(kernel, recipe, devices(SIZES, weighted=weighted))
    assert items < CLOSE
    assert parts < CLOSE


@pytest.mark.parametrize("dim", [1, 16, 20, 64, 128, 150])
@pytest.mark.parametrize("recipe", [replace(FEDMF, epochs=2), RECIPES["FedProx on pairs"]], ids=["items", "pairs"])
def test_vectors_of_any_length_are_those_of_the_float64_loop(kernel, recipe, dim):
    items, parts = largest_errors(kernel, recipe, devices([0, 1, 30, 150, 200], items=300, dim=dim))
    assert items < CLOSE
    assert parts < CLOSE


def test_items_that_come_again_in_a_batch_move_each_time(kernel):
    those = devices([3, 5, 6], items=12)  # five items of twelve, and four negatives each from the other seven
    items, parts = largest_errors(kernel, replace(FEDMF, epochs=4), those)
    assert items < CLOSE
    assert parts < CLOSE


def test_logits_of_120_give_the_slopes_of_the_float64_loop(kernel):
    those = devices([40, 100, 300])
    far = replace(those, items=those.items * 0 + 2.0, privates=those.privates * 0 + 120.0 / 64.0)
    for sign in (1.0, -1.0):
        extreme = replace(far, privates=np.float32(sign) * far.privates)
        rows, moved = extreme.train(Trainer(kernel, *far.items.shape), FEDMF, moved=True)
        assert np.isfinite(rows).all()
        assert all(np.isfinite(moved.of(device)[1]).all() for device in range(len(extreme)))
        items, parts = largest_errors(kernel, FEDMF, extreme)
        assert items < CLOSE
        assert parts < CLOSE


@pytest.mark.parametrize("order", ["together", "alternate", "rebuild"])
def test_a_training_that_leaves_the_range_of_numbers_moves_nothing(kernel, order):
    recipe = replace(FEDMF, order=order, lr=1e18, item_lr=1e18, epochs=3, rebuild_epochs=2)
    those = devices([20, 100])
    rows, moved = those.train(Trainer(kernel, *those.items.shape), recipe, moved=True)
    np.testing.assert_array_equal(rows, 0.0 if order == "rebuild" else those.privates[:, :-1])
    for device in range(2):
        touched, vectors = moved.of(device)
        np.testing.assert_array_equal(vectors, those.items[touched])
