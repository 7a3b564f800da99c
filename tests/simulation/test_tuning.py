"""Choices are made on validation items: test items have no part in them."""

from __future__ import annotations

import numpy as np

from fedpersona.simulation.evaluation import quick_ndcg
from fedpersona.simulation.population import Split
from fedpersona.simulation.scoring import RawScores, Serving, query_matrix, serve
from fedpersona.simulation.tuning import DISCOUNTS, HALF_LIVES, choose_serving
from tests.conftest import hold_out, invent


class Fixed:
    """Gives everyone the same scores; counts how often it is asked."""

    def __init__(self, scores, listeners):
        self.row = np.asarray(scores, np.float32)
        self.listeners = np.asarray(listeners, float)
        self.asked = 0

    def scores(self, query):
        self.asked += 1
        return np.tile(self.row, (query.shape[0], 1))


def choose(split, scorer, **given):
    people = np.arange(len(split.train))
    options = {"recency": "auto", "discount": "auto", **given}
    return choose_serving(split, scorer, RawScores(split.train), people=people, **options)


def test_the_choice_follows_validation_items_whatever_the_test_items_are():
    split = hold_out(invent())
    scores, listeners = np.linspace(1.0, 1.2, 40), np.arange(40)[::-1] * 10
    first, tried = choose(split, Fixed(scores, listeners))
    swapped = Split(split.train, split.val, np.roll(split.test, 1), complete=split.complete)
    second, again = choose(swapped, Fixed(scores, listeners))
    assert first == second
    assert tried == again
    mirrored = Split(split.train, split.test, split.val, complete=split.complete)
    assert choose(mirrored, Fixed(scores, listeners))[1] != tried


def test_the_best_of_what_was_tried_is_chosen_and_the_simplest_among_equals():
    split = hold_out(invent())
    choice, tried = choose(split, Fixed(np.linspace(1.0, 1.2, 40), np.arange(40)[::-1] * 10))
    assert choice.val_ndcg == max(t.val_ndcg for t in tried)
    assert len(tried) == 1 + len(HALF_LIVES) + len(DISCOUNTS)
    flat, _ = choose(split, Fixed(np.zeros(40), np.zeros(40)))
    assert (flat.recency, flat.discount) == (None, 0.0)


def test_a_scorer_to_which_a_half_life_is_of_no_use_has_none_tried():
    split = hold_out(invent())
    scorer = Fixed(np.linspace(1.0, 1.2, 40), np.zeros(40))
    scorer.half_lives = ()
    assert [(t.recency, t.discount) for t in choose(split, scorer)[1]] == [(None, 0.0)]
    assert [t.recency for t in choose(split, scorer, recency=7.0)[1]] == [7.0], "what was asked for is done"


def test_what_was_fixed_beforehand_is_not_chosen():
    split = hold_out(invent())
    choice, tried = choose(split, Fixed(np.arange(40), np.arange(40)), recency=7.0, discount=0.25)
    assert [(t.recency, t.discount) for t in tried] == [(7.0, 0.25)]
    assert choice == tried[0]


def test_without_times_no_half_life_is_tried():
    split = hold_out(invent(timed=False))
    _, tried = choose(split, Fixed(np.arange(40), np.arange(40)))
    assert {t.recency for t in tried} == {None}


def test_discounts_share_one_pass_over_the_people():
    split = hold_out(invent(timed=False))
    scorer = Fixed(np.arange(40), np.arange(40))
    choose(split, scorer)
    assert scorer.asked == 1


def test_discounts_share_one_pass_over_people_whose_scores_do_not_fit():
    split = hold_out(invent(timed=False))
    scorer = Fixed(np.arange(40), np.arange(40))
    people = np.arange(len(split.train))
    _, tried = choose_serving(
        split, scorer, RawScores(split.train, most_bytes=10), recency="auto", discount="auto", people=people
    )
    assert len(tried) == 1 + len(DISCOUNTS)
    assert scorer.asked == 2  # without a discount, and with all of them
    for choice in tried:
        served = serve(scorer, RawScores(split.train), Serving(choice.recency, choice.discount))
        assert choice.val_ndcg == quick_ndcg(split, served, on="val", people=people)


def test_a_model_that_does_not_know_fame_is_tried_without_a_discount_only():
    split = hold_out(invent(timed=False))
    choice, tried = choose(split, Fixed(np.linspace(1.0, 1.2, 40), np.zeros(40)))
    assert [t.discount for t in tried] == [0.0]
    assert choice == tried[0]


def test_raw_scores_are_read_only_and_kept_within_their_memory():
    population = invent()
    scorer, people = Fixed(np.arange(40), np.arange(40)), np.arange(60)
    small = RawScores(population, most_bytes=10)
    for _ in range(2):
        assert not small.get(scorer, None, people).flags.writeable
    assert scorer.asked == 2
    ample = RawScores(population)
    ample.get(scorer, None, people)
    ample.get(scorer, None, people)
    ample.get(scorer, 3.0, people)
    assert scorer.asked == 4


def test_serving_divides_by_fame():
    population = invent()
    scorer = Fixed(np.ones(40), np.arange(40))
    scores = serve(scorer, RawScores(population), Serving(discount=0.5))(np.array([0, 3]))
    assert np.allclose(scores, 1 / np.sqrt(np.arange(40) + 1))
    assert query_matrix(population, np.array([0]), None).shape == (1, 40)
