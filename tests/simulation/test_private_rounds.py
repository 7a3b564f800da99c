"""Rounds under noise: who adds it, how much, to what; and the same sums from every engine beneath it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from fedpersona.aggregation import Coordinator
from fedpersona.aggregation.protecting import protected
from fedpersona.errors import ConfigError, SumOverflow
from fedpersona.privacy import mechanism
from fedpersona.privacy.clipping import update_norm
from fedpersona.privacy.deviations import device_noise, sum_noise
from fedpersona.privacy.fixed_point import FixedPoint
from fedpersona.simulation.behaviour import Behaviour
from fedpersona.simulation.engine import CohortEngine, DeviceEngine
from fedpersona.simulation.secure_engine import SecureEngine
from fedpersona.simulation.simulated_device import SimulatedDevice
from fedpersona.taste import create
from fedpersona.taste.counters import DEVICES, HITS, TESTED, round_layout
from fedpersona.wire.message import word_type
from fedpersona.wire.update import Update
from tests.conftest import invent

POPULATION = invent()
PEOPLE = len(POPULATION)
PRIVATE = ["popularity", "ease", "subspace", "ials"]


def coordinated(name, kind=CohortEngine, *, noise="central", epsilon=8.0, population=POPULATION, **changes):
    model, protection = protected(
        create(name),
        population.catalogue,
        epsilon=epsilon,
        delta=1e-5,
        noise=noise,
        people=len(population),
        metrics=changes.get("metrics", False),
    )
    settings = {"cohort": len(population), "min_count": 30, "seed": 5, **changes}
    engine = kind(model, population, Behaviour())
    return Coordinator(model, population.catalogue, engine, protection=protection, **settings)


@pytest.fixture
def no_noise(monkeypatch):
    """The mechanism without its noise, so that what is beneath it can be compared to the bit."""
    monkeypatch.setattr(mechanism, "gaussian_integers", lambda size, deviation: np.zeros(size, np.int64))
    monkeypatch.setattr(mechanism, "add_gaussian", lambda words, deviation: None)


@pytest.mark.parametrize("noise", ["central", "distributed"])
@pytest.mark.parametrize("name", PRIVATE)
def test_beneath_the_noise_every_engine_gives_the_same_model_to_the_bit(name, noise, no_noise):
    hashes = set()
    for kind in (CohortEngine, DeviceEngine, SecureEngine):
        coordinator = coordinated(name, kind, noise=noise, ring_bits=32, masked=kind is SecureEngine)
        list(coordinator.run())
        hashes.add(coordinator.shared.hash())
    assert len(hashes) == 1


@pytest.mark.parametrize("name", PRIVATE)
def test_two_trainings_of_the_same_seed_are_never_the_same_under_noise(name):
    hashes = set()
    for _ in range(3):
        coordinator = coordinated(name)
        list(coordinator.run())
        hashes.add(coordinator.shared.hash())
    assert len(hashes) == 3


class Kept:
    """A collector that collects once, and gives what it collected from then on."""

    def __init__(self, collector) -> None:
        self.collector, self.kept = collector, None

    def collect(self, plan, shared):
        self.kept = self.kept or self.collector.collect(plan, shared)
        return self.kept


def released(coordinator, times: int) -> list[Update]:
    """Release one and the same sum again and again."""
    found = []
    apply = type(coordinator.model).apply

    class Told(type(coordinator.model)):
        def apply(self, shared, total, count):
            found.append(total)
            return apply(self, shared, total, count)

    coordinator.model = Told.model_validate(coordinator.model.model_dump())
    start = coordinator.shared
    for _ in range(times):
        coordinator.shared = start
        coordinator.run_round()
    return found


def test_every_entry_of_a_released_sum_has_noise_of_the_planned_deviation():
    coordinator = coordinated("popularity")
    coordinator.collector = Kept(coordinator.collector)
    plan = coordinator.plan(1)
    layout = round_layout(coordinator.model, POPULATION.catalogue, plan)
    sums = np.array([total["listeners"] for total in released(coordinator, 400)])
    kept, _ = coordinator.collector.kept
    noise = (sums - kept["listeners"]) / sum_noise(plan, layout)["listeners"]
    assert sum_noise(plan, layout)["listeners"] == pytest.approx(coordinator.model.noise)
    assert noise.std(axis=0) == pytest.approx(1.0, abs=0.25)  # each entry: seven deviations of 400 draws
    assert noise.std() == pytest.approx(1.0, abs=0.04)
    assert abs(noise.mean()) < 0.05
    assert abs(np.corrcoef(noise.T)[np.triu_indices(40, 1)]).max() < 0.3


def test_counters_are_noisy_too_and_the_number_of_devices_is_not():
    coordinator = coordinated("popularity", DeviceEngine, metrics=True, epsilon=1.0)
    coordinator.run_round()
    plan, start = coordinator.plan(1), coordinator.shared
    layout = round_layout(coordinator.model, POPULATION.catalogue, plan)
    total, count = coordinator.collector.collect(plan, start)
    fixed_point = FixedPoint.for_plan(plan, layout)
    drawn = [mechanism.released(total, plan, fixed_point) for _ in range(60)]
    assert {float(one[DEVICES][0]) for one in drawn} == {float(count)}
    for name in (TESTED, HITS):
        values = np.array([one[name][0] for one in drawn])
        assert values.std() == pytest.approx(5 * plan.noise_multiplier * plan.clip, rel=0.5)
    assert coordinator.run_round().metrics.keys() >= {"tested"}


def test_devices_shares_make_up_the_noise_when_only_the_fewest_stay():
    coordinator = coordinated("popularity", noise="distributed", min_count=PEOPLE)
    plan = coordinator.plan(1)
    layout = round_layout(coordinator.model, POPULATION.catalogue, plan)
    fixed_point = FixedPoint.for_plan(plan, layout)
    silent = FixedPoint(layout, plan.cohort, plan.ring_bits, noise=None, toward_zero=True)
    assert silent.scale("listeners") >= fixed_point.scale("listeners")
    assert device_noise(plan, layout)["listeners"] * math.sqrt(PEOPLE) == pytest.approx(coordinator.model.noise)
    devices = [SimulatedDevice.of(POPULATION, number, seed=5) for number in range(PEOPLE)]
    deviations = []
    for _ in range(12):
        total = np.zeros(layout.size, word_type(plan.ring_bits))
        for device in devices:
            total += device.message(plan, coordinator.shared)[1]
        noisy = fixed_point.decode_words(total)
        clean, _ = DeviceEngine(coordinator.model, POPULATION, Behaviour()).collect(
            replace(plan, noise="central"), coordinator.shared
        )
        assert noisy[DEVICES][0] == PEOPLE
        deviations.append(noisy["listeners"] - clean["listeners"])
    assert np.std(deviations) == pytest.approx(coordinator.model.noise, rel=0.15)


@pytest.mark.parametrize("kind", [CohortEngine, DeviceEngine, SecureEngine])
def test_an_engine_draws_the_shares_of_all_who_answered(kind):
    coordinator = coordinated("popularity", kind, noise="distributed", min_count=15, masked=kind is SecureEngine)
    plan = coordinator.plan(1)
    layout = round_layout(coordinator.model, POPULATION.catalogue, plan)
    drawn = [coordinator.collector.collect(plan, coordinator.shared)[0]["listeners"] for _ in range(6)]
    share = device_noise(plan, layout)["listeners"]
    assert np.std(drawn, axis=0, ddof=1).mean() == pytest.approx(share * math.sqrt(PEOPLE), rel=0.2)


def test_a_sum_that_devices_made_noisy_gets_no_more_from_the_server():
    coordinator = coordinated("popularity", noise="distributed")
    plan = coordinator.plan(1)
    layout = round_layout(coordinator.model, POPULATION.catalogue, plan)
    total, _ = coordinator.collector.collect(plan, coordinator.shared)
    assert mechanism.released(total, plan, FixedPoint.for_plan(plan, layout)) is total


@pytest.mark.parametrize("name", PRIVATE)
def test_one_person_more_or_less_moves_a_sum_by_no_more_than_the_clip(name):
    """Through the whole pipeline: populations that differ in whether one history is there or empty."""
    full = coordinated(name)
    for number in range(1, full.model.planned_rounds(POPULATION.catalogue) + 1):
        start, plan = full.shared, full.plan(number)
        layout = round_layout(full.model, POPULATION.catalogue, plan)
        whole, _ = full.collector.collect(plan, start)
        for person in (0, 17, 59):
            without = CohortEngine(full.model, emptied(POPULATION, person), Behaviour())
            rest, count = without.collect(plan, start)
            assert count == PEOPLE
            moved = Update({name: whole[name] - rest[name] for name in whole.arrays})
            assert not moved[DEVICES].any()
            assert 0.5 * layout.length < update_norm(moved, layout) <= plan.clip
        full.run_round()


def emptied(population, person: int):
    """Return the same people, of whom one has an empty history."""
    keep = np.ones(population.interactions, bool)
    keep[population.indptr[person] : population.indptr[person + 1]] = False
    lengths = np.diff(population.indptr)
    lengths[person] = 0
    return replace(
        population,
        items=population.items[keep],
        weights=population.weights[keep],
        times=None if population.times is None else population.times[keep],
        indptr=np.r_[0, np.cumsum(lengths)].astype(population.indptr.dtype),
    )


def test_noise_too_fine_for_the_ring_is_refused_before_anything_is_sent():
    coordinator = coordinated("popularity", noise="distributed")
    plan = replace(coordinator.plan(1), noise_multiplier=1e-9)
    with pytest.raises(SumOverflow, match="use a larger ring"):
        FixedPoint.for_plan(plan, round_layout(coordinator.model, POPULATION.catalogue, plan))


def test_a_model_without_noise_is_not_called_protected():
    coordinator = coordinated("popularity")
    coordinator.model = create("popularity")
    with pytest.raises(ConfigError, match="does not state"):
        coordinator.run_round()


def test_what_is_spent_is_spent_before_anything_is_released():
    told = []

    def spend(plan):
        told.append(plan.noise_multiplier)
        raise ConfigError("nothing is left")

    coordinator = coordinated("popularity", spend=spend)
    before = coordinator.shared
    with pytest.raises(ConfigError, match="nothing is left"):
        coordinator.run_round()
    assert coordinator.shared is before
    assert len(told) == 1


def test_where_devices_noise_leaves_too_little_room_the_larger_ring_is_taken():
    model, protection = protected(
        create("ease"), POPULATION.catalogue, epsilon=8.0, delta=1e-5, noise="distributed", people=32_760
    )
    rings = {
        (cohort, kind): Coordinator(
            model,
            POPULATION.catalogue,
            None,
            cohort=cohort,
            min_count=cohort // 2,
            seed=1,
            protection=replace(protection, noise=kind),
        ).ring_bits
        for cohort in (1_000, 32_760)
        for kind in ("central", "distributed")
    }
    assert rings == {
        (1_000, "central"): 32,
        (1_000, "distributed"): 32,
        (32_760, "central"): 32,
        (32_760, "distributed"): 64,
    }
