"""The fast cohort form against the readable one-device form, and sums that nothing can change."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fedpersona.aggregation import Coordinator
from fedpersona.errors import CohortTooSmall, UnknownName
from fedpersona.privacy.fixed_point import FixedPoint
from fedpersona.simulation.behaviour import Behaviour
from fedpersona.simulation.cohort import cohort_form, form
from fedpersona.simulation.engine import CohortEngine, DeviceEngine
from fedpersona.simulation.engines import make_engine
from fedpersona.simulation.scoring import play_matrix, query_matrix
from fedpersona.simulation.simulated_device import SimulatedDevice
from fedpersona.taste import create
from fedpersona.taste.counters import DEVICES, round_layout
from fedpersona.taste.query import query_weights
from fedpersona.wire.message import word_type
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


ROUNDED = [("subspace", {"dim": 6}), ("ials", {"dim": 5})]
"""Models whose addends are not whole numbers."""


def coordinated(engine, population, *, cohort=None, ring_bits=None, collector=None, seed=5):
    return Coordinator(
        engine.model,
        population.catalogue,
        collector or engine,
        cohort=cohort or len(population),
        min_count=2,
        seed=seed,
        ring_bits=ring_bits,
    )


def learn(engine, population, **settings):
    coordinator = coordinated(engine, population, **settings)
    reports = list(coordinator.run())
    return coordinator.shared, reports


class Recorder:
    """Keeps every total: a model may hide a step that was rounded another way, a total does not."""

    def __init__(self, engine) -> None:
        self.engine, self.totals = engine, []

    def collect(self, plan, shared):
        total, count = self.engine.collect(plan, shared)
        self.totals.append({name: array.tobytes() for name, array in total.arrays.items()} | {"count": count})
        return total, count


def totals(engine, population, **settings):
    recorder = Recorder(engine)
    list(coordinated(engine, population, collector=recorder, **settings).run())
    return recorder.totals


@pytest.mark.parametrize("ring_bits", [32, 64])
@pytest.mark.parametrize(("name", "settings"), VARIANTS)
def test_the_cohort_form_gives_the_model_that_devices_one_by_one_give_bit_for_bit(name, settings, ring_bits):
    population = invent()
    model = create(name, settings)
    by_device, reports = learn(DeviceEngine(model, population, FLAKY), population, cohort=40, ring_bits=ring_bits)
    by_cohort, others = learn(CohortEngine(model, population, FLAKY), population, cohort=40, ring_bits=ring_bits)
    assert by_device.hash() == by_cohort.hash()
    assert [r.answered for r in reports] == [r.answered for r in others]


@pytest.mark.parametrize("ring_bits", [32, 64])
@pytest.mark.parametrize(("name", "settings"), VARIANTS)
def test_the_totals_of_every_round_are_those_of_devices_one_by_one_to_the_last_step(name, settings, ring_bits):
    population, model = invent(), create(name, settings)
    asked = {"cohort": 40, "ring_bits": ring_bits}
    alone = totals(DeviceEngine(model, population, FLAKY), population, **asked)
    for block in (None, 7):
        assert totals(CohortEngine(model, population, FLAKY, block=block), population, **asked) == alone


@pytest.mark.parametrize("ring_bits", [32, 64])
@pytest.mark.parametrize(("name", "settings"), ROUNDED)
@pytest.mark.parametrize("wrong", [np.zeros_like, lambda prints: np.roll(prints, 1)], ids=["nobody's", "a neighbour's"])
def test_a_cohort_form_that_rounds_like_another_device_would_be_found_out(
    name, settings, ring_bits, wrong, monkeypatch
):
    population, model = invent(), create(name, settings)
    alone = totals(DeviceEngine(model, population, FLAKY), population, ring_bits=ring_bits)
    fingerprints = form.fingerprints
    monkeypatch.setattr(form, "fingerprints", lambda *plays: wrong(fingerprints(*plays)))
    assert totals(CohortEngine(model, population, FLAKY), population, ring_bits=ring_bits) != alone


@pytest.mark.parametrize("ring_bits", [32, 64])
@pytest.mark.parametrize(("name", "settings"), VARIANTS)
def test_words_that_simulated_devices_send_add_up_to_the_total_of_the_cohort_form(name, settings, ring_bits):
    population, model = invent(), create(name, settings)
    engine = CohortEngine(model, population, Behaviour())
    coordinator = coordinated(engine, population, ring_bits=ring_bits)
    for number in range(1, model.planned_rounds(population.catalogue) + 1):
        plan, shared = coordinator.plan(number), coordinator.shared
        fixed_point = FixedPoint(round_layout(model, population.catalogue, plan), plan.cohort, ring_bits)
        words = np.zeros(fixed_point.layout.size, word_type(ring_bits))
        for person in range(len(population)):
            words += SimulatedDevice.of(population, person, seed=5).message(plan, shared)[1]
        total, _ = engine.collect(plan, shared)
        sent = fixed_point.decode_words(words)
        assert all(np.array_equal(sent[array], total[array]) for array in fixed_point.layout.names)
        coordinator.run_round()


@pytest.mark.parametrize(("name", "settings"), ROUNDED)
def test_another_seed_rounds_another_way_and_no_entry_by_more_than_a_step_a_device(name, settings):
    population, model = invent(), create(name, settings)
    engine = CohortEngine(model, population, Behaviour())
    coordinator = coordinated(engine, population, ring_bits=32)
    plan, shared = coordinator.plan(1), coordinator.shared
    fixed_point = FixedPoint(round_layout(model, population.catalogue, plan), plan.cohort, 32)
    first, second = (engine.collect(replace(plan, seed=seed), shared)[0] for seed in (1, 2))
    for array in fixed_point.layout.names:
        steps = np.abs(first[array] - second[array]) * fixed_point.scale(array)
        assert steps.max() < len(population)
        assert steps.any() == (array not in ("listeners", DEVICES))


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
        make_engine("spark", create("ease"), invent(), Behaviour(), workers=1, progress=lambda done, total: None)


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
        assert totals(DeviceEngine(model, padded, Behaviour()), padded) == totals(
            CohortEngine(model, padded, Behaviour()), padded
        )
