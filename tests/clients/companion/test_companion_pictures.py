"""Pictures stay on their page, tell the truth about lengths, and put no word on another."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.companion.pictures import bars_by_time, draw_map, shares
from fedpersona.device import starter
from fedpersona.device.taste_map import taste_map
from fedpersona.plays import Plays


def months(counts: list[int], year: int = 2024) -> list[tuple[str, int]]:
    return [(f"{year + place // 12}-{place % 12 + 1:02}", count) for place, count in enumerate(counts)]


@given(st.lists(st.integers(0, 2_000_000), max_size=400), st.sampled_from([(760, 230), (340, 190)]))
@settings(deadline=None, max_examples=60)
def test_bars_stay_inside_and_are_as_long_as_what_they_count(counts, size):
    drawn = bars_by_time(months(counts, 1990), *size)
    assert sum(bar.count for bar in drawn.bars) == sum(counts)
    most = max((bar.count for bar in drawn.bars), default=0)
    tallest = max((bar.height for bar in drawn.bars), default=0)
    for bar in drawn.bars:
        assert bar.x >= 0
        assert bar.x + bar.width <= size[0] + 0.2
        assert bar.y >= 0
        assert bar.y + bar.height == pytest.approx(drawn.base, abs=0.11)
        if most:
            assert bar.height == pytest.approx(tallest * bar.count / most, abs=0.2)
    marks = [int(line.text.replace(",", "")) for line in drawn.lines]
    assert marks[0] == 0
    assert marks[-1] >= most
    assert len(marks) <= 6
    assert all(after - before == marks[1] for before, after in itertools.pairwise(marks))
    assert all(after.x - before.x >= 43.9 for before, after in itertools.pairwise(drawn.names))


def test_more_than_five_years_are_drawn_by_year():
    drawn = bars_by_time(months([1] * 72), 760, 230)
    assert [(bar.name, bar.count) for bar in drawn.bars] == [(str(year), 12) for year in range(2024, 2030)]


def test_a_bar_says_what_it_stands_for():
    assert bars_by_time([("2026-11", 1)], 340, 190).bars[0].says == "November 2026: 1 listen"


def test_the_longest_share_is_the_whole_and_none_is_invisible():
    assert shares([200, 100, 1], 100.0) == (100.0, 50.0, 1.5)
    assert shares([], 100.0) == ()
    assert shares([0], 100.0) == (0.0,)


@pytest.mark.parametrize("size", [(760, 620), (340, 420)])
@pytest.mark.parametrize("count", [0, 1, 5, 150, 1387])
def test_the_map_has_every_point_inside_and_no_word_on_another(size, count):
    catalogue = starter.catalogue()
    rows = np.sort(np.random.default_rng(4).choice(len(catalogue), count, replace=False)).astype(np.int32)
    found = taste_map(catalogue, Plays(rows, (np.arange(count) % 40 + 1).astype(np.float32)))
    assert found is not None
    drawn = draw_map(found, catalogue, *size)
    assert len(drawn.played) + len(drawn.known) == len(found)
    assert len(drawn.played) == int((found.weights > 0).sum())
    for dot in (*drawn.played, *drawn.known):
        assert dot.x - dot.size >= 0
        assert dot.x + dot.size <= size[0]
        assert dot.y - dot.size >= 0
        assert dot.y + dot.size <= size[1]
    for one, other in itertools.combinations((*drawn.names, *drawn.regions), 2):
        assert abs(one.y - other.y) > 8 or abs(one.x - other.x) > 8
    assert bool(drawn.names) == (count > 0)
    assert "played" not in repr(drawn)
