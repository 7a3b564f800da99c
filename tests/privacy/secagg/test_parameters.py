from __future__ import annotations

from collections.abc import Callable
from itertools import combinations, product
from math import floor, isinf

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import hypergeom

from fedpersona.errors import ConfigError
from fedpersona.privacy.secagg import Parameters, chances
from fedpersona.privacy.secagg.graph import circles, everyone

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


def degrees(size: int, neighbours: int) -> dict[int, float]:
    """How likely each number of neighbours is, by scipy: of each circle's pair some were neighbours before."""
    if size - 1 <= neighbours:
        return {size - 1: 1.0}
    chance = np.zeros(size + 2)
    chance[0] = 1.0
    for _ in range(circles(size, neighbours)):
        after = np.zeros_like(chance)
        for known in range(3):
            after[2 - known :] += (chance * hypergeom.pmf(known, size - 1, np.arange(size + 2), 2))[: size + known]
        chance = np.nan_to_num(after)
    return {degree: float(chance[degree]) for degree in np.flatnonzero(chance).tolist()}


@settings(deadline=None)
@given(parameters, st.integers(4, 200), st.floats(0, 0.9), st.floats(0, 0.9))
def test_chances_are_those_of_drawing_without_replacement(found, size, colluding, leaving):
    """Against scipy's hypergeometric distribution."""
    result = chances(size, found, colluding=colluding, leaving=leaving)
    likely = degrees(size, found.neighbours)

    def expected(share: float, least: Callable[[int], int]) -> float:
        marked = floor(share * (size - 1))
        return size * sum(
            chance * hypergeom.sf(least(degree) - 1, size - 1, marked, degree) for degree, chance in likely.items()
        )

    for value, share, least in (
        (result.alone, colluding, found.needed),
        (result.split, colluding, lambda degree: 2 * found.needed(degree) - degree),
        (result.failed, leaving, lambda degree: degree - found.needed(degree) + 1),
    ):
        assert 2**value == pytest.approx(min(1.0, expected(share, least)), rel=1e-6, abs=1e-12)


def test_chances_are_those_of_trying_every_set_of_neighbours_where_all_of_a_number_are_as_likely():
    """Of everybody's others: 6, all of them neighbours; and of 5, of which two circles give a pair each."""
    all_of_them = chances(7, Parameters(6, 4), colluding=0.5, leaving=0.5)  # 3 of 6
    assert (all_of_them.alone, all_of_them.split, all_of_them.failed) == (float("-inf"), 0.0, 0.0)
    assert circles(6, 4) == 2
    pairs = list(combinations(range(5), 2))
    found, bad = Parameters(4, 3), 2
    hit = {"alone": 0, "split": 0, "failed": 0}
    for drawn in product(pairs, repeat=2):
        others = {other for pair in drawn for other in pair}
        marked, needed = sum(other < bad for other in others), found.needed(len(others))
        hit["alone"] += marked >= needed
        hit["split"] += marked >= 2 * needed - len(others)
        hit["failed"] += marked > len(others) - needed
    result = chances(6, found, colluding=bad / 5, leaving=bad / 5)
    for event, count in hit.items():
        chance = min(1.0, 6 * count / len(pairs) ** 2)
        assert 2 ** getattr(result, event) == pytest.approx(chance)
    assert 0 < hit["alone"] < hit["split"] < len(pairs) ** 2


def test_chances_are_those_of_graphs_as_they_are_drawn():
    """How many devices are hit on average, over graphs of many rosters, for each that is not itself marked."""
    size, found, share, rosters = 40, Parameters(10, 7), 0.2, 1000
    marked = floor(share * (size - 1))
    hit = {"alone": 0, "split": 0, "failed": 0}
    for number in range(rosters):
        graph = everyone(number.to_bytes(32, "little"), size, 10)
        for others in graph[marked:]:
            count, needed = sum(other < marked for other in others), found.needed(len(others))
            hit["split"] += count >= 2 * needed - len(others)
            hit["alone"] += count >= needed
            hit["failed"] += count > len(others) - needed
    result = chances(size, found, colluding=share, leaving=share)
    trials = rosters * (size - marked)
    assert hit["alone"] / trials < 0.001
    assert 2**result.alone < 0.1
    for event in ("split", "failed"):
        single = sum(
            chance
            * hypergeom.sf(
                {"split": 2 * found.needed(degree) - degree, "failed": degree - found.needed(degree) + 1}[event] - 1,
                size - 1,
                marked,
                degree,
            )
            for degree, chance in degrees(size, 10).items()
        )
        assert hit[event] / trials == pytest.approx(single, rel=0.1)
        assert 2 ** getattr(result, event) == pytest.approx(min(1.0, size * single))


def test_chances_that_cannot_be_are_none_and_those_that_must_be_are_certain():
    result = chances(100, Parameters(20, 15), colluding=0.0, leaving=1.0)
    assert isinf(result.alone)
    assert isinf(result.split)
    assert result.failed == 0.0


@pytest.mark.parametrize(("size", "split", "failed"), [(100, -200, -100), (1000, -50, -6), (10_000, -40, -2)])
def test_the_default_numbers_hold_where_a_tenth_collude_and_a_tenth_leave(size, split, failed):
    result = chances(size, DEFAULT, colluding=0.1, leaving=0.1)
    assert result.alone < -110
    assert result.split < split
    assert result.failed < failed
