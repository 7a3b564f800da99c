import numpy as np
import pytest
from pydantic import ValidationError

from fedpersona.errors import CohortTooSmall
from fedpersona.simulation.behaviour import Behaviour
from fedpersona.wire.plan import Plan


def plan(round_number=1, cohort=500, min_count=1, seed=3):
    return Plan("ease", round_number, cohort, min_count, 32, seed)


def test_everyone_answers_by_default():
    assert np.array_equal(Behaviour().answering(plan(), 500), np.arange(500))


def test_the_share_that_drops_out_is_the_share_asked_for():
    answered = Behaviour(dropout=0.3).answering(plan(cohort=20_000), 20_000)
    assert len(answered) == pytest.approx(14_000, rel=0.02)


def test_others_drop_out_in_another_round_and_the_same_in_the_same_one():
    behaviour = Behaviour(dropout=0.5)
    first, again, second = (behaviour.answering(plan(n), 500) for n in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, second)


def test_a_device_answers_the_same_however_many_others_there_are():
    behaviour = Behaviour(dropout=0.5, available=0.7, daily_swing=0.5)
    few = behaviour.answering(plan(cohort=2000), 100)
    many = behaviour.answering(plan(cohort=2000), 2000)
    assert np.array_equal(few, many[many < 100])


def test_a_cohort_is_no_larger_than_planned_and_uniform():
    chosen = np.zeros(200)
    for seed in range(300):
        cohort = Behaviour().answering(plan(cohort=50, seed=seed), 200)
        assert len(cohort) == len(set(cohort.tolist())) == 50
        chosen[cohort] += 1
    # 300 draws at 1/4: mean 75, standard deviation 7.5
    assert chosen.mean() == 75
    assert abs(chosen - 75).max() < 5 * 7.5


def test_fewer_are_reachable_when_it_is_day_in_their_time_zone():
    behaviour = Behaviour(daily_swing=1.0)
    zone_at_night = len(behaviour.reachable(0, 1, 50_000))
    assert 0 < zone_at_night < 50_000
    assert zone_at_night == pytest.approx(25_000, rel=0.03)  # zones are spread evenly: half, on average


def test_a_device_keeps_its_time_zone_so_the_same_are_reached_a_day_later_more_often():
    behaviour = Behaviour(daily_swing=1.0, hours_per_round=12.0)
    tonight, noon, tomorrow = (set(behaviour.reachable(0, n, 20_000).tolist()) for n in (1, 2, 3))
    assert len(tonight & tomorrow) > 2 * len(tonight & noon)


def test_too_few_answers_are_an_error_that_names_the_round():
    with pytest.raises(CohortTooSmall, match="round 4: 0 devices"):
        Behaviour().answering(plan(4), 0)


@pytest.mark.parametrize("bad", [{"dropout": 1.0}, {"dropout": -0.1}, {"available": 0.0}, {"daily_swing": 2.0}])
def test_shares_out_of_range_are_refused(bad):
    with pytest.raises(ValidationError):
        Behaviour(**bad)
