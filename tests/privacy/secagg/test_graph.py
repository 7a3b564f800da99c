from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedpersona.privacy.secagg.graph import MOST_DEVICES, circles, everyone, neighbours_of

ROSTER = hashlib.sha256(b"a roster").digest()


def matrix_of(graph: list[tuple[int, ...]]) -> np.ndarray:
    found = np.zeros((len(graph), len(graph)))
    for device, others in enumerate(graph):
        found[device, list(others)] = 1
    return found


def parts(graph: list[tuple[int, ...]], there: set[int]) -> int:
    """Count the connected parts of what is left."""
    left, count = set(there), 0
    while left:
        count += 1
        reached = {left.pop()}
        while reached:
            reached = {other for device in reached for other in graph[device]} & left
            left -= reached
    return count


graphs = given(st.binary(min_size=32, max_size=32), st.integers(3, 60), st.integers(1, 12).map(lambda half: 2 * half))


@graphs
def test_who_is_a_neighbour_is_one_too_nobody_is_its_own_and_none_is_named_twice(roster, size, neighbours):
    graph = everyone(roster, size, neighbours)
    matrix = matrix_of(graph)
    assert np.array_equal(matrix, matrix.T)
    assert not matrix.trace()
    assert all(list(others) == sorted(set(others)) for others in graph)
    assert parts(graph, set(range(size))) == 1  # one circle goes through all


@graphs
def test_a_device_finds_for_itself_what_the_server_finds_for_everyone(roster, size, neighbours):
    graph = everyone(roster, size, neighbours)
    assert [neighbours_of(roster, size, neighbours, device) for device in range(size)] == graph


@graphs
def test_a_device_has_at_least_the_two_of_one_circle_and_all_others_where_these_are_not_more_than_k(
    roster, size, neighbours
):
    degrees = [len(others) for others in everyone(roster, size, neighbours)]
    if size - 1 <= neighbours:
        assert set(degrees) == {size - 1}
    assert min(degrees) >= 2
    assert max(degrees) <= 2 * circles(size, neighbours) or size - 1 <= neighbours


@pytest.mark.parametrize("size", [78, 100, 150, 300, 1000, 3000])
def test_a_device_has_k_neighbours_on_average_and_few_more_or_fewer(size):
    """Also where circles overlap a lot."""
    degrees = [len(others) for others in everyone(ROSTER, size, 76)]
    assert abs(np.mean(degrees) - 76) < 2.5
    assert min(degrees) >= 76 - 14
    assert max(degrees) <= 76 + 14


def test_as_few_circles_are_drawn_as_give_k_neighbours_or_one_fewer():
    """In whole numbers: (n - 1)·(1 - (1 - 2/(n - 1))^c) reaches k - 1."""
    for size in (5, 10, 50, 78, 79, 200, 1000, 100_000):
        for neighbours in (4, 8, 48, 76):  # for 2 rounding may say one more
            count, others = circles(size, neighbours), size - 1
            if others <= neighbours:
                assert count == 0
                continue
            enough = [others * (others - 2) ** c <= (others - neighbours + 1) * others**c for c in (count - 1, count)]
            assert enough == [False, True]


def test_every_bit_of_the_roster_makes_another_graph():
    before = everyone(ROSTER, 60, 6)
    number = int.from_bytes(ROSTER, "little")
    others = {str(everyone((number ^ 1 << bit).to_bytes(32, "little"), 60, 6)) for bit in range(256)}
    assert len(others) == 256
    assert str(before) not in others


def test_graphs_of_different_rosters_have_no_more_in_common_than_by_chance():
    size, neighbours = 400, 40
    one, other = (matrix_of(everyone(hashlib.sha256(name).digest(), size, neighbours)) for name in (b"one", b"other"))
    common, chance = (one * other).sum() / one.sum(), other.sum() / size / (size - 1)
    assert abs(common - chance) < 0.02


def test_the_graph_has_no_bottleneck():
    """Its second eigenvalue is that of a random regular graph, about 2·sqrt(k - 1) (Friedman 2008)."""
    matrix = matrix_of(everyone(ROSTER, 400, 40))
    eigenvalues = np.sort(np.abs(np.linalg.eigvalsh(matrix)))
    assert eigenvalues[-1] == pytest.approx(matrix.sum() / 400, abs=1.0)
    assert eigenvalues[-2] < 2.6 * np.sqrt(40)


def test_the_rest_holds_together_whoever_leaves():
    graph, random = everyone(ROSTER, 200, 20), np.random.default_rng(4)
    for gone in (20, 60, 100):
        for _ in range(20):
            assert parts(graph, set(random.choice(200, 200 - gone, replace=False).tolist())) == 1


def test_a_server_cannot_cut_off_a_few_though_it_chooses_who_leaves():
    """A set that keeps t of k neighbours each within itself has about half of all devices: the smallest is grown."""
    size, neighbours, needed = 300, 40, 29
    matrix = matrix_of(everyone(ROSTER, size, neighbours))
    smallest = size
    for start in range(0, size, 10):
        chosen = np.zeros(size, bool)
        chosen[start] = True
        chosen[matrix[start] > 0] = True
        while (inside := matrix[chosen] @ chosen).min() < needed:  # help whoever lacks most, with who helps most
            lacking = np.flatnonzero(chosen)[inside < needed]
            chosen[np.argmax(np.where(chosen, -1, matrix[lacking].sum(0)))] = True
        smallest = min(smallest, int(chosen.sum()))
    assert smallest > 0.4 * size


def test_the_largest_roster_is_drawn_circle_by_circle():
    drawn = neighbours_of(ROSTER, MOST_DEVICES, 8, 5)
    assert len(drawn) == 8
    assert all(0 <= other < MOST_DEVICES for other in drawn)
