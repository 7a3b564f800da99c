"""What a round counts: how many devices are in the sum, and on how many the shared model did well."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fedpersona.aggregation.coordinator import Coordinator
from fedpersona.errors import SumSpoilt
from fedpersona.plays import Plays
from fedpersona.simulation.behaviour import Behaviour
from fedpersona.simulation.engine import CohortEngine, DeviceEngine
from fedpersona.simulation.evaluation.ranking import full_ranks, hit_rate_at
from fedpersona.simulation.private_table import PrivateTable
from fedpersona.taste import MODELS, GradientModel, create
from fedpersona.taste.counters import (
    DEVICES,
    HITS,
    TESTED,
    counted,
    metrics_of,
    round_layout,
    self_test,
    without_counters,
)
from fedpersona.wire.update import Update
from tests.conftest import invent

POPULATION = invent(60, 48)


def coordinated(engine=DeviceEngine, model="popularity", **settings):
    trained = issubclass(MODELS[model], GradientModel)
    model = create(model, {"rounds": 2, "fit_epochs": 4} if model == "fedncf" else {"rounds": 2} if trained else {})
    kept = {"privates": PrivateTable.begin(model, 1, len(POPULATION))} if trained and model.remembers else {}
    return Coordinator(
        model,
        POPULATION.catalogue,
        engine(model, POPULATION, Behaviour(), **kept),
        cohort=60,
        min_count=2,
        seed=1,
        **settings,
    )


def test_a_model_learns_the_same_whether_devices_test_it_or_not():
    plain, tested = coordinated(model="subspace"), coordinated(model="subspace", metrics=True)
    reports = list(zip(plain.run(), tested.run(), strict=True))
    assert plain.shared.hash() == tested.shared.hash()
    assert [dict(one.metrics) for one, _ in reports] == [{}] * len(reports)
    assert reports[0][1].metrics == {"tested": 0.0}, "the first model is random: nobody tests it"
    assert all(one.metrics["tested"] == len(POPULATION) for _, one in reports[1:])
    assert all(0 < one.metrics["hit_rate"] <= 1 for _, one in reports[1:])


def test_a_sum_that_does_not_count_its_devices_is_not_believed_and_changes_nothing():
    class Spoilt(DeviceEngine):
        def collect(self, plan, shared):
            total, count = super().collect(plan, shared)
            return Update({**total.arrays, DEVICES: total[DEVICES] + 2.0**-20}), count

    coordinator = coordinated(Spoilt)
    before = coordinator.shared.hash()
    with pytest.raises(SumSpoilt, match="nothing was released"):
        coordinator.run_round()
    assert coordinator.shared.hash() == before


def test_the_counters_are_taken_off_before_the_model_is_given_the_sum():
    coordinator = coordinated(metrics=True)
    plan = coordinator.plan(1)
    total, count = coordinator.collector.collect(plan, coordinator.shared)
    assert set(total.arrays) == {"listeners", DEVICES, TESTED, HITS}
    assert set(without_counters(total, plan, count).arrays) == {"listeners"}
    layout = round_layout(coordinator.model, POPULATION.catalogue, plan)
    assert [spec.name for spec in layout.bounded.arrays] == ["listeners", TESTED, HITS]


@pytest.mark.parametrize("name", MODELS)
def test_a_hit_is_a_rank_among_the_first_ten_of_all_that_is_not_played(name):
    coordinator = coordinated(model=name)
    list(coordinator.run())
    model, shared, hits = coordinator.model, coordinator.shared, 0
    for person in range(len(POPULATION)):
        plays = POPULATION.plays(person)
        known = Plays(plays.items[:-1], plays.weights[:-1])
        scores = model.scores(shared, model.personalise(shared, known), known)
        rank = full_ranks(scores[None, :], plays.items[-1:], (np.array([0, len(known)]), known.items))
        timeless = Plays(plays.items, plays.weights)
        found = self_test(model, shared, timeless)
        assert found == {TESTED: 1.0, HITS: float(hit_rate_at(rank, 10)[0])}
        hits += found[HITS]
    assert 0 < hits < len(POPULATION)


def test_the_track_that_was_played_last_is_the_one_held_out():
    coordinator = coordinated()
    list(coordinator.run())
    model, shared = coordinator.model, coordinator.shared
    famous = np.argsort(-shared["listeners"], kind="stable")
    items = np.sort(famous[[0, 40, 45]]).astype(np.int32)
    for last, hit in ((famous[0], 1.0), (famous[45], 0.0)):
        plays = Plays(items, np.ones(3, np.float32), np.where(items == last, 9, 1).astype(np.int64))
        assert self_test(model, shared, plays)[HITS] == hit


@pytest.mark.parametrize("items", [[], [7]])
def test_who_played_next_to_nothing_is_not_tested(items):
    coordinator = coordinated()
    list(coordinator.run())
    plays = Plays(np.array(items, np.int32), np.ones(len(items), np.float32))
    assert self_test(coordinator.model, coordinator.shared, plays) == {TESTED: 0.0, HITS: 0.0}


def test_scores_that_are_no_numbers_are_no_hit():
    class Broken(type(create("popularity"))):
        def scores(self, shared, private, plays):
            return np.full(len(shared["listeners"]), np.nan)

    coordinator = coordinated()
    list(coordinator.run())
    assert self_test(Broken(), coordinator.shared, POPULATION.plays(0)) == {TESTED: 1.0, HITS: 0.0}


def test_a_device_that_nobody_asks_for_a_test_counts_itself_only():
    coordinator = coordinated()
    plan = coordinator.plan(1)
    update = counted(Update({}), plan, coordinator.model, coordinator.shared, POPULATION.plays(0))
    assert {name: array.tolist() for name, array in update.arrays.items()} == {DEVICES: [1.0]}
    asked = counted(Update({}), replace(plan, metrics=True), coordinator.model, coordinator.shared, POPULATION.plays(0))
    assert set(asked.arrays) == {DEVICES, TESTED, HITS}


def test_the_fast_engine_says_that_it_cannot_test():
    with pytest.raises(Exception, match="engine 'device'"):
        coordinated(CohortEngine, metrics=True).run_round()


@pytest.mark.parametrize(
    ("tested", "hits", "told"),
    [
        (-3.5, 9.0, {"tested": 0.0}),
        (2.5, 9.0, {"tested": 2.5, "hit_rate": 1.0}),
        (40.25, -1.5, {"tested": 40.25, "hit_rate": 0.0}),
        (40.0, 10.0, {"tested": 40.0, "hit_rate": 0.25}),
    ],
)
def test_noise_makes_no_rate_that_cannot_be(tested, hits, told):
    assert metrics_of(Update({TESTED: np.array([tested]), HITS: np.array([hits])})) == told


def test_nobody_tested_is_no_hit_rate():
    assert metrics_of(Update({TESTED: np.zeros(1), HITS: np.zeros(1)})) == {"tested": 0.0}
