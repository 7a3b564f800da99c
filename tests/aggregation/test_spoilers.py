"""Devices that spoil sums are left out: by name where that is known, else by halving those that may have done it."""

from __future__ import annotations

from math import ceil, log2

import pytest

from fedpersona.aggregation.spoilers import Spoilers


@pytest.mark.parametrize("size", [3, 12, 50, 100])
def test_one_that_spoils_every_sum_is_found_in_as_many_attempts_as_halving_takes(size):
    spoilers, present, liar = Spoilers(), list(range(size)), size // 3
    attempts = 0
    while not spoilers._faults[liar]:
        asked = spoilers.without(present, 2)
        attempts += 1
        if liar in asked:
            spoilers.suspect(asked)
        else:
            spoilers.clear(asked)
        spoilers.blame(asked, ())
        assert attempts <= 2 * ceil(log2(size)) + 3
    assert not any(faults for node, faults in spoilers._faults.items() if node != liar)
    assert liar not in spoilers.without(present, 2), "it sits out"


def test_who_had_faults_before_is_guessed_first():
    spoilers, present = Spoilers(), list(range(20))
    spoilers.blame(present, {7})
    spoilers.suspect(present)
    assert spoilers.without(present, 2) == [node for node in present if node != 7]


def test_whose_own_secret_was_spoilt_is_guessed_first_and_where_it_was_not_that_one_all_are_suspected():
    spoilers, present = Spoilers(), list(range(20))
    spoilers.suspect(present, likely={3})
    asked = spoilers.without(present, 2)
    assert asked == [node for node in present if node != 3]
    spoilers.suspect(asked, likely={4})
    assert spoilers._suspects == set(asked)
    assert len(spoilers.without(present, 2)) == 10


def test_one_that_was_guessed_and_without_whom_the_sum_was_right_sits_out_once_and_comes_again():
    spoilers, present = Spoilers(), list(range(20))
    spoilers.suspect(present, likely={3})
    asked = spoilers.without(present, 2)
    spoilers.clear(asked)
    assert 3 not in spoilers.without(present, 2)
    assert spoilers.without(present, 2) == present


def test_no_more_are_left_out_than_a_round_can_do_without():
    spoilers, present = Spoilers(), list(range(10))
    spoilers.suspect(present)
    assert len(spoilers.without(present, 8)) == 8
    assert spoilers.without(present, 10) == present
    assert spoilers.without(present, 12) == present


def test_nobody_is_suspected_once_all_were_in_a_sum_that_is_right():
    spoilers, present = Spoilers(), list(range(10))
    spoilers.suspect(present)
    spoilers.clear(present)
    assert spoilers.without(present, 2) == present
