import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedpersona.catalogue import Catalogue
from fedpersona.errors import DataError
from fedpersona.simulation.datasets import leave_one_out
from fedpersona.simulation.datasets.leave_one_out import at_random, by_time
from fedpersona.simulation.population import Population


def population(histories, *, items=300, timed=True):
    """One list of (item, time) a person; ids of people are 10, 11, ..."""
    people = np.repeat(np.arange(len(histories)), [len(h) for h in histories])
    pairs = np.array([pair for h in histories for pair in h], dtype=np.int64).reshape(-1, 2)
    return Population.from_pairs(
        "invented",
        Catalogue.create(map(str, range(items))),
        people,
        pairs[:, 0],
        person_ids=np.arange(10, 10 + len(histories)),
        weights=pairs[:, 0] + 1.0,
        times=pairs[:, 1] if timed else None,
    )


histories = st.lists(
    st.dictionaries(st.integers(0, 299), st.integers(-5, 5), max_size=8).map(lambda h: list(h.items())),
    min_size=1,
    max_size=6,
).filter(lambda people: any(len(h) >= 3 for h in people))


def test_the_last_item_is_tested_and_the_one_before_it_validates():
    split = by_time(population([[(7, 30), (2, 10), (9, 40), (4, 20)]]))
    assert (split.test.tolist(), split.val.tolist(), split.train.items.tolist()) == ([9], [7], [2, 4])
    assert split.train.times is not None
    assert split.train.times.tolist() == [10, 20]
    assert split.train.weights.tolist() == [3.0, 5.0]


def test_ties_go_by_the_order_of_the_file():
    tied = population([[(1, 5), (2, 5), (3, 5), (4, 5)]])
    split = by_time(tied, file_order=np.array([3, 0, 2, 1]))
    assert (split.test.tolist(), split.val.tolist()) == ([1], [3])
    assert by_time(tied).test.tolist() == [4]


def test_the_earliest_time_that_there_is_can_be_held_out():
    lowest = np.iinfo(np.int64).min
    split = by_time(population([[(1, lowest), (2, lowest), (3, lowest)]]))
    assert (split.test.tolist(), split.val.tolist(), split.train.items.tolist()) == ([3], [2], [1])


@settings(deadline=None, max_examples=50)
@given(histories)
def test_by_time_holds_out_what_sorting_each_history_would(people):
    split = by_time(population(people))
    expected = [sorted(h, key=lambda pair: (pair[1], pair[0])) for h in people if len(h) >= 3]
    assert split.test.tolist() == [h[-1][0] for h in expected]
    assert split.val.tolist() == [h[-2][0] for h in expected]


@settings(deadline=None, max_examples=50)
@given(histories, st.sampled_from([by_time, at_random]))
def test_train_and_held_out_items_are_the_complete_history_each_once(people, hold_out):
    split = hold_out(population(people))
    assert split.complete is not None
    assert split.val_negatives is not None
    assert split.test_negatives is not None
    assert split.train.person_ids.tolist() == [10 + p for p, h in enumerate(people) if len(h) >= 3]
    for person in range(len(split.train)):
        held = [int(split.val[person]), int(split.test[person])]
        own = sorted([*split.train.plays(person).items.tolist(), *held])
        assert own == split.complete.plays(person).items.tolist()
        assert len(set(own)) == len(own)
        drawn = [*split.val_negatives[person].tolist(), *split.test_negatives[person].tolist()]
        assert len(set(drawn)) == 198
        assert not set(drawn) & set(own)


def test_people_with_fewer_than_three_items_are_left_out_and_the_catalogue_stays():
    split = by_time(population([[], [(1, 1), (2, 2)], [(5, 1), (6, 2), (7, 3)], [(3, 3)]]))
    assert split.train.person_ids.tolist() == [12]
    assert split.train.indptr.tolist() == [0, 1]
    assert len(split.catalogue) == 300


@pytest.mark.parametrize("hold_out", [by_time, at_random])
@pytest.mark.parametrize("people", [[[]], [[(1, 1), (2, 2)]], [[], [(3, 0)]]])
def test_a_population_of_short_histories_is_refused(hold_out, people):
    with pytest.raises(DataError, match="nobody in invented has 3 items"):
        hold_out(population(people))


def test_no_times_means_no_split_by_time():
    with pytest.raises(DataError, match="no times"):
        by_time(population([[(1, 1), (2, 2), (3, 3)]], timed=False))


def test_a_random_split_repeats_with_its_seed_and_changes_with_another():
    people = [[(item, 0) for item in range(p, p + 40)] for p in range(30)]
    first, again, other = (at_random(population(people), seed) for seed in (1, 1, 2))
    assert first.test.tolist() == again.test.tolist()
    assert np.array_equal(first.test_negatives, again.test_negatives)
    assert first.test.tolist() != other.test.tolist()


def test_a_random_split_prefers_no_position_of_the_history():
    split = at_random(population([[(item, 0) for item in range(4)]] * 4000))
    for held_out in (split.val, split.test):
        counts = np.bincount(held_out, minlength=4)
        assert abs(counts - 1000).max() < 5 * np.sqrt(4000 * 0.25 * 0.75)


def test_a_catalogue_too_small_for_negatives_has_none():
    history = [[(item, item) for item in range(10)]]
    assert by_time(population(history, items=207)).test_negatives is None
    assert by_time(population(history, items=208)).test_negatives is not None


def test_a_large_population_has_no_negatives(monkeypatch):
    monkeypatch.setattr(leave_one_out, "_MOST_PEOPLE_WITH_NEGATIVES", 2)
    history = [(1, 1), (2, 2), (3, 3)]
    assert by_time(population([history] * 2)).val_negatives is not None
    assert by_time(population([history] * 3)).val_negatives is None


def test_the_default_draw_is_the_one_that_earlier_figures_were_measured_with():
    """Recorded: another draw would make every figure on lastfm-2k incomparable with those before it."""
    split = at_random(population([[(item, 0) for item in range(p, p + 7)] for p in range(6)]))
    assert split.test_negatives is not None
    assert (split.test.tolist(), split.val.tolist()) == ([0, 1, 7, 5, 6, 11], [4, 3, 6, 8, 5, 9])
    assert split.test_negatives[5, -6:].tolist() == [67, 136, 242, 198, 264, 233]
