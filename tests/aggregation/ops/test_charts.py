from __future__ import annotations

import pytest

from fedpersona.aggregation.ops.charts import columns, shares


def rounds(*pairs: tuple[int, int]) -> list[tuple[str, int, int, str]]:
    return [(f"1.{place}", invited, answered, "") for place, (invited, answered) in enumerate(pairs, 1)]


@pytest.mark.parametrize("pairs", [(), ((0, 0),), ((1, 1),), ((7, 3),) * 3, ((1_000_000, 999_999),) * 40])
def test_every_bar_stands_on_the_floor_and_within_the_picture(pairs):
    chart = columns(rounds(*pairs), width=330, height=170)
    for bar in chart.bars:
        assert chart.left <= bar.x
        assert bar.x + bar.width <= 330
        assert 0 < bar.outer <= bar.inner <= chart.floor
    assert all(0 < y < chart.floor for y, _ in chart.lines)


def test_heights_are_in_proportion():
    first, second = columns(rounds((100, 50), (50, 25)), width=300, height=200).bars
    floor = columns((), width=300, height=200).floor
    assert floor - first.inner == pytest.approx((floor - first.outer) / 2, abs=0.02)
    assert floor - second.outer == pytest.approx(floor - first.inner, abs=0.02)


def test_only_the_last_are_shown_and_the_newest_always_has_its_label():
    chart = columns(rounds(*((5, 5),) * 90), width=830, height=190, most=40, labels=8)
    assert len(chart.bars) == 40
    assert chart.bars[-1].label == "1.90"
    assert sum(bool(bar.label) for bar in chart.bars) <= 8


def test_the_longest_share_is_whole_and_nothing_is_no_length():
    assert [(one.name, one.words, one.length) for one in shares({"a": 8, "b": 2})] == [("a", "8", 100), ("b", "2", 25)]
    assert shares({"a": 0.0})[0].length == 0
    assert shares({}) == ()
