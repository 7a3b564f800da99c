"""What is expected of a promise, before anyone is asked."""

from __future__ import annotations

import pytest

from fedpersona.simulation import expectation
from fedpersona.simulation.expectation import Expected, Promise, expect, good_from, populations
from fedpersona.simulation.narration import Silence


@pytest.fixture
def small(monkeypatch):
    """Few invented people and items, one seed."""
    monkeypatch.setattr(expectation, "SIMULATED_PEOPLE", 300)
    monkeypatch.setattr(expectation, "SIMULATED_ITEMS", 120)
    monkeypatch.setattr(expectation, "_SEEDS", 1)


def at(users, kept):
    return Expected(users, 0.0, 0.0, 0.0, 0.0, kept, None, 1)


def test_populations_are_tenfold_steps_around_the_one_that_is_asked_about():
    assert populations(10_000) == [1_000, 10_000, 100_000, 1_000_000]
    assert populations(200) == [50, 200, 2_000, 20_000], "figures of fewer than fifty people say nothing"
    assert populations(20) == [20, 200, 2_000]


def test_a_model_becomes_good_between_two_populations_by_their_logarithms():
    assert good_from([at(100, 0.7), at(10_000, 1.1)]) == 1_000
    assert good_from([at(100, 0.5), at(1_000, 0.9)]) == 1_000
    assert good_from([at(100, 0.95), at(1_000, 1.0)]) == 100
    assert good_from([at(100, 0.5), at(1_000, 0.89)]) is None
    assert good_from([at(100, None), at(1_000, 0.95)]) == 1_000


@pytest.mark.usefixtures("small")
def test_more_people_keep_more_of_what_a_model_learns():
    found = expect(Promise(users=1_000, model="ease", epsilon=1.0, delta=1e-5), Silence())
    assert [e.users for e in found][:4] == [100, 1_000, 10_000, 100_000]
    first, last = found[0], found[-1]
    assert first.kept is not None
    assert last.kept is not None
    assert first.kept + 0.3 < last.kept
    assert last.floor < last.ndcg
    assert first.floor < first.ceiling


@pytest.mark.usefixtures("small")
def test_the_same_people_with_a_weaker_promise_keep_more():
    kept = {}
    for epsilon in (0.1, 8.0):
        found = expect(Promise(users=300, model="ease", epsilon=epsilon, delta=1e-5), Silence())
        kept[epsilon] = next(e for e in found if e.users == 300).kept
    assert kept[0.1] + 0.2 < kept[8.0]


@pytest.mark.usefixtures("small")
def test_populations_are_added_until_it_is_clear_where_it_becomes_good():
    found = expect(Promise(users=100, model="popularity", epsilon=0.05, delta=1e-5), Silence())
    good = good_from(found)
    assert found[0].kept < 0.9
    assert good is not None
    assert found[0].users < good <= found[-1].users
    smaller = expect(Promise(users=100_000, model="popularity", epsilon=8.0, delta=1e-5), Silence())
    assert smaller[0].users < 10_000, "good at a tenth already: fewer people are looked at"


@pytest.mark.usefixtures("small")
def test_popularity_is_measured_against_lists_drawn_by_lot():
    found = expect(Promise(users=300, model="popularity", epsilon=8.0, delta=1e-5), Silence())
    assert all(e.floor < 0.06 < e.ceiling for e in found)
    assert all(e.ndcg == e.noisy_popularity for e in found)


def test_no_seed_is_begun_when_time_is_up(small, monkeypatch):
    monkeypatch.setattr(expectation, "_SEEDS", 3)
    monkeypatch.setattr(expectation, "_SECONDS", 0.0)
    found = expect(Promise(users=300, model="popularity", epsilon=8.0, delta=1e-5), Silence())
    assert {e.seeds for e in found} == {1}
