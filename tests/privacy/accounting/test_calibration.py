from __future__ import annotations

import math
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedpersona.errors import ConfigError
from fedpersona.privacy.accounting import BandedRelease, GaussianRelease, SampledGaussianRelease, account, calibrate

few = settings(max_examples=8, deadline=None)


@pytest.mark.parametrize(("epsilon", "deviation"), [(2.0, 10.72), (4.0, 5.736), (8.0, 3.138)])
def test_the_banded_reference_of_the_design(epsilon, deviation):
    found = calibrate(epsilon, 1e-6, lambda noise: [BandedRelease(noise, 500, 50, 50)])
    assert found == pytest.approx(deviation, rel=1e-3)


@few
@given(st.floats(0.01, 500.0), st.floats(1e-10, 1e-2), st.integers(1, 1000), st.floats(1e-3, 1e3))
def test_what_is_found_keeps_the_limit_and_hardly_less_does_not(epsilon, delta, count, unit):
    def events_of(noise):
        return [GaussianRelease(noise / unit, count)]

    noise = calibrate(epsilon, delta, events_of)
    found = account(events_of(noise), delta)
    assert found.epsilon <= epsilon
    assert found.epsilon_exact <= epsilon
    assert account(events_of(noise * (1 - 1e-4)), delta).epsilon > epsilon


def test_sampled_releases_are_calibrated_as_closely():
    def events_of(noise):
        return [SampledGaussianRelease(noise, 50, 0.05)]

    noise = calibrate(0.5, 1e-6, events_of)
    assert account(events_of(noise), 1e-6).epsilon <= 0.5
    assert account(events_of(noise * (1 - 1e-4)), 1e-6).epsilon > 0.5


def test_what_was_spent_before_is_kept_in_mind():
    spent = GaussianRelease(2.0, 2)
    noise = calibrate(4.0, 1e-6, lambda noise: [spent, GaussianRelease(noise, 3)])
    assert noise > calibrate(4.0, 1e-6, lambda noise: [GaussianRelease(noise, 3)])
    assert account([spent, GaussianRelease(noise, 3)], 1e-6).epsilon == pytest.approx(4.0, rel=1e-4)


def test_it_takes_seconds_at_most():
    account([GaussianRelease(1.0)], 1e-6)  # loads what it needs
    began = time.process_time()
    calibrate(8.0, 1e-5, lambda noise: [GaussianRelease(noise, 1000)])
    assert time.process_time() - began < 3.0


def test_a_limit_that_no_noise_keeps_is_said_to_be_one():
    with pytest.raises(ConfigError, match="no noise is enough"):
        calibrate(1.0, 1e-6, lambda noise: [GaussianRelease(0.5), GaussianRelease(noise)])


def test_releases_that_need_no_noise_are_not_calibrated():
    with pytest.raises(ConfigError, match="no noise is needed"):
        calibrate(1.0, 1e-6, lambda noise: [])


@pytest.mark.parametrize(("epsilon", "delta"), [(0.0, 1e-6), (-1.0, 1e-6), (math.inf, 1e-6), (1.0, 0.0), (1.0, 2.0)])
def test_a_limit_that_cannot_be_is_refused(epsilon, delta):
    with pytest.raises(ConfigError):
        calibrate(epsilon, delta, lambda noise: [GaussianRelease(noise)])
