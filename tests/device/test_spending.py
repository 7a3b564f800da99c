"""What taking part costs at worst: counted by the device, rounded up, and without an end where there was no noise."""

import json
import math
import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedpersona.device.notice import notice
from fedpersona.device.spending import DELTA, Spent, cost, number_words
from fedpersona.privacy.gaussian import gaussian_delta, gaussian_mu
from fedpersona.privacy.wording import best_guess
from fedpersona.wire.plan import Plan


def plan(multiplier=None, noise="central", **changes) -> Plan:
    promised = {} if multiplier is None else {"noise": noise, "noise_multiplier": multiplier, "epsilon": 1.0}
    given = {"model": "ease", "round_number": 1, "cohort": 9, "min_count": 3, "ring_bits": 32, "seed": 1, "clip": 2.0}
    return Plan(**{**given, **promised, **({"delta": 1e-5} if promised else {}), **changes})


@pytest.mark.parametrize(("multiplier", "rounds", "epsilon"), [(10.0, 100, 4.8866), (5.0, 20, 4.3058)])
def test_rounds_add_up_to_the_epsilon_of_the_reference_table(multiplier, rounds, epsilon):
    spent = sum((cost(plan(multiplier)) for _ in range(rounds)), Spent())
    assert spent.epsilon == pytest.approx(epsilon, abs=1e-3)
    assert gaussian_delta(spent.epsilon, spent.mu) <= DELTA


def test_a_round_without_noise_has_no_limit_whatever_else_was_answered():
    spent = cost(plan()) + cost(plan(100.0))
    assert (spent.squared, spent.noiseless) == (pytest.approx(1e-4), 1)
    assert math.isinf(spent.epsilon)
    assert spent.words == "unlimited (1 round without noise)"
    assert (spent + cost(plan())).words == "unlimited (2 rounds without noise)"
    assert "no noise that hides it" in spent.meaning
    assert spent.told()["epsilon"] is None


@pytest.mark.parametrize("noise", ["central", "distributed"])
def test_a_server_cannot_make_a_round_cheaper_by_what_it_says_of_it(noise):
    honest = cost(plan(2.0, noise))
    said = cost(plan(2.0, noise, round_number=5, separation=50, metrics=True, masked=True, run="another"))
    assert said == honest == Spent(0.25)


@pytest.mark.parametrize("multiplier", [5e-324, 1e-200, 3e-5])
def test_noise_that_hides_nothing_counts_as_none(multiplier):
    assert cost(plan(multiplier)) == Spent(noiseless=1)


@pytest.mark.parametrize("multiplier", [3.2e-5, 1.0, 1e9, 1e300])
def test_any_other_is_a_finite_number(multiplier):
    spent = sum([cost(plan(multiplier))] * 1000, Spent())
    assert math.isfinite(spent.epsilon)
    assert json.loads(json.dumps(spent.told(), allow_nan=False))["epsilon"] == spent.epsilon


@given(st.floats(0, 1e9), st.integers(0, 10**6))
def test_what_is_told_is_read_back(squared, noiseless):
    spent = Spent(squared, noiseless)
    assert Spent.read(json.loads(json.dumps(spent.told()))) == spent


@given(st.floats(0, 1e6), st.floats(0, 1e6), st.integers(0, 9), st.integers(0, 9))
def test_what_is_missing_and_what_is_there_are_all(a, b, c, d):
    whole, part = Spent(max(a, b), max(c, d)), Spent(min(a, b), min(c, d))
    again = part + whole.beyond(part)
    assert (again.squared, again.noiseless) == (pytest.approx(whole.squared), whole.noiseless)
    assert part.beyond(whole) == Spent()
    assert whole.at_least(part) == whole == part.at_least(whole)


@pytest.mark.parametrize(
    ("epsilon", "words"),
    [
        (0.0, "0.00"),
        (0.001, "0.01"),
        (1.0, "1.00"),
        (1.2341, "1.24"),
        (9.99, "9.99"),
        (12.31, "12.4"),
        (1234.2, "1,235"),
    ],
)
def test_an_epsilon_in_words_is_rounded_up(epsilon, words):
    assert number_words(epsilon) == words


def test_what_it_means_is_a_sentence_for_anyone():
    assert "rightly at most 70 times in 100" in Spent(1.0).meaning


def test_a_device_that_keeps_its_account_does_not_load_the_operators_accountant():
    script = """
import sys
import fedpersona.device.device, fedpersona.device.floors, fedpersona.device.gate, fedpersona.device.visit
from fedpersona.device.spending import Spent
Spent(1.0).meaning
print([name for name in sys.modules if name.startswith(("dp_accounting", "scipy", "fedpersona.privacy.accounting"))])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_the_notice_tells_what_an_epsilon_is_worth_by_the_devices_own_count():
    words = " ".join(notice("share_update").text.split())
    form = r"whether your history was in it, is right at most (\d+) times in 100; at ε 8 at most (\d+) times"
    told = re.search(form, words)
    assert told is not None
    most = [math.ceil(100 * best_guess(epsilon, DELTA, gaussian_mu(epsilon, DELTA))) for epsilon in (1.0, 8.0)]
    assert [int(figure) for figure in told.groups()] == most
