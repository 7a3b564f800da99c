"""How one device trains: every loss and order against PyTorch's own gradients, on the same samples."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from fedpersona.taste.gradient.descent import Recipe, Samples, descend, draw_passes, follow
from fedpersona.taste.gradient.sampling import Stream

ITEMS, DIM = 30, 5
HISTORY = np.array([2, 3, 11, 12, 13, 25], np.int32)
TABLE = np.random.default_rng(4).normal(0.0, 0.7, (ITEMS, DIM))
VECTOR = np.random.default_rng(5).normal(0.0, 0.7, DIM)
PLAIN = Recipe("bce", "together", epochs=2, batch=7, negatives=3, lr=0.9, item_lr=0.4)


def by_autograd(passes, recipe: Recipe, vector, bias, weights=None):
    """Return person, bias and item table after these passes; every gradient is PyTorch's."""
    table = torch.tensor(TABLE, requires_grad=True)
    person = torch.tensor(np.asarray(vector), requires_grad=True)
    shift = torch.tensor(float(bias), dtype=torch.float64, requires_grad=True)

    def loss(rows, labels, part):
        played = table[rows[0]] if len(rows) == 1 else table[rows[0]] - table[rows[1]]
        logits = played @ person + (shift if recipe.bias else 0.0)
        counted = torch.ones_like(labels)
        if weights is not None and part == "person":
            full = torch.ones(ITEMS, dtype=torch.float64)
            full[torch.tensor(HISTORY).long()] = torch.tensor(weights)
            counted = torch.where(labels == 1.0, full[rows[0]], 1.0)
        return functional.binary_cross_entropy_with_logits(logits, labels, weight=counted)

    def move(parameters, step, rows, labels, part):
        for parameter, gradient in zip(
            parameters, torch.autograd.grad(loss(rows, labels, part), parameters, allow_unused=True), strict=True
        ):
            if gradient is not None:
                with torch.no_grad():
                    parameter -= step[id(parameter)] * gradient

    step = {id(table): recipe.item_lr, id(person): recipe.lr, id(shift): recipe.lr}
    moved = {
        "both": [[person, shift, table]],
        "alternate": [[person, shift], [table]],
        "person": [[person, shift]],
        "items": [[table]],
    }
    for part, samples in passes:
        for first in range(0, samples.size, recipe.batch):
            batch = samples.cut(first, recipe.batch)
            rows = [torch.tensor(row).long() for row in batch.rows]
            for parameters in moved[part]:
                move(parameters, step, rows, torch.tensor(batch.labels), part)
            if recipe.prox and part != "person":
                with torch.no_grad():  # argmin over x of |x - row|² / 2 + step · prox · |x - base|² / 2
                    strength = recipe.item_lr * recipe.prox
                    table.copy_((table + strength * torch.tensor(TABLE)) / (1.0 + strength))
    return person.detach().numpy(), float(shift.detach()), table.detach().numpy()


def whole(trained) -> np.ndarray:
    table = TABLE.copy()
    table[trained.touched] += trained.change
    return table


RECIPES = {
    "FedMF": PLAIN,
    "FedMF by pairs": replace(PLAIN, loss="bpr"),
    "FedMF held back": replace(PLAIN, prox=0.8),
    "FedMF in one batch": replace(PLAIN, batch=1000),
    "FedMF one by one": replace(PLAIN, batch=1, epochs=1),
    "FedMF, five passes": replace(PLAIN, epochs=5),
    "FedMF without negatives of its own": replace(PLAIN, negatives=1),
    "PFedRec": replace(PLAIN, order="alternate", bias=True),
    "PFedRec held back": replace(PLAIN, order="alternate", bias=True, prox=3.0),
    "FedRecon": replace(PLAIN, order="rebuild", rebuild_epochs=3, support=0.5),
    "FedRecon by pairs": replace(PLAIN, order="rebuild", rebuild_epochs=3, loss="bpr"),
    "FedRecon held back": replace(PLAIN, order="rebuild", rebuild_epochs=1, prox=0.2, epochs=3),
}


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_steps_are_those_of_the_loss_by_automatic_differentiation(recipe):
    rebuilt = recipe.order == "rebuild"
    start, bias = (np.zeros(DIM), 0.0) if rebuilt else (VECTOR, 0.3 if recipe.bias else 0.0)
    passes = list(draw_passes(Stream(9), HISTORY, ITEMS, recipe))
    person, shift, table = by_autograd(passes, recipe, start, bias)
    trained = descend(TABLE, HISTORY, VECTOR, bias, 9, recipe)
    assert trained.vector == pytest.approx(person, rel=1e-9, abs=1e-12)
    assert trained.bias == pytest.approx(shift, rel=1e-9, abs=1e-12)
    assert whole(trained) == pytest.approx(table, rel=1e-9, abs=1e-12)
    assert np.abs(trained.change).max() > 1e-3


@pytest.mark.parametrize("loss", ["bce", "bpr"])
def test_weights_of_plays_count_where_the_person_is_rebuilt(loss):
    recipe = replace(PLAIN, loss=loss, order="rebuild", epochs=0, rebuild_epochs=4)
    weights = np.array([0.1, 2.0, 0.0, 1.0, 3.0, 0.5])
    passes = list(draw_passes(Stream(9), HISTORY, ITEMS, recipe))
    person, _, _ = by_autograd(passes, recipe, np.zeros(DIM), 0.0, weights)
    trained = descend(TABLE, HISTORY, VECTOR, 0.0, 9, recipe, weights)
    assert trained.vector == pytest.approx(person, rel=1e-9, abs=1e-12)
    assert not trained.change.any()


def test_an_item_that_is_in_a_batch_twice_moves_by_both():
    samples = Samples((np.array([4, 4], np.int32),), np.array([1.0, 1.0]))
    recipe = replace(PLAIN, item_lr=1.0)
    trained = follow(TABLE, HISTORY[:0], [("items", samples)], VECTOR, 0.0, recipe)
    once = 1.0 / (1.0 + np.exp(TABLE[4] @ VECTOR))
    assert trained.touched.tolist() == [4]
    assert trained.change[0] == pytest.approx(2 * (once / 2) * VECTOR)


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_logits_of_120_give_numbers(recipe):
    for sign in (1.0, -1.0):
        table = np.full((ITEMS, DIM), sign * 120.0 / DIM)
        trained = descend(table, HISTORY, np.ones(DIM), 0.0, 3, recipe)
        assert np.isfinite(trained.change).all()
        assert np.isfinite(trained.vector).all()
    samples = Samples((np.array([0, 0], np.int32),), np.array([0.0, 1.0]))
    flat = replace(recipe, prox=0.0, order="together", batch=2, item_lr=1.0)
    moved = follow(table, HISTORY[:0], [("items", samples)], np.ones(DIM), 0.0, flat).change[0]
    assert moved == pytest.approx(np.full(DIM, 0.5))  # at -120 the play pulls with all its half of the mean


@pytest.mark.parametrize("order", ["together", "alternate"])
def test_a_training_that_leaves_the_numbers_moves_nothing(order):
    absurd = replace(PLAIN, order=order, epochs=50, lr=1e6, item_lr=1e9)
    trained = descend(TABLE, HISTORY, VECTOR, 0.0, 3, absurd)
    assert not trained.change.any()
    assert np.array_equal(trained.vector, VECTOR)


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_nothing_played_moves_nothing(recipe):
    trained = descend(TABLE, HISTORY[:0], VECTOR, 0.0, 3, recipe)
    assert trained.touched.size == trained.change.size == 0
    assert np.array_equal(trained.vector, np.zeros(DIM) if recipe.order == "rebuild" else VECTOR)


def test_held_back_ever_more_items_stay_where_they_are_whatever_the_step():
    moves = [
        np.abs(descend(TABLE, HISTORY, VECTOR, 0.0, 3, replace(PLAIN, item_lr=50.0, prox=prox)).change).max()
        for prox in (0.0, 0.1, 10.0, 1e6)
    ]
    assert moves == sorted(moves, reverse=True)
    assert moves[-1] < 1e-5


def test_only_what_was_looked_up_is_in_the_update():
    passes = list(draw_passes(Stream(9), HISTORY, ITEMS, PLAIN))
    trained = descend(TABLE, HISTORY, VECTOR, 0.0, 9, PLAIN)
    drawn = {item for _, samples in passes for item in samples.rows[0].tolist()}
    assert set(trained.touched.tolist()) == drawn | set(HISTORY.tolist())
    assert trained.touched.tolist() == sorted(trained.touched.tolist())
