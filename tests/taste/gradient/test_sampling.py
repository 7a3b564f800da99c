"""What a device trains on: uniform over all it has not played, held-out items among them, the same for the same key."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from fedpersona.randomness import draws
from fedpersona.taste.gradient.sampling import Stream, draw_epoch, draw_negatives, draw_triples, split_history

ITEMS = 40
SOME = np.array([0, 3, 4, 17, 39], np.int32)
MOST = np.setdiff1d(np.arange(ITEMS, dtype=np.int32), [2, 9, 30])


def chi_square(counts) -> float:
    expected = counts.sum() / len(counts)
    return float(np.square(counts - expected).sum() / expected)


def read_one_by_one(key, history, items, count):
    """Return negatives and the position after them, by a loop that says what the drawing means."""
    played, position, found = set(history.tolist()), 0, []
    others = [item for item in range(items) if item not in played]
    while len(found) < count:
        draw = int(draws(key, position, 1)[0])
        position += 1
        for half in (draw & 0xFFFFFFFF, draw >> 32):
            candidate = others[half * len(others) >> 32] if 2 * len(played) > items else half * items >> 32
            if candidate not in played and len(found) < count:
                found.append(candidate)
    return found, position


@pytest.mark.parametrize("history", [SOME, MOST, np.arange(20, dtype=np.int32), np.arange(21, dtype=np.int32)])
@pytest.mark.parametrize("count", [1, 2, 7, 100])
def test_negatives_are_those_of_a_loop_that_takes_one_after_another(history, count):
    for key in range(20):
        stream = Stream(key)
        found = draw_negatives(stream, history, ITEMS, count)
        assert (found.tolist(), stream.position) == read_one_by_one(key, history, ITEMS, count)


@pytest.mark.parametrize("history", [SOME, MOST])
def test_negatives_are_uniform_over_what_was_not_played(history):
    others = np.setdiff1d(np.arange(ITEMS), history)
    drawn = np.concatenate([draw_negatives(Stream(key), history, ITEMS, 40) for key in range(1000)])
    assert not np.isin(drawn, history).any()
    counts = np.bincount(drawn, minlength=ITEMS)[others]
    degrees = len(others) - 1
    assert chi_square(counts) < degrees + 5 * np.sqrt(2 * degrees)


def test_an_item_that_is_held_out_is_drawn_as_often_as_any_other():
    """The sampler is given what was played, and nothing else: it cannot know what is held out."""
    drawn = np.concatenate([draw_epoch(Stream(key), SOME, SOME, ITEMS, 4).items for key in range(2000)])
    expected = 2000 * 20 / 35
    held_out = np.count_nonzero(drawn == 8)
    assert abs(held_out - expected) < 5 * np.sqrt(expected)


def test_where_everything_was_played_there_are_no_negatives():
    everything = np.arange(ITEMS, dtype=np.int32)
    epoch = draw_epoch(Stream(1), everything, everything, ITEMS, 4)
    assert sorted(epoch.items.tolist()) == list(range(ITEMS))
    assert epoch.labels.all()
    assert len(draw_triples(Stream(1), everything, everything, ITEMS, 4).played) == 0


def test_where_one_item_is_left_it_is_every_negative():
    history = np.delete(np.arange(ITEMS, dtype=np.int32), 11)
    epoch = draw_epoch(Stream(1), history, history, ITEMS, 2)
    assert set(epoch.items[~epoch.labels].tolist()) == {11}
    assert np.count_nonzero(~epoch.labels) == 2 * len(history)


def test_nothing_played_gives_no_samples_and_takes_no_draws():
    stream, nothing = Stream(1), np.empty(0, np.int32)
    assert len(draw_epoch(stream, nothing, nothing, ITEMS, 4).items) == 0
    assert len(draw_triples(stream, nothing, nothing, ITEMS, 4).played) == 0
    assert [len(part) for part in split_history(stream, nothing, 0.5)] == [0, 0]
    assert stream.position == 0


def test_an_epoch_has_every_play_once_and_so_many_others_for_each():
    epoch = draw_epoch(Stream(5), SOME, SOME, ITEMS, 3)
    assert sorted(epoch.items[epoch.labels].tolist()) == SOME.tolist()
    assert np.count_nonzero(~epoch.labels) == 3 * len(SOME)
    assert not np.isin(epoch.items[~epoch.labels], SOME).any()


def test_plays_are_at_any_places_of_an_epoch_alike():
    """Two plays and two others: six pairs of places, each as likely; and which play is where, too."""
    history = np.array([1, 2], np.int32)
    places = dict.fromkeys(itertools.permutations(range(4), 2), 0)
    for key in range(3000):
        epoch = draw_epoch(Stream(key), history, history, ITEMS, 1)
        order = epoch.items.tolist()
        places[order.index(1), order.index(2)] += 1
    assert chi_square(np.array(list(places.values()))) < 11 + 5 * np.sqrt(22)


def test_triples_pair_every_play_with_so_many_others():
    triples = draw_triples(Stream(5), SOME, SOME, ITEMS, 3)
    assert sorted(triples.played.tolist()) == sorted(SOME.tolist() * 3)
    assert not np.isin(triples.others, SOME).any()


@pytest.mark.parametrize(("share", "first"), [(0.5, 2), (0.01, 1), (0.99, 4), (0.3, 2)])
def test_a_split_history_is_whole_and_no_play_is_in_both_parts(share, first):
    support, query = split_history(Stream(3), SOME, share)
    assert len(support) == first
    assert sorted([*support.tolist(), *query.tolist()]) == SOME.tolist()


@pytest.mark.parametrize(("history", "share"), [(SOME, 1.0), (SOME[:1], 0.5)])
def test_where_no_split_is_asked_for_or_possible_both_parts_are_all_of_it(history, share):
    assert [part.tolist() for part in split_history(Stream(3), history, share)] == [history.tolist()] * 2


def test_every_play_comes_into_either_part():
    seen = np.zeros(ITEMS, int)
    for key in range(300):
        seen[split_history(Stream(key), SOME, 0.4)[0]] += 1
    assert chi_square(seen[SOME]) < 4 + 5 * np.sqrt(8)


def test_the_same_key_draws_the_same_and_another_key_other_samples():
    one, again, other = (draw_epoch(Stream(key), SOME, SOME, ITEMS, 4) for key in (7, 7, 8))
    assert one.items.tolist() == again.items.tolist()
    assert one.labels.tolist() == again.labels.tolist()
    assert one.items.tolist() != other.items.tolist()
