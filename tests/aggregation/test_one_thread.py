"""What a round of a simulation does not pay for: libraries that were found, devices that are not chosen."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from fedpersona.aggregation import one_thread as rooms
from fedpersona.aggregation import sample_cohort
from fedpersona.aggregation.one_thread import one_thread
from fedpersona.randomness import uniforms
from fedpersona.wire.plan import Plan


def threads():
    return {library["num_threads"] for library in threadpool_info()}


def test_libraries_use_one_thread_inside_and_as_many_as_before_outside():
    with threadpool_limits(2):
        assert threads() == {2}
        with one_thread():
            assert threads() == {1}
        assert threads() == {2}


def test_libraries_are_looked_for_again_only_after_an_import(monkeypatch):
    one_thread()
    found = rooms._found
    one_thread()
    assert rooms._found is found
    monkeypatch.setitem(sys.modules, "a_module_of_this_test", sys)
    one_thread()
    assert rooms._found is not found


@pytest.mark.parametrize(("devices", "cohort"), [(10, 1), (500, 499), (1000, 100), (70_000, 1), (70_000, 3000)])
def test_a_cohort_is_those_with_the_least_draws_of_all(devices, cohort):
    plan = Plan(model="fedmf", round_number=2, cohort=cohort, min_count=1, ring_bits=32, seed=3)
    available = 5 + 2 * np.arange(devices)
    draws = uniforms(3, "cohort", available, round_number=2)
    np.testing.assert_array_equal(sample_cohort(plan, available), np.sort(available[np.argsort(draws)[:cohort]]))
