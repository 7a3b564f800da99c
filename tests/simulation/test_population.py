"""A population that makes no sense is refused with the place, before anything is trained on it."""

from __future__ import annotations

import numpy as np
import pytest

from fedpersona.catalogue import Catalogue
from fedpersona.errors import DataError, SplitError
from fedpersona.simulation import Population, Split
from tests.conftest import hold_out, invent

CATALOGUE = Catalogue.create("abcd")


def build(people=(0, 0, 1), items=(1, 3, 0), **columns):
    ids = columns.pop("person_ids", [10, 11])
    return Population.from_pairs("mine", CATALOGUE, people, items, person_ids=ids, **columns)


def test_pairs_in_any_order_become_rows_of_people():
    population = build(people=[1, 0, 0], items=[0, 3, 1], weights=[5, 2, 1], times=[30, 20, 10])
    assert population.plays(0).items.tolist() == [1, 3]
    assert population.plays(0).weights.tolist() == [1, 2]
    assert population.plays(1).last_played.tolist() == [30]
    assert population.person(11) == 1


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"items": [1, -1, 0]}, r"items\[0\]: is -1: rows of this catalogue go from 0 to 3"),
        ({"items": [1, 4, 0]}, r"items\[1\]: is 4"),
        ({"items": [3, 3, 0]}, r"items\[1\]: .*person 0 has 3 twice"),
        ({"people": [0, 0, 2]}, r"people\[2\]: is 2: positions go from 0 to 1"),
        ({"people": [0, -1, 1]}, r"people\[1\]: is -1"),
        ({"items": [1, 3]}, "one entry a pair"),
        ({"weights": [1.0, np.nan, 1.0]}, "positive and finite"),
        ({"weights": [1.0, -1.0, 1.0]}, "positive and finite"),
        ({"weights": [1.0]}, "one entry a pair"),
        ({"times": [1]}, "one entry a pair"),
    ],
)
def test_a_broken_pair_is_named_with_its_place(changes, complaint):
    with pytest.raises(DataError, match=complaint):
        build(**changes)


def test_people_may_have_nothing_at_the_edges_of_the_table():
    population = build(person_ids=[10, 11, 12, 13], people=[1, 1, 2])
    assert [len(population.plays(person)) for person in range(4)] == [0, 2, 1, 0]


@pytest.mark.parametrize("indptr", [[0, 1, 2], [1, 2, 3], [0, 4, 3], []])
def test_rows_that_do_not_add_up_are_refused(indptr):
    fine = build()
    with pytest.raises(DataError, match="indptr"):
        Population("mine", CATALOGUE, np.array(indptr, np.int64), fine.items, fine.weights, None, fine.person_ids)


@pytest.mark.parametrize("bad", [np.zeros(59, np.int32), np.full(60, 40, np.int32), np.full(60, -1, np.int32)])
def test_held_out_items_that_do_not_fit_are_refused(bad):
    split = hold_out(invent())
    with pytest.raises(SplitError, match="test"):
        Split(split.train, split.val, bad)


def test_runs_can_be_compared_when_people_items_and_held_out_items_are_the_same():
    split = hold_out(invent())
    retitled = Catalogue.create(split.catalogue.ids, titles=["?"] * 40)
    train = split.train
    same = Split(
        Population("x", retitled, train.indptr, train.items, train.weights * 2, None, train.person_ids),
        split.val,
        split.test,
    )
    assert same.question == split.question
    assert same.train.data_hash != split.train.data_hash
    assert Split(train, split.test, split.val).question != split.question


def test_nothing_of_a_history_shows_in_a_repr():
    split = hold_out(invent())
    for shown in (repr(split), repr(split.train)):
        assert shown.startswith(("Split(Population(invented: 60 people", "Population(invented: 60 people"))
        assert "array" not in shown


def test_the_hash_of_the_data_covers_every_column():
    base = build(weights=[1.0, 2.0, 3.0], times=[10, 20, 30])
    changed = [
        build(weights=[1.0, 2.0, 4.0], times=[10, 20, 30]),
        build(weights=[1.0, 2.0, 3.0], times=[10, 20, 31]),
        build(weights=[1.0, 2.0, 3.0]),
        build(items=[1, 2, 0], weights=[1.0, 2.0, 3.0], times=[10, 20, 30]),
        build(person_ids=[10, 12], weights=[1.0, 2.0, 3.0], times=[10, 20, 30]),
    ]
    assert len({base.data_hash, *(population.data_hash for population in changed)}) == 6


def test_everyone_is_there_again_with_the_same_history(population):
    again = population.repeated(3)
    assert len(again) == 3 * len(population)
    np.testing.assert_array_equal(again.item_counts, 3 * population.item_counts)
    for person in (0, 7, len(population) - 1):
        one, other = population.plays(person), again.plays(2 * len(population) + person)
        np.testing.assert_array_equal(one.items, other.items)
        np.testing.assert_array_equal(one.weights, other.weights)
        np.testing.assert_array_equal(one.last_played, other.last_played)
    assert population.repeated(1).data_hash == population.data_hash


def test_the_first_people_are_the_same_people(population):
    some = population.first(7)
    assert len(some) == 7
    np.testing.assert_array_equal(some.plays(6).items, population.plays(6).items)
    assert population.first(len(population)).data_hash == population.data_hash
