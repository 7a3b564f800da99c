import numpy as np
import pytest

from fedpersona.aggregation import Coordinator, sample_cohort
from fedpersona.catalogue import Catalogue
from fedpersona.errors import CohortTooSmall, LayoutMismatch, SumSpoilt
from fedpersona.taste import Popularity
from fedpersona.taste.counters import DEVICES
from fedpersona.wire.plan import Plan
from fedpersona.wire.update import Update

CATALOGUE = Catalogue.create("abc")


class Fixed:
    """A collector that brings in what it was given, and so many devices counted in it."""

    def __init__(self, total, count, counted=None):
        self.answer = Update({**total, DEVICES: np.array([float(count if counted is None else counted)])}), count
        self.plans = []

    def collect(self, plan, shared):
        self.plans.append(plan)
        return self.answer


def coordinator(collector, **changes):
    return Coordinator(Popularity(), CATALOGUE, collector, **{"cohort": 10, "min_count": 3, "seed": 1, **changes})


def test_a_round_folds_the_sum_in_and_says_what_it_cost():
    collector = Fixed({"listeners": np.array([1.0, 2.0, 3.0])}, 5)
    running = coordinator(collector)
    report = running.run_round()
    assert np.array_equal(running.shared["listeners"], [1, 2, 3])
    assert running.shared.round_number == report.round_number == 1
    assert (report.answered, report.bytes_up, report.bytes_down) == (5, 16, 12)
    assert collector.plans == [
        Plan(
            "popularity",
            1,
            10,
            3,
            32,
            1,
            catalogue=CATALOGUE.version,
            shared_hash=Popularity().init(CATALOGUE, 1).hash(),
            settings=(("discount", 0.0), ("noise", 0.0), ("recency", None), ("rounds", 1)),
        )
    ]


def test_a_sum_over_too_few_is_not_folded_in_even_if_a_collector_hands_it_over():
    running = coordinator(Fixed({"listeners": np.ones(3)}, 2))
    before = running.shared.hash()
    with pytest.raises(CohortTooSmall):
        running.run_round()
    assert running.shared.hash() == before


@pytest.mark.parametrize("total", [{}, {"listeners": np.ones(4)}, {"listeners": np.array([1, np.nan, 0])}])
def test_a_total_of_another_form_is_refused_and_the_model_stays(total):
    running = coordinator(Fixed(total, 5))
    before = running.shared.hash()
    with pytest.raises(LayoutMismatch):
        running.run_round()
    assert running.shared.hash() == before


@pytest.mark.parametrize("counted", [0, 4, 6, -5, 5.5, 1e9])
def test_a_sum_that_does_not_count_its_devices_is_none_and_the_model_stays(counted):
    running = coordinator(Fixed({"listeners": np.ones(3)}, 5, counted))
    before = running.shared.hash()
    with pytest.raises(SumSpoilt, match="5 devices answered"):
        running.run_round()
    assert running.shared.hash() == before


def test_a_large_cohort_gets_the_larger_ring():
    assert coordinator(Fixed({}, 1), cohort=10**6).ring_bits == 64
    assert coordinator(Fixed({}, 1), cohort=10**6, ring_bits=32).ring_bits == 32


def test_the_order_in_which_devices_are_listed_does_not_matter():
    plan = Plan("popularity", 1, 10, 3, 32, 1)
    devices = np.arange(100)
    shuffled = np.random.default_rng(0).permutation(devices)
    assert np.array_equal(sample_cohort(plan, devices), sample_cohort(plan, shuffled))
