from __future__ import annotations

import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedpersona.errors import ConfigError
from fedpersona.privacy.gaussian import gaussian_delta
from fedpersona.privacy.wording import best_guess, sentence


def test_the_best_guess_at_a_gaussian_release_is_right_as_often_as_said():
    rng = np.random.default_rng(5)
    mu, draws = 1.8, 400_000
    taking_part = rng.random(draws) < 0.5
    seen = rng.normal(size=draws) + mu * taking_part
    right = np.mean((seen > mu / 2) == taking_part)
    assert best_guess(8.0, 1e-5, mu) == pytest.approx(right, abs=0.004)


def test_the_best_guess_under_epsilon_and_delta_is_reached_by_a_mechanism():
    """With probability delta it tells all, otherwise it answers at random with odds of e^epsilon."""
    epsilon, delta = 1.2, 0.03
    honest = (1 - delta) * math.exp(epsilon) / (1 + math.exp(epsilon))
    assert best_guess(epsilon, delta) == pytest.approx(delta + honest)


@given(st.floats(0.01, 6.0), st.floats(0.0, 12.0))
def test_what_mu_says_is_never_weaker_than_what_epsilon_and_delta_say(mu, epsilon):
    assert best_guess(epsilon, 0.0, mu) <= best_guess(epsilon, gaussian_delta(epsilon, mu)) + 1e-12


@pytest.mark.parametrize(
    ("epsilon", "mu", "words"),
    [
        (0.1, 0.03, "at most 51 times in 100"),
        (8.0, 1.666, "at most 80 times in 100"),
        (8.0, None, "at most 9,997 times in 10,000"),
        (5.0, None, "at most 994 times in 1,000"),
        (40.0, None, "rightly nearly every time"),
    ],
)
def test_the_sentence_says_how_often_a_guess_is_right(epsilon, mu, words):
    text = sentence(epsilon, 1e-5, mu)
    assert text.startswith("Whether or not you take part")
    assert words in text


@given(st.floats(0.0, 30.0), st.one_of(st.none(), st.floats(0.0, 12.0)))
def test_the_number_in_the_sentence_is_never_below_the_bound(epsilon, mu):
    text = sentence(epsilon, 1e-6, mu)
    if "nearly every time" in text:
        assert best_guess(epsilon, 1e-6, mu) > 0.9998
    else:
        times, of = re.search(r"at most ([\d,]+) times in ([\d,]+), even", text).groups()
        assert int(times.replace(",", "")) / int(of.replace(",", "")) >= best_guess(epsilon, 1e-6, mu)


def test_a_weak_promise_is_called_weak_and_a_missing_one_missing():
    assert "strong promise" in sentence(0.3, 1e-6, 0.1)
    assert "weak promise" in sentence(20.0, 1e-6, 3.0)
    assert "hardly a promise" in sentence(8.0, 1e-5)
    assert "no noise" in sentence(math.inf, 1e-5)
    assert "no noise" in sentence(math.inf, 1e-5, math.inf)


def test_who_sees_what_can_be_named():
    assert "from the weekly model, but" in sentence(1.0, 1e-6, 0.25, seen="the weekly model")


@pytest.mark.parametrize(
    ("epsilon", "delta", "mu"), [(-1.0, 0.1, None), (math.nan, 0.1, None), (1.0, 1.1, None), (1.0, 0.1, -1.0)]
)
def test_what_cannot_be_is_refused(epsilon, delta, mu):
    with pytest.raises(ConfigError):
        sentence(epsilon, delta, mu)
