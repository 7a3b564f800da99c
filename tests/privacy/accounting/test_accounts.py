from __future__ import annotations

import math
import subprocess
import sys

import pytest
from dp_accounting import get_epsilon_gaussian, get_sigma_gaussian
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fedpersona.errors import ConfigError
from fedpersona.privacy.accounting import Account, BandedRelease, GaussianRelease, SampledGaussianRelease, account
from fedpersona.privacy.accounting.events import unsampled_multiplier
from fedpersona.privacy.gaussian import gaussian_epsilon, gaussian_mu

few = settings(max_examples=12, deadline=None)


@pytest.mark.parametrize(
    ("event", "delta", "pld", "rdp"),
    [
        (GaussianRelease(10.0, 100), 1e-6, 4.8866, 5.2215),
        (GaussianRelease(5.0, 20), 1e-6, 4.3058, 4.6045),
        (SampledGaussianRelease(1.0, 1000, 0.01), 1e-6, 2.1245, 2.4367),
        (SampledGaussianRelease(2.0, 300, 0.05), 1e-5, 1.9286, 2.1183),
    ],
)
def test_the_reference_table_of_the_design(event, delta, pld, rdp):
    found = account([event], delta)
    assert found.epsilon == pytest.approx(pld, abs=1e-3)
    assert found.epsilon_rdp == pytest.approx(rdp, abs=1e-3)


@few
@given(st.floats(1e-4, 30.0), st.floats(1e-12, 0.1))
@example(1.0, 1e-6)
@example(30.0, 1e-12)
def test_pld_agrees_with_the_analytic_gaussian_and_is_never_below_it(mu, delta):
    found = account([GaussianRelease(1 / mu)], delta)
    assert found.epsilon_exact - 1e-9 <= found.epsilon <= found.epsilon_exact + 1e-3
    assert found.epsilon_exact <= found.epsilon_rdp
    assert found.mu == pytest.approx(mu)


@pytest.mark.parametrize("mu", [50.0, 140.0])
def test_an_epsilon_whose_power_no_float_holds_is_rounded_up_a_little_more(mu):
    found = account([GaussianRelease(1 / mu)], 1e-9)
    assert found.epsilon_exact <= found.epsilon <= found.epsilon_exact * (1 + 1e-3)


@few
@given(st.floats(0.05, 20.0), st.floats(1e-10, 0.1))
def test_the_analytic_gaussian_is_that_of_dp_accounting(mu, delta):
    assert gaussian_epsilon(mu, delta) == pytest.approx(get_epsilon_gaussian(1 / mu, delta), rel=1e-6, abs=1e-9)


@few
@given(st.floats(0.05, 100.0), st.floats(1e-10, 0.1))
def test_the_least_noise_is_that_of_dp_accounting(epsilon, delta):
    assert 1 / gaussian_mu(epsilon, delta) == pytest.approx(get_sigma_gaussian(epsilon, delta), rel=1e-6)


@few
@given(
    st.lists(st.builds(GaussianRelease, st.floats(0.5, 50.0), st.integers(1, 20)), min_size=1, max_size=3),
    st.floats(1e-9, 1e-3),
)
def test_many_releases_cost_what_one_of_their_mu_costs(events, delta):
    together = account(events, delta)
    one = account([GaussianRelease(1 / together.mu)], delta)
    one_by_one = account(
        [GaussianRelease(event.noise_multiplier) for event in events for _ in range(event.count)], delta
    )
    for other in (one, one_by_one):
        assert other.epsilon == pytest.approx(together.epsilon, rel=1e-6)
        assert other.epsilon_exact == pytest.approx(together.epsilon_exact, rel=1e-9)
        assert other.epsilon_rdp == pytest.approx(together.epsilon_rdp, rel=1e-3)


def test_equal_sampled_releases_are_composed_at_once():
    parts = [SampledGaussianRelease(3.0, 5, 0.1)] * 4
    assert account(parts, 1e-5) == account([SampledGaussianRelease(3.0, 20, 0.1)], 1e-5)


def test_sampled_and_unsampled_releases_add_up():
    both = account([SampledGaussianRelease(2.0, 50, 0.05), GaussianRelease(2.0, 2)], 1e-5)
    assert both.epsilon > account([GaussianRelease(2.0, 2)], 1e-5).epsilon
    assert both.epsilon < account([GaussianRelease(2.0, 52)], 1e-5).epsilon
    assert both.epsilon < both.epsilon_rdp
    assert (both.mu, both.epsilon_exact) == (None, None)


def test_being_sampled_for_certain_is_not_being_sampled():
    certain = account([SampledGaussianRelease(4.0, 10, 1.0)], 1e-5)
    assert certain.epsilon == pytest.approx(account([GaussianRelease(4.0, 10)], 1e-5).epsilon, abs=1e-4)


def test_a_banded_training_costs_what_its_one_release_costs():
    event = BandedRelease(5.736, 500, 50, 50)
    found = account([event], 1e-6)
    assert found == account([GaussianRelease(unsampled_multiplier(event))], 1e-6)
    assert found.epsilon == pytest.approx(4.0, rel=1e-3)


def test_nothing_costs_nothing_and_no_noise_is_no_promise():
    assert account([], 1e-5) == Account(1e-5, 0.0, 0.0, 0.0, 0.0)
    assert account([GaussianRelease(2.0), GaussianRelease(0.0)], 1e-5) == Account(1e-5, *[math.inf] * 4)
    assert account([SampledGaussianRelease(0.0, 1, 0.5)], 1e-5).epsilon == math.inf


@pytest.mark.parametrize("delta", [0.0, 1.0, -1e-5, math.nan])
def test_a_delta_that_cannot_be_is_refused(delta):
    with pytest.raises(ConfigError):
        account([], delta)


def test_dp_accounting_is_loaded_when_an_account_is_made_and_not_before():
    script = "import sys, fedpersona.privacy.accounting as a; assert 'dp_accounting' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)
