"""A trainer cannot learn which item is held out: counters that memorise what training touches score at chance.

The known error: training negatives are drawn from "everything but all interactions", so a held-out item is the one
unseen item that is never drawn, and a counter of draws finds it without learning anything about taste.
"""

import numpy as np
import pytest

from fedpersona.catalogue import Catalogue
from fedpersona.simulation.evaluation import chance, evaluate
from fedpersona.simulation.population import Population, Split

PEOPLE, ITEMS, HISTORY = 1500, 60, 10


@pytest.fixture(scope="module")
def split():
    """Held-out items are drawn like any other, evenly, so that not even popularity beats chance."""
    random = np.random.default_rng(11)
    drawn = random.permuted(np.tile(np.arange(ITEMS), (PEOPLE, 1)), axis=1)
    train = Population.from_pairs(
        "invented",
        Catalogue.create(str(row) for row in range(ITEMS)),
        np.repeat(np.arange(PEOPLE), HISTORY),
        drawn[:, :HISTORY].ravel(),
        person_ids=np.arange(PEOPLE),
    )
    return Split(train, drawn[:, HISTORY].astype(np.int32), drawn[:, HISTORY + 1].astype(np.int32))


def never_negative(avoided):
    """Count how often each (person, item) is a training negative; score high what never is. It learns no taste."""
    random = np.random.default_rng(5)
    counts = np.zeros((PEOPLE, ITEMS), np.float32)
    for person in range(PEOPLE):
        allowed = np.setdiff1d(np.arange(ITEMS), avoided(person))
        drawn = random.choice(allowed, 20 * ITEMS)
        counts[person] = np.bincount(drawn, minlength=ITEMS)
    return -counts + random.random((PEOPLE, ITEMS), dtype=np.float32) * 1e-3


def seen_by_the_trainer(split):
    return lambda person: split.train.plays(person).items


def assert_at_chance(split, table, on):
    result = evaluate(split, lambda people: table[people], on=on, details=False)
    for name, expected in chance(split, on=on).items():
        error = result.per_person[name].std() / np.sqrt(PEOPLE)
        assert abs(result.metrics[name] - expected) < 4 * error, name


@pytest.mark.parametrize("on", ["val", "test"])
def test_a_counter_of_training_negatives_scores_at_chance(split, on):
    assert_at_chance(split, never_negative(seen_by_the_trainer(split)), on)


@pytest.mark.parametrize("on", ["val", "test"])
def test_a_counter_of_training_pairs_scores_at_chance(split, on):
    table = np.random.default_rng(6).random((PEOPLE, ITEMS), dtype=np.float32)
    for person in range(PEOPLE):
        table[person, split.train.plays(person).items] += 1
    assert_at_chance(split, table, on)


@pytest.mark.parametrize("on", ["val", "test"])
def test_who_trains_on_everything_but_all_interactions_is_found_out(split, on):
    """The leak itself, to show that the tests above can fail: with it the counter needs no taste to be right."""
    table = never_negative(lambda person: split.everything(person).items)
    leaked = evaluate(split, lambda people: table[people], on=on, details=False)
    assert leaked.metrics["hr@10"] == 1.0
    with pytest.raises(AssertionError):
        assert_at_chance(split, table, on)


def test_moving_a_held_out_item_changes_nothing_that_a_trainer_reads(split):
    moved = Split(split.train, split.test, split.val)
    assert moved.train.data_hash == split.train.data_hash
    table = never_negative(seen_by_the_trainer(split))
    assert np.array_equal(table, never_negative(seen_by_the_trainer(moved)))


def test_no_held_out_pair_is_a_train_pair(split):
    keys = np.repeat(np.arange(PEOPLE), HISTORY) * ITEMS + split.train.items
    for held_out in (split.val, split.test):
        assert not np.isin(np.arange(PEOPLE) * ITEMS + held_out, keys).any()
