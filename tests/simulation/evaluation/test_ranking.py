import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from fedpersona.errors import ConfigError, DataError, NonFiniteScore, SplitError
from fedpersona.simulation.evaluation.ranking import (
    full_ranks,
    hit_rate_at,
    ndcg_at,
    random_expectation,
    recall_at,
    reciprocal_rank,
    sampled_ranks,
    top_items,
)

NOTHING = (np.array([0, 0]), np.array([], np.int32))


def one(scores, target, masked=()):
    """The rank of one person's target."""
    mask = (np.array([0, len(masked)]), np.array(masked, np.int32))
    return int(full_ranks(np.array([scores], np.float32), np.array([target]), mask)[0])


def masks(rows):
    return np.concatenate(([0], np.cumsum([len(r) for r in rows]))), np.array([i for r in rows for i in r], np.int32)


@st.composite
def blocks(draw):
    """Small blocks of scores full of ties, targets, and masked rows that leave the targets open."""
    people, items = draw(st.integers(1, 5)), draw(st.integers(1, 9))
    scores = draw(
        st.lists(st.lists(st.integers(-2, 2), min_size=items, max_size=items), min_size=people, max_size=people)
    )
    targets = draw(st.lists(st.integers(0, items - 1), min_size=people, max_size=people))
    hidden = [
        draw(st.lists(st.integers(0, items - 1).filter(lambda i, t=t: i != t), max_size=6)) if items > 1 else []
        for t in targets
    ]
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    return np.array(scores, dtype), np.array(targets), hidden


def slow_rank(scores, target, masked):
    """The definition, to be read and believed."""
    ahead = 0
    for item, score in enumerate(scores):
        if item != target and item not in masked and score >= scores[target]:
            ahead += 1
    return ahead


def slow_top(scores, masked, k):
    open_items = sorted((-score, item) for item, score in enumerate(scores) if item not in masked)
    best = [item for _, item in open_items[:k]]
    return best + [-1] * (k - len(best))


@settings(deadline=None)
@given(blocks())
def test_ranks_are_those_of_the_slow_definition(block):
    scores, targets, hidden = block
    expected = [slow_rank(*row) for row in zip(scores, targets, hidden, strict=True)]
    ranks = full_ranks(scores, targets, masks(hidden))
    assert ranks.tolist() == expected
    assert ranks.dtype == np.int64


@settings(deadline=None)
@given(blocks(), st.integers(1, 12))
def test_top_items_are_those_of_the_slow_definition(block, k):
    scores, _, hidden = block
    lists = top_items(scores, masks(hidden), k)
    assert lists.tolist() == [slow_top(row, masked, k) for row, masked in zip(scores, hidden, strict=True)]
    assert lists.dtype == np.int32


def test_a_model_that_scores_all_alike_comes_last():
    assert one([0.5] * 10, 3) == 9


def test_a_tie_counts_as_ahead():
    assert one([1, 2, 2, 0], 1) == 1


def test_minus_zero_ties_with_zero():
    assert one([0.0, -0.0], 1) == 1


def test_masked_items_are_out_of_the_ranking_whatever_their_score():
    assert one([9, 9, 1, 0], 2, masked=[0, 1]) == 0


def test_an_item_masked_twice_and_out_of_order_is_masked_once():
    assert one([9, 8, 7, 1], 3, masked=[2, 0, 2]) == 1


def test_a_csr_matrix_masks_like_its_rows():
    scores = np.array([[3.0, 2.0, 1.0], [1.0, 2.0, 3.0]])
    table = sparse.csr_array(np.array([[1, 0, 0], [0, 0, 1]]))
    assert full_ranks(scores, np.array([2, 0]), table).tolist() == [1, 1]


def test_scores_are_left_as_they_were():
    scores = np.array([[3.0, 2.0, 1.0]])
    mask = (np.array([0, 1]), np.array([0]))
    full_ranks(scores, np.array([2]), mask)
    top_items(scores, mask, 2)
    assert scores.tolist() == [[3.0, 2.0, 1.0]]


def test_scores_in_column_order_rank_the_same():
    scores = np.random.default_rng(0).random((6, 11))
    mask = (np.arange(7), np.arange(6))
    targets = np.full(6, 9)
    assert full_ranks(np.asfortranarray(scores), targets, mask).tolist() == full_ranks(scores, targets, mask).tolist()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("item", [0, 2, 3], ids=["masked", "target", "other"])
def test_a_score_that_is_not_finite_is_an_error_that_names_it(bad, item):
    scores = np.zeros((2, 4), np.float32)
    scores[1, item] = bad
    masked = (np.array([0, 1, 2]), np.array([0, 0]))
    with pytest.raises(NonFiniteScore, match=f"person 70, item {item}"):
        full_ranks(scores, np.array([2, 2]), masked, people=np.array([60, 70]))
    with pytest.raises(NonFiniteScore, match=f"person 1, item {item}"):
        top_items(scores, masked, 2)


def test_a_masked_target_is_an_error_that_names_person_and_item():
    with pytest.raises(SplitError, match=r"person 70: the held-out item 3 is among the masked items"):
        full_ranks(np.zeros((1, 4)), np.array([3]), (np.array([0, 1]), np.array([3])), people=np.array([70]))


@pytest.mark.parametrize(
    ("scores", "targets", "masked", "words"),
    [
        (np.zeros(4), [0], NOTHING, "expected floating scores"),
        (np.zeros((1, 4), np.int64), [0], (np.array([0, 0]), NOTHING[1]), "expected floating scores"),
        (np.zeros((1, 4)), [0, 1], NOTHING, "expected 1 held-out items"),
        (np.zeros((1, 4)), [4], NOTHING, "targets: item rows"),
        (np.zeros((1, 4)), [-1], NOTHING, "targets: item rows"),
        (np.zeros((2, 4)), [0, 0], NOTHING, "one masked row for each of 2 people"),
        (np.zeros((1, 4)), [0], (np.array([0, 1]), np.array([4])), "masked: item rows"),
        (np.zeros((1, 4)), [0], (np.array([0, 2]), np.array([1])), "one masked row"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(scores, targets, masked, words):
    with pytest.raises(DataError, match=words):
        full_ranks(scores, np.array(targets), masked)


def test_nobody_has_no_ranks():
    assert full_ranks(np.zeros((0, 4)), np.array([], np.int64), (np.array([0]), np.array([], np.int64))).shape == (0,)


def test_sampled_ranks_look_at_the_negatives_only_and_pessimistically():
    scores = np.array([[9.0, 5.0, 5.0, 1.0]])
    assert sampled_ranks(scores, np.array([1]), np.array([[2, 3]])).tolist() == [1]


@pytest.mark.parametrize(
    ("negatives", "words"),
    [([[1, 0]], "among its own negatives"), ([[1, 4]], "item rows"), ([[1], [2]], "1 rows of negatives")],
)
def test_negatives_that_mislead_are_refused(negatives, words):
    with pytest.raises(DataError, match=words):
        sampled_ranks(np.zeros((1, 4)), np.array([0]), np.array(negatives))


def test_a_sampled_score_that_is_not_finite_is_an_error():
    with pytest.raises(NonFiniteScore):
        sampled_ranks(np.array([[0.0, np.nan, 0.0]]), np.array([0]), np.array([[1, 2]]))


def test_metrics_of_known_ranks():
    ranks = np.array([0, 1, 9, 10, 19, 20])
    assert ndcg_at(ranks, 10).tolist() == pytest.approx([1, 1 / np.log2(3), 1 / np.log2(11), 0, 0, 0])
    assert recall_at(ranks, 20).tolist() == [1, 1, 1, 1, 1, 0]
    assert hit_rate_at(ranks, 10).tolist() == [1, 1, 1, 0, 0, 0]
    assert reciprocal_rank(ranks).tolist() == pytest.approx([1, 1 / 2, 1 / 10, 1 / 11, 1 / 20, 1 / 21])
    assert ndcg_at(ranks, 10).dtype == recall_at(ranks, 5).dtype == reciprocal_rank(ranks).dtype == np.float64


@settings(deadline=None)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=8), st.integers(1, 25))
def test_expectation_of_chance_is_the_mean_over_every_rank(candidates, k):
    every = [np.arange(n) for n in candidates]
    expected = random_expectation(np.array(candidates), k)
    assert expected[f"ndcg@{k}"] == pytest.approx(np.mean([ndcg_at(ranks, k).mean() for ranks in every]))
    assert expected[f"recall@{k}"] == pytest.approx(np.mean([recall_at(ranks, k).mean() for ranks in every]))
    assert expected[f"hr@{k}"] == pytest.approx(np.mean([hit_rate_at(ranks, k).mean() for ranks in every]))
    assert expected["mrr"] == pytest.approx(np.mean([reciprocal_rank(ranks).mean() for ranks in every]))


@pytest.mark.parametrize("candidates", [[], [3, 0]])
def test_chance_among_no_candidates_is_refused(candidates):
    with pytest.raises(DataError, match="at least one candidate"):
        random_expectation(np.array(candidates, np.int64), 10)


def test_a_list_of_no_items_is_refused():
    with pytest.raises(ConfigError):
        top_items(np.zeros((1, 4)), NOTHING, 0)
