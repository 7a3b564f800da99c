"""The fast cohort form against the readable one-device form, and sums that nothing can change."""

from __future__ import annotations

import numpy as np
import pytest

from fedpersona.aggregation import Coordinator
from fedpersona.errors import CohortTooSmall, UnknownName
from fedpersona.simulation.behaviour import Behaviour
from fedpersona.simulation.cohort import cohort_form
from fedpersona.simulation.engine import CohortEngine, DeviceEngine, make_engine
from fedpersona.simulation.scoring import play_matrix, query_matrix
from fedpersona.taste import create
from fedpersona.taste.query import query_weights
from tests.conftest import invent

VARIANTS = [
    ("popularity", {}),
    ("subspace", {"dim": 6}),
    ("subspace", {"dim": 6, "clip": 0.4}),
    ("ease", {}),
    ("ease", {"head": 12}),
    ("ials", {"dim": 5}),
    ("ials", {"dim": 5, "clip": 0.3}),
]
FLAKY = Behaviour(dropout=0.2, available=0.9, daily_swing=0.3)


def learn(engine, population, *, cohort=None, ring_bits=None):
    coordinator = Coordinator(
        engine.model,
        population.catalogue,
        engine,
        cohort=cohort or len(population),
        min_count=2,
        seed=5,
        ring_bits=ring_bits,
    )
    reports = list(coordinator.run())
    return coordinator.shared, reports


@pytest.mark.parametrize("ring_bits", [32, 64])
@pytest.mark.parametrize(("name", "settings"), VARIANTS)
def test_the_cohort_form_gives_the_model_that_devices_one_by_one_give_bit_for_bit(name, settings, ring_bits):
    population = invent()
    model = create(name, settings)
    by_device, reports = learn(DeviceEngine(model, population, FLAKY), population, cohort=40, ring_bits=ring_bits)
    by_cohort, others = learn(CohortEngine(model, population, FLAKY), population, cohort=40, ring_bits=ring_bits)
    assert by_device.hash() == by_cohort.hash()
    assert [r.answered for r in reports] == [r.answered for r in others]


@pytest.mark.parametrize(("name", "settings"), VARIANTS)
def test_workers_and_blocks_change_no_bit_of_the_model(name, settings):
    population = invent(people=90)
    model = create(name, settings)
    hashes = {
        learn(CohortEngine(model, population, FLAKY, workers=workers, block=block), population)[0].hash()
        for workers, block in ((1, 1000), (1, 7), (2, 16), (4, 11), (3, 1))
    }
    assert len(hashes) == 1


@pytest.mark.parametrize(("name", "settings"), VARIANTS)
def test_the_cohort_scorer_gives_the_scores_that_a_device_gives(name, settings):
    population = invent()
    model = create(name, {**settings, "recency": 3.0, "discount": 0.2})
    shared, _ = learn(CohortEngine(model, population, Behaviour()), population)
    people = np.array([3, 4, 50])
    raw = cohort_form(model).scorer(shared).scores(query_matrix(population, people, 3.0))
    for row, person in zip(raw, people.tolist(), strict=True):
        plays = population.plays(person)
        private = model.personalise(shared, plays)
        if name == "popularity":
            assert np.array_equal(row, model.scores(shared, private, plays))
            continue
        device = model.scores(shared, private, plays) * (shared["listeners"].astype(float) + 1) ** 0.2
        assert np.allclose(row, device, rtol=2e-4, atol=1e-6)


def test_weights_of_a_query_are_those_of_the_device_for_any_choice_of_people():
    population = invent()
    for people in (np.arange(60), np.array([59, 0, 7]), np.array([12])):
        matrix = query_matrix(population, people, 2.0)
        for row, person in enumerate(people.tolist()):
            plays = population.plays(person)
            entries = slice(matrix.indptr[row], matrix.indptr[row + 1])
            assert np.array_equal(matrix.indices[entries], plays.items)
            assert np.allclose(matrix.data[entries], query_weights(plays, 2.0))


def test_a_matrix_of_nobody_is_empty():
    assert play_matrix(invent(), np.empty(0, np.int64)).shape == (0, 40)


def test_an_engine_that_does_not_exist_is_named_with_those_that_do():
    with pytest.raises(UnknownName, match="cohort, device"):
        make_engine("ray", create("ease"), invent(), Behaviour(), workers=1, progress=lambda done, total: None)


def test_progress_reaches_everyone_who_answers():
    population, seen = invent(), []
    model = create("popularity")
    engine = CohortEngine(
        model, population, Behaviour(), lambda done, total: seen.append((done, total)), workers=2, block=8
    )
    learn(engine, population)
    assert max(seen) == (60, 60)


def test_a_round_with_too_few_answers_releases_nothing():
    population = invent(people=10)
    engine = CohortEngine(create("popularity"), population, Behaviour(dropout=0.99))
    with pytest.raises(CohortTooSmall, match="nothing was released"):
        learn(engine, population)


def test_an_empty_history_adds_nothing_and_breaks_nothing():
    population = invent(people=6)
    indptr = np.r_[population.indptr, population.indptr[-1]]
    padded = type(population)(
        "padded", population.catalogue, indptr, population.items, population.weights, population.times, np.arange(7)
    )
    for name in ("popularity", "subspace", "ease", "ials"):
        model = create(name, {"dim": 3} if name in ("subspace", "ials") else {})
        first, _ = learn(DeviceEngine(model, padded, Behaviour()), padded)
        second, _ = learn(CohortEngine(model, padded, Behaviour()), padded)
        assert first.hash() == second.hash()
