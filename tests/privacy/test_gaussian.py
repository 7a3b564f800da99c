from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedpersona.errors import ConfigError
from fedpersona.privacy.gaussian import composed, gaussian_delta, gaussian_epsilon, gaussian_mu

mus = st.floats(1e-6, 1e3)
deltas = st.floats(1e-14, 0.5)
epsilons = st.floats(0.0, 1e4)

LAST_DIGITS = 1 + 1e-11


# Theorem 8 of Balle and Wang in at least 60 digits, and more than e^epsilon has.
@pytest.mark.parametrize(
    ("epsilon", "mu", "delta"),
    [
        (0.0, 1.0, 0.3829249225480262),
        (1.0, 1.0, 0.12693673750664394),
        (8.0, 1.8, 6.154203094770996e-05),
        (0.5, 0.1, 6.856582455838737e-09),
        (0.0, 1e-06, 3.98942280401416e-07),
        (2e-06, 1e-06, 8.490711107535665e-09),
        (10.2, 1.5, 1.3873749684728328e-10),
        (9.0, 1.25, 3.758651067715452e-12),
        (100.0, 10.0, 1.8797170020519157e-07),
        (5702.0, 100.0, 1.0351582412723685e-12),
        (10000.0, 134.5, 5.943059993348109e-13),
        (3.6, 0.1, 7.0091638686886925e-286),
        (30.0, 1.0, 4.709326318097522e-193),
    ],
)
def test_delta_is_the_formula_and_never_below_it(epsilon, mu, delta):
    room = 3e-12 if delta > 1e-100 else 1e-10
    assert delta <= gaussian_delta(epsilon, mu) <= delta * (1 + room)


@pytest.mark.parametrize(
    ("epsilon", "mu"),
    [(3.0, 1.0), (0.0, 1.0), (2.0, 2.0), (8.0, 4.0), (14.0, 2.0), (12.0, 3.0)],
    ids=["narrow", "narrow at zero", "half", "half, far", "first ratio by fraction", "second ratio by fraction"],
)
def test_delta_does_not_jump_where_the_arithmetic_changes(epsilon, mu):
    below, above = gaussian_delta(epsilon, mu * (1 - 1e-13)), gaussian_delta(epsilon, mu * (1 + 1e-13))
    assert below == pytest.approx(above, rel=1e-10)


def test_the_published_noise_for_one_release():
    """Section 7 of the design: sigma 10 over 100 rounds is one release of mu 1."""
    assert gaussian_epsilon(composed([10.0] * 100), 1e-6) == pytest.approx(4.8866, abs=5e-5)
    assert gaussian_epsilon(composed([5.0] * 20), 1e-6) == pytest.approx(4.3058, abs=5e-5)


@given(mus, deltas)
def test_epsilon_is_enough_and_the_least_that_is(mu, delta):
    epsilon = gaussian_epsilon(mu, delta)
    assert gaussian_delta(epsilon, mu) <= delta
    if epsilon > 0:
        assert gaussian_delta(epsilon / LAST_DIGITS, mu) > delta / (1 + 1e-7)


@given(epsilons, deltas)
def test_mu_keeps_the_promise_and_hardly_more_does_not(epsilon, delta):
    mu = gaussian_mu(epsilon, delta)
    assert gaussian_delta(epsilon, mu) <= delta
    assert gaussian_delta(epsilon, mu * LAST_DIGITS) > delta


@given(st.floats(1e-3, 1e3), deltas)
def test_epsilon_and_mu_are_inverse_to_each_other(mu, delta):
    epsilon = gaussian_epsilon(mu, delta)
    if epsilon > 1e-3:
        assert gaussian_mu(epsilon, delta) == pytest.approx(mu, rel=1e-11)
    else:
        assert gaussian_mu(epsilon, delta) >= mu / LAST_DIGITS


@given(mus, deltas, st.floats(1.0, 10.0))
def test_more_mu_or_less_delta_costs_more(mu, delta, factor):
    epsilon = gaussian_epsilon(mu, delta)
    assert gaussian_epsilon(mu * factor, delta) >= epsilon / LAST_DIGITS
    assert gaussian_epsilon(mu, delta / factor) >= epsilon / LAST_DIGITS
    assert gaussian_delta(epsilon * factor, mu) <= gaussian_delta(epsilon, mu) * LAST_DIGITS


@given(st.lists(st.floats(1e-3, 1e6), min_size=1, max_size=20), st.lists(st.floats(1e-3, 1e6), min_size=1, max_size=20))
def test_releases_compose_in_any_order_and_in_parts(some, others):
    together = composed([*some, *others])
    assert together == pytest.approx(composed(reversed([*some, *others])))
    assert together == pytest.approx(math.hypot(composed(some), composed(others)))


def test_nothing_released_costs_nothing_and_no_noise_costs_everything():
    assert composed([]) == 0.0
    assert gaussian_epsilon(0.0, 1e-9) == 0.0
    assert gaussian_delta(0.0, 0.0) == 0.0
    assert composed([3.0, 0.0]) == math.inf
    assert gaussian_epsilon(math.inf, 1e-9) == math.inf
    assert gaussian_delta(50.0, math.inf) == 1.0


@pytest.mark.parametrize("mu", [1e-300, 1e-20, 1e-9, 30.0, 1e6, 1e100, 1e300])
def test_the_extremes_neither_overflow_nor_promise_too_much(mu):
    epsilon = gaussian_epsilon(mu, 1e-12)
    assert epsilon >= mu * mu / 2 if mu > 1 else epsilon < 1e-6
    assert 0.0 < gaussian_delta(1e4, mu) <= 1.0


def test_a_delta_that_floats_cannot_hold_is_not_called_zero():
    assert gaussian_delta(1e4, 0.01) > 0.0


@pytest.mark.parametrize(
    "ask",
    [
        lambda: composed([1.0, -1.0]),
        lambda: composed([math.nan]),
        lambda: composed([math.inf]),
        lambda: gaussian_delta(-0.1, 1.0),
        lambda: gaussian_delta(math.inf, 1.0),
        lambda: gaussian_delta(math.nan, 1.0),
        lambda: gaussian_delta(1.0, -1.0),
        lambda: gaussian_delta(1.0, math.nan),
        lambda: gaussian_epsilon(1.0, 0.0),
        lambda: gaussian_epsilon(1.0, 1.0),
        lambda: gaussian_epsilon(math.nan, 0.1),
        lambda: gaussian_mu(1.0, math.nan),
        lambda: gaussian_mu(-1.0, 0.1),
    ],
)
def test_what_cannot_be_is_refused(ask):
    with pytest.raises(ConfigError):
        ask()
