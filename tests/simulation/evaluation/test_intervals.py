import math

import numpy as np
import pytest

from fedpersona.errors import ConfigError, DataError
from fedpersona.simulation.evaluation.intervals import bootstrap_interval, paired_test


def values(people, seed=0):
    return np.random.default_rng(seed).normal(size=people)


def test_the_interval_of_a_mean_is_that_of_the_central_limit():
    sample = values(4000)
    low, high = bootstrap_interval(sample, seed=1)
    half = 1.96 * sample.std() / math.sqrt(len(sample))
    assert low == pytest.approx(sample.mean() - half, abs=0.15 * half)
    assert high == pytest.approx(sample.mean() + half, abs=0.15 * half)


def test_values_that_repeat_give_the_interval_of_a_share():
    hits = np.repeat([0.0, 1.0], [9000, 1000])
    low, high = bootstrap_interval(hits, seed=1)
    half = 1.96 * math.sqrt(0.1 * 0.9 / 10_000)
    assert (low, high) == pytest.approx((0.1 - half, 0.1 + half), abs=0.15 * half)


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    held = 0
    for seed in range(200):
        low, high = bootstrap_interval(values(60, seed) + 3.0, seed=seed, resamples=400)
        held += low <= 3.0 <= high
    assert 178 <= held <= 199


def test_a_higher_level_is_wider():
    narrow, wide = (bootstrap_interval(values(300), 0, level=level) for level in (0.5, 0.99))
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


def test_the_same_seed_gives_the_same_interval_and_another_seed_another():
    assert bootstrap_interval(values(50), 4) == bootstrap_interval(values(50), 4)
    assert bootstrap_interval(values(50), 4) != bootstrap_interval(values(50), 5)


def test_one_person_has_an_interval_of_no_width():
    assert bootstrap_interval(np.array([0.25]), 0) == (0.25, 0.25)


@pytest.mark.parametrize("bad", [[], [[1.0]], [0.0, np.nan], [np.inf]])
def test_values_without_a_mean_are_refused(bad):
    with pytest.raises(DataError):
        bootstrap_interval(np.array(bad), 0)
    with pytest.raises(DataError):
        paired_test(np.array(bad), np.array(bad), 0)


@pytest.mark.parametrize("setting", [{"level": 0.0}, {"level": 1.0}, {"level": 95.0}, {"resamples": 0}])
def test_settings_out_of_range_are_refused(setting):
    with pytest.raises(ConfigError):
        bootstrap_interval(np.ones(3), 0, **setting)


def test_a_model_does_not_differ_from_itself():
    result = paired_test(values(500), values(500), seed=0)
    assert (result.difference, result.low, result.high, result.p_value) == (0.0, 0.0, 0.0, 1.0)
    assert result.people == 500


def test_few_differences_give_the_exact_p_value():
    result = paired_test(np.array([1.0, 2.0, 3.0, 5.0, 5.0]), np.array([0.0, 1.0, 2.0, 5.0, 5.0]), seed=0)
    assert result.p_value == 2 / 8  # only all signs as they are, and all turned round, are as large
    assert result.difference == pytest.approx(3 / 5)


def test_the_p_value_is_that_of_the_z_test_on_many_people():
    differences = values(3000)
    differences += 2.0 * differences.std() / math.sqrt(3000) - differences.mean()
    result = paired_test(differences, np.zeros(3000), seed=3)
    assert result.p_value == pytest.approx(math.erfc(2.0 / math.sqrt(2)), abs=0.01)


def test_p_values_without_a_difference_are_uniform():
    p_values = [paired_test(values(40, s), values(40, s + 999), seed=s, resamples=300).p_value for s in range(150)]
    assert 1 <= sum(p < 0.05 for p in p_values) <= 18
    assert 0.38 < np.mean(p_values) < 0.62


def test_the_p_value_is_never_zero():
    assert 0.0 < paired_test(values(400) + 50.0, values(400, 1), seed=0).p_value <= 1e-3


def test_changing_sides_changes_the_sign_only():
    ours, theirs = paired_test(values(80), values(80, 1), 0), paired_test(values(80, 1), values(80), 0)
    assert ours.difference == pytest.approx(-theirs.difference)
    assert ours.p_value == pytest.approx(theirs.p_value, abs=0.01)


def test_other_people_are_refused():
    with pytest.raises(DataError, match=r"same people twice, not \(3,\) and \(4,\)"):
        paired_test(np.ones(3), np.ones(4), 0)


def test_no_flips_are_refused():
    with pytest.raises(ConfigError):
        paired_test(np.ones(3), np.zeros(3), 0, resamples=0)


def test_equal_sums_count_as_equal_although_their_last_bits_differ():
    tenths = np.array([-6, 6, 3, 8, 2, 9, 4])
    exact = paired_test(tenths.astype(float), np.zeros(7), seed=0)
    assert paired_test(tenths / 10, np.zeros(7), seed=0).p_value == exact.p_value == 0.125
