from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedpersona.errors import ConfigError, DataError, NonFiniteScore, SplitError
from fedpersona.simulation.evaluation import chance, evaluate, people_sample, quick_ndcg


def scorer_of(table):
    return lambda people: table[people]


def random_scores(split, seed=0):
    return np.random.default_rng(seed).random((len(split.train), len(split.catalogue)), dtype=np.float32)


def slow_metrics(split, table, on):
    """One person at a time, one item at a time."""
    values = {"ndcg@10": [], "recall@20": [], "mrr": [], "hr@10": []}
    for person in range(len(split.train)):
        target = (split.val if on == "val" else split.test)[person]
        out = set(split.train.plays(person).items.tolist())
        if on == "test":
            out.add(int(split.val[person]))
        others = [i for i in range(len(split.catalogue)) if i not in out and i != target]
        rank = sum(table[person, i] >= table[person, target] for i in others)
        values["ndcg@10"].append(1 / np.log2(rank + 2) if rank < 10 else 0.0)
        values["recall@20"].append(float(rank < 20))
        values["mrr"].append(1 / (rank + 1))
        values["hr@10"].append(float(rank < 10))
    return values


@pytest.mark.parametrize("on", ["val", "test"])
@settings(max_examples=15, deadline=None)
@given(people=st.integers(1, 12), items=st.integers(12, 40), history=st.integers(1, 9), seed=st.integers(0, 99))
def test_metrics_are_those_of_the_slow_definition(make_split, on, people, items, history, seed):
    split = make_split(people, items, history, seed)
    table = np.round(random_scores(split, seed) * 5)  # full of ties
    result = evaluate(split, scorer_of(table), on=on, block=5, details=False)
    for name, values in slow_metrics(split, table, on).items():
        np.testing.assert_allclose(result.per_person[name], values, rtol=1e-12)
        assert result.metrics[name] == pytest.approx(np.mean(values))


def test_the_names_are_those_of_the_run_record(make_split):
    result = evaluate(make_split(), scorer_of(random_scores(make_split())), on="test")
    names = ["ndcg@10", "recall@20", "mrr", "hr@10"]
    assert list(result.metrics) == list(result.intervals) == list(result.per_person) == names
    assert list(result.discovery) == ["coverage", "gini", "novelty_bits", "intra_list_diversity"]
    assert list(result.tertiles) == ["mainstream", "middle", "niche", "gap"]
    assert list(result.tertiles["gap"]) == ["ndcg@10", "recall@20"]
    assert result.sampled is None
    assert all(low <= result.metrics[name] <= high for name, (low, high) in result.intervals.items())


def test_who_knows_the_answer_scores_one_and_who_shuns_it_scores_least(make_split):
    split = make_split()
    table = np.zeros((len(split.train), len(split.catalogue)), np.float32)
    table[np.arange(len(table)), split.test] = 1
    assert set(evaluate(split, scorer_of(table), on="test").metrics.values()) == {1.0}
    assert evaluate(split, scorer_of(-table), on="test").metrics["ndcg@10"] == 0.0


def test_on_val_the_test_item_is_a_candidate_and_on_test_the_val_item_is_not(make_split):
    split = make_split()
    rows = np.arange(len(split.train))
    table = np.zeros((len(rows), len(split.catalogue)), np.float32)
    table[rows, split.test], table[rows, split.val] = 2, 1
    assert evaluate(split, scorer_of(table), on="val").metrics["mrr"] == 0.5
    table[rows, split.test], table[rows, split.val] = 1, 2
    assert evaluate(split, scorer_of(table), on="test").metrics["mrr"] == 1.0


@pytest.mark.parametrize("on", ["val", "test"])
def test_a_random_scorer_scores_at_its_closed_form_expectation(make_split, on):
    split = make_split(people=3000, items=60, history=9)
    result = evaluate(split, scorer_of(random_scores(split)), on=on, details=False)
    for name, expected in chance(split, on=on).items():
        error = result.per_person[name].std() / np.sqrt(len(result.people))
        assert abs(result.metrics[name] - expected) < 3.5 * error


def test_chance_is_that_among_what_is_not_masked(make_split):
    split = make_split(people=5, items=30, history=9)
    assert chance(split, on="val")["hr@10"] == pytest.approx(10 / 21)
    assert chance(split, on="test")["recall@20"] == pytest.approx(20 / 20)
    assert list(chance(split, on="val")) == ["ndcg@10", "recall@20", "mrr", "hr@10"]


@pytest.mark.parametrize("block", [1, 7, 60, 1000])
def test_the_block_does_not_change_a_bit(make_split, block):
    split = make_split(negatives=20)
    scorer = scorer_of(random_scores(split))
    whole, blocked = evaluate(split, scorer, on="test"), evaluate(split, scorer, on="test", block=block)
    for part in ("metrics", "intervals", "sampled", "discovery", "tertiles"):
        assert getattr(whole, part) == getattr(blocked, part)


def test_the_scorer_is_asked_for_the_people_that_are_measured_only(make_split):
    split, asked = make_split(), []
    table = random_scores(split)

    def scorer(people):
        asked.extend(people.tolist())
        return table[people]

    people = np.array([41, 3, 17])
    result = evaluate(split, scorer, on="test", people=people, block=2)
    assert asked == result.people.tolist() == [41, 3, 17]
    everyone = evaluate(split, scorer, on="test")
    assert result.per_person["mrr"].tolist() == everyone.per_person["mrr"][people].tolist()


@pytest.mark.parametrize("on", ["val", "test"])
def test_the_sampled_protocol_stands_beside_and_uses_its_own_side_of_the_split(make_split, on):
    split = make_split(negatives=30)
    table = random_scores(split)
    harder = np.full_like(split.val_negatives, -1)
    other = replace(split, **{"test_negatives" if on == "val" else "val_negatives": harder})
    sampled = evaluate(other, scorer_of(table), on=on, details=False).sampled
    target = split.val if on == "val" else split.test
    rows = np.arange(len(table))
    ranks = (np.take_along_axis(table, split.val_negatives, 1) >= table[rows, target, None]).sum(axis=1)
    assert sampled["hr@10"] == pytest.approx(np.mean(ranks < 10))
    assert sampled["ndcg@10"] == pytest.approx(np.mean(np.where(ranks < 10, 1 / np.log2(ranks + 2), 0)))


def test_quick_ndcg_is_that_of_the_whole_evaluation(make_split):
    split = make_split()
    scorer = scorer_of(random_scores(split))
    people = np.array([5, 9, 30])
    assert quick_ndcg(split, scorer) == evaluate(split, scorer, on="val").metrics["ndcg@10"]
    expected = evaluate(split, scorer, on="test", people=people).metrics["ndcg@10"]
    assert quick_ndcg(split, scorer, on="test", people=people) == expected


def test_without_details_only_the_ranking_is_measured(make_split):
    split = make_split()
    result = evaluate(split, scorer_of(random_scores(split)), on="val", details=False)
    assert (result.intervals, result.discovery, result.tertiles) == ({}, {}, {})


def test_lists_hold_nothing_that_is_masked(make_split):
    """With every item outside a person's own on their list, coverage of one person is what is left to them."""
    split = make_split(people=1, items=20, history=6)
    result = evaluate(split, scorer_of(random_scores(split)), on="test", list_length=30)
    assert result.discovery["coverage"] == pytest.approx((20 - 6 - 1) / 20)


def test_a_person_without_a_history_is_measured_too(make_split):
    split = make_split(people=4, items=30, history=5)
    train = split.train
    kept = train.indptr[1]
    empty = replace(
        train,
        indptr=np.concatenate(([0], train.indptr[1:] - kept)),
        items=train.items[kept:],
        weights=train.weights[kept:],
    )
    without, table = replace(split, train=empty), random_scores(split)
    assert list(np.diff(empty.indptr)) == [0, 5, 5, 5]
    for on in ("val", "test"):
        result = evaluate(without, scorer_of(table), on=on)
        np.testing.assert_allclose(result.per_person["mrr"], slow_metrics(without, table, on)["mrr"])


def test_a_score_that_is_not_finite_names_the_person_by_position(make_split):
    split = make_split()
    table = random_scores(split)
    table[37, 11] = np.nan
    for measure in (evaluate, quick_ndcg):
        with pytest.raises(NonFiniteScore, match="person 37, item 11"):
            measure(split, scorer_of(table), on="val", block=8)


@pytest.mark.parametrize("on", ["val", "test"])
def test_a_held_out_item_among_the_train_items_is_refused(make_split, on):
    split = make_split()
    held_out = (split.val if on == "val" else split.test).copy()
    held_out[21] = split.train.plays(21).items[0]
    leaky = replace(split, **{on: held_out})
    with pytest.raises(SplitError, match="person 21"):
        evaluate(leaky, scorer_of(random_scores(split)), on=on)


def test_one_item_held_out_for_both_val_and_test_is_refused(make_split):
    split = make_split()
    with pytest.raises(SplitError, match="person 0"):
        evaluate(replace(split, test=split.val), scorer_of(random_scores(split)), on="test")


def test_what_cannot_be_measured_is_refused(make_split):
    split = make_split()
    scorer = scorer_of(random_scores(split))
    with pytest.raises(ConfigError, match="not on 'train'"):
        evaluate(split, scorer, on="train")
    with pytest.raises(ConfigError, match="block"):
        evaluate(split, scorer, on="val", block=0)
    with pytest.raises(DataError, match="nobody to measure"):
        evaluate(split, scorer, on="val", people=np.array([], np.int64))
    with pytest.raises(DataError, match=r"must lie in \[0, 60\)"):
        evaluate(split, scorer, on="val", people=np.array([60]))
    with pytest.raises(DataError, match="the scorer returned shape"):
        evaluate(split, lambda people: scorer(people)[:, :-1], on="val")


def test_a_sample_of_people_is_seeded_sorted_and_without_repeats(make_split):
    split = make_split(people=200)
    sample = people_sample(split, 50, seed=1)
    assert sample.tolist() == people_sample(split, 50, seed=1).tolist()
    assert sample.tolist() != people_sample(split, 50, seed=2).tolist()
    assert len(sample) == 50
    assert (np.diff(sample) > 0).all()
    assert people_sample(split, 200, seed=1).tolist() == people_sample(split, 999, seed=1).tolist() == list(range(200))
    with pytest.raises(ConfigError):
        people_sample(split, 0, seed=1)
