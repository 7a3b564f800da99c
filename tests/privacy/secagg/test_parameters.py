from __future__ import annotations

from itertools import combinations
from math import floor, isinf, log2

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import hypergeom

from fedpersona.errors import ConfigError
from fedpersona.privacy.secagg import Parameters, chances
from fedpersona.privacy.secagg.graph import everyone

DEFAULT = Parameters()


@pytest.mark.parametrize("neighbours", [-2, 0, 1, 3, 79])
def test_neighbours_are_an_even_number_of_two_or_more(neighbours):
    with pytest.raises(ConfigError, match="even number"):
        Parameters(neighbours, max(neighbours, 1))


@pytest.mark.parametrize(
    ("neighbours", "threshold"), [(8, 4), (8, 3), (8, 0), (8, -5), (8, 9), (2, 1), (80, 40), (80, 81)]
)
def test_a_threshold_of_half_or_less_or_of_more_than_all_is_refused(neighbours, threshold):
    with pytest.raises(ConfigError, match="more than half"):
        Parameters(neighbours, threshold)


parameters = st.integers(1, 60).flatmap(
    lambda half: st.integers(half + 1, 2 * half).map(lambda threshold: Parameters(2 * half, threshold))
)


@given(parameters, st.integers(2, 120))
def test_fewer_neighbours_never_make_it_easier(found, degree):
    """The same share of them, rounded up: and above half, so that no two lots of them are that many."""
    needed = found.needed(degree)
    assert 2 * needed > degree
    assert needed / degree >= found.threshold / found.neighbours
    if degree <= found.neighbours:
        assert needed <= degree
    assert found.needed(found.neighbours) == found.threshold


@given(parameters, st.integers(4, 400), st.floats(0, 0.9), st.floats(0, 0.9))
def test_chances_are_those_of_drawing_without_replacement(found, size, colluding, leaving):
    """Against scipy's hypergeometric distribution."""
    result = chances(size, found, colluding=colluding, leaving=leaving)
    degree = min(found.neighbours, size - 1)
    needed = found.needed(degree)

    def expected(share: float, least: int) -> float:
        return log2(size) + hypergeom.logsf(least - 1, size - 1, floor(share * (size - 1)), degree) / np.log(2)

    for value, share, least in (
        (result.alone, colluding, needed),
        (result.split, colluding, 2 * needed - degree),
        (result.failed, leaving, degree - needed + 1),
    ):
        if value > -45:  # below that the other's logarithm of a sum is not exact
            assert value == pytest.approx(min(0.0, expected(share, least)), abs=1e-3)


def test_chances_are_those_of_trying_every_set_of_neighbours():
    size, found = 13, Parameters(6, 5)
    bad = 4
    drawn = [sum(other < bad for other in others) for others in combinations(range(size - 1), 6)]
    result = chances(size, found, colluding=bad / (size - 1), leaving=bad / (size - 1))
    for value, least in ((result.alone, 5), (result.split, 4), (result.failed, 2)):
        chance = np.mean([hit >= least for hit in drawn])
        assert value == (pytest.approx(min(0.0, log2(size * chance))) if chance else float("-inf"))


def test_chances_are_those_of_graphs_as_they_are_drawn():
    """How often it hits one device that has all k neighbours, over graphs of many rosters; n times that is said."""
    size, found, leaving, rosters = 60, Parameters(10, 8), 0.15, 600
    gone = floor(leaving * (size - 1))
    hit = trials = 0
    for number in range(rosters):
        for device, others in enumerate(everyone(number.to_bytes(32, "little"), size, 10)):
            if device >= gone and len(others) == 10:  # the one looked at is none of those that leave
                hit += sum(other < gone for other in others) >= 3
                trials += 1
    chance = 2 ** chances(size, found, colluding=0, leaving=leaving).failed
    single = hypergeom.sf(2, size - 1, gone, 10)
    assert min(1.0, size * single) == pytest.approx(chance)
    assert abs(hit / trials - single) < 0.02


def test_chances_that_cannot_be_are_none_and_those_that_must_be_are_certain():
    result = chances(100, Parameters(20, 15), colluding=0.0, leaving=1.0)
    assert isinf(result.alone)
    assert isinf(result.split)
    assert result.failed == 0.0


@pytest.mark.parametrize(("size", "split", "failed"), [(1000, -40, -13), (10_000, -31, -7)])
def test_the_default_numbers_hold_where_a_tenth_collude_and_a_tenth_leave(size, split, failed):
    result = chances(size, DEFAULT, colluding=0.1, leaving=0.1)
    assert result.alone < -110
    assert result.split < split
    assert result.failed < failed
