"""Federated and central: the same factors, by different routes."""

from __future__ import annotations

import numpy as np
import pytest

from fedpersona.aggregation import Coordinator
from fedpersona.simulation.behaviour import Behaviour
from fedpersona.simulation.central import central_ease, central_ials, central_item_knn, central_subspace, twins_of
from fedpersona.simulation.central.ease import central_ease_weights
from fedpersona.simulation.cohort.ials import IALSScorer
from fedpersona.simulation.engine import CohortEngine
from fedpersona.simulation.scoring import play_matrix, query_matrix
from fedpersona.taste import IALS, Ease, Popularity, Subspace
from tests.conftest import invent

# The shared model crosses the wall as float32: about seven digits are left of every round.
TIGHT = {"rtol": 2e-5, "atol": 2e-6}


def federated(model, population):
    engine = CohortEngine(model, population, Behaviour())
    coordinator = Coordinator(
        model, population.catalogue, engine, cohort=len(population), min_count=2, seed=9, ring_bits=64
    )
    start = coordinator.shared
    list(coordinator.run())
    return start, coordinator.shared


def whole(population):
    return play_matrix(population, np.arange(len(population)))


def test_federated_subspace_iteration_is_central_subspace_iteration():
    population = invent(people=200, items=48)
    model = Subspace(dim=4, rounds=5)
    start, shared = federated(model, population)
    fame = np.maximum(population.item_counts, 1.0)[:, None]
    # A federation learns fame in its first round only: centrally that is a start scaled by D^α.
    twin = central_subspace(
        whole(population), start=start["basis"] * fame**model.alpha, iterations=5, alpha=model.alpha, shrinkage=1.0
    )
    signs = np.sign((twin.basis * shared["basis"]).sum(axis=0))
    assert np.allclose(shared["basis"] * signs, twin.basis, rtol=1e-4, atol=2e-5)
    assert np.allclose(shared["strength"], twin.strength, **TIGHT)


def test_federated_ials_is_central_ials():
    population = invent(people=200, items=48)
    model = IALS(dim=6, rounds=4)
    start, shared = federated(model, population)
    twin = central_ials(
        whole(population),
        start=start["factors"].astype(float),
        iterations=4,
        unseen=model.unseen,
        ridge=model.ridge,
    )
    assert np.allclose(shared["factors"], twin.factors, rtol=1e-4, atol=1e-5)
    query = query_matrix(population, np.arange(200), 4.0)
    assert np.allclose(IALSScorer(model, shared).scores(query), twin.scores(query), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("people", "items"), [(30, 48), (200, 48)])
def test_federated_ease_is_central_ease_found_through_people_or_through_items(people, items):
    population = invent(people=people, items=items)
    _, shared = federated(Ease(ridge=7.0), population)
    assert np.allclose(shared["weights"], central_ease_weights(whole(population), 7.0), **TIGHT)
    assert np.allclose(np.diagonal(shared["weights"]), 0.0)
    assert np.array_equal(central_ease(whole(population), ridge=7.0).listeners, population.item_counts)


def test_ease_meets_the_optimality_condition_of_its_least_squares_problem():
    """Steck 2019: off the diagonal, the gradient G (B - I) + λ B vanishes."""
    population = invent(people=80)
    plays = whole(population).toarray()
    _, shared = federated(Ease(ridge=3.0), population)
    weights = shared["weights"].astype(float)
    gradient = plays.T @ plays @ (weights - np.eye(40)) + 3.0 * weights
    assert np.abs(gradient - np.diag(np.diagonal(gradient))).max() < 1e-4


def test_item_knn_is_the_shrunk_cosine_of_the_nearest_neighbours():
    population = invent(people=80)
    plays = whole(population).toarray()
    gram = plays.T @ plays
    counts = np.diagonal(gram)
    expected = gram / (np.sqrt(np.outer(counts, counts)) + 10.0)
    np.fill_diagonal(expected, 0.0)
    everyone = central_item_knn(whole(population), neighbours=40)
    assert np.allclose(everyone.similarity.toarray(), expected)
    nearest = central_item_knn(whole(population), neighbours=3).similarity.toarray()
    assert ((nearest > 0).sum(axis=0) <= 3).all()
    assert np.allclose(nearest.max(axis=0), expected.max(axis=0))


@pytest.mark.parametrize(
    ("model", "names"),
    [
        (Popularity(), ["item kNN, central"]),
        (Subspace(), ["subspace, central", "item kNN, central"]),
        (Ease(), ["ease, central", "item kNN, central"]),
        (IALS(dim=4), ["ials, central", "item kNN, central"]),
    ],
)
def test_every_model_is_compared_with_its_central_twin(model, names):
    population = invent()
    twins = twins_of(model, population, seed=0)
    assert [twin.name for twin in twins] == names
    for twin in twins:
        scores = twin.fit().scores(query_matrix(population, np.arange(5), None))
        assert scores.shape == (5, 40)
        assert np.isfinite(scores).all()
