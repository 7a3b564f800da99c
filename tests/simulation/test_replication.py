"""People who stand for many add up to what that many devices would."""

from __future__ import annotations

import numpy as np
import pytest

from fedpersona.aggregation import Coordinator
from fedpersona.aggregation.protecting import protected
from fedpersona.errors import ConfigError
from fedpersona.simulation import RunConfig
from fedpersona.simulation.behaviour import Behaviour
from fedpersona.simulation.engine import CohortEngine, DeviceEngine
from fedpersona.simulation.narration import Silence
from fedpersona.simulation.replication import EachForMany
from fedpersona.simulation.training import train
from fedpersona.taste import IALS, Ease, Popularity, Subspace
from fedpersona.taste.counters import DEVICES
from tests.conftest import invent

MODELS = [Popularity(), Ease(ridge=5.0), Subspace(dim=3, rounds=2), IALS(dim=3, rounds=2)]


def engines(model, population, times):
    """Return what multiplies the sum, and what sums over copies."""
    people = len(population)
    multiplied = EachForMany(
        CohortEngine(model, population, Behaviour()),
        model,
        population.catalogue,
        people=people,
        devices=people * times,
    )
    return multiplied, CohortEngine(model, population.repeated(times), Behaviour())


def first_round(model, population, collector, devices, protection=None):
    coordinator = Coordinator(
        model, population.catalogue, collector, cohort=devices, min_count=devices, seed=3, protection=protection
    )
    return collector.collect(coordinator.plan(1), coordinator.shared)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_ten_identical_devices_add_ten_times_one(model):
    population = invent()
    multiplied, copied = engines(model, population, 10)
    one, count = first_round(model, population, multiplied, 600)
    other, copies = first_round(model, population, copied, 600)
    assert count == copies == 600
    assert set(one.arrays) == set(other.arrays)
    for name, array in one.arrays.items():
        np.testing.assert_array_equal(array, other[name])


def test_the_same_holds_under_noise_before_the_server_adds_it():
    population = invent()
    model, protection = protected(Ease(), population.catalogue, epsilon=8.0, delta=1e-5, people=600)
    multiplied, copied = engines(model, population, 10)
    one, _ = first_round(model, population, multiplied, 600, protection)
    other, _ = first_round(model, population, copied, 600, protection)
    assert one["listeners"].any()
    np.testing.assert_array_equal(one["listeners"], other["listeners"])


@pytest.mark.parametrize("engine", ["cohort", "device"])
def test_a_whole_training_on_copies_and_on_multiplied_people_is_the_same(engine):
    config = RunConfig(dataset="invented", replicate=4, engine=engine)
    model, population = Subspace(dim=3, rounds=2), invent()
    copies = train(model, population.repeated(4), RunConfig(dataset="invented"), Silence())
    assert train(model, population, config, Silence()).shared.hash() == copies.shared.hash()


def test_where_not_all_answer_copies_answer_or_not_one_by_one():
    config = RunConfig(dataset="invented", replicate=10, behaviour={"dropout": 0.3})
    reports = train(Popularity(), invent(), config, Silence()).reports
    assert 360 < reports[0].answered < 480
    assert reports[0].answered % 10, "ten copies of one person do not leave together"


def test_shares_are_those_of_all_devices_and_not_of_the_few_simulated_ones():
    population = invent(people=60, items=4000)
    model, protection = protected(
        Popularity(), population.catalogue, epsilon=1.0, delta=1e-5, noise="distributed", people=6000
    )
    multiplied, _ = engines(model, population, 100)
    noisy, _ = first_round(model, population, multiplied, 6000, protection)
    exact, _ = first_round(model, population, multiplied, 6000)
    unplayed = np.setdiff1d(np.arange(4000), population.items)
    assert not exact["listeners"][unplayed].any()
    assert np.std(noisy["listeners"][unplayed]) == pytest.approx(model.noise, rel=0.08)


def test_people_can_stand_for_fewer_devices_than_they_are():
    population = invent()
    few = EachForMany(
        DeviceEngine(Popularity(), population, Behaviour()),
        Popularity(),
        population.catalogue,
        people=60,
        devices=15,
    )
    total, count = first_round(Popularity(), population, few, 15)
    assert count == total[DEVICES][0] == 15
    np.testing.assert_allclose(total["listeners"], population.item_counts / 4)


def test_a_round_of_some_of_them_is_refused():
    population = invent()
    multiplied, _ = engines(Popularity(), population, 10)
    with pytest.raises(ConfigError, match="ask everyone"):
        first_round(Popularity(), population, multiplied, 599)


def test_more_copies_than_fit_into_memory_are_refused_with_a_way_out():
    config = RunConfig(dataset="invented", replicate=100_000, engine="device")
    with pytest.raises(ConfigError, match="nobody is copied"):
        train(Popularity(), invent(people=2000), config, Silence())
