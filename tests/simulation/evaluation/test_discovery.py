import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedpersona.catalogue import Catalogue
from fedpersona.errors import DataError
from fedpersona.simulation.evaluation.discovery import (
    coverage,
    gini,
    intra_list_diversity,
    item_information,
    mainstream_tertiles,
    novelty_bits,
)
from fedpersona.simulation.population import Population


def population(histories, items):
    people = np.repeat(np.arange(len(histories)), [len(h) for h in histories])
    played = np.array([i for h in histories for i in h], np.int64)
    catalogue = Catalogue.create(str(row) for row in range(items))
    return Population.from_pairs("invented", catalogue, people, played, person_ids=np.arange(len(histories)))


def slow_diversity(lists, histories, items):
    """The definition: every pair of every list."""
    table = np.zeros((len(histories), items))
    for person, history in enumerate(histories):
        table[person, list(history)] = 1
    means = []
    for row in lists:
        row = [item for item in row if item >= 0]
        cosines = []
        for place, i in enumerate(row):
            for j in row[place + 1 :]:
                lengths = np.sqrt(table[:, i].sum() * table[:, j].sum())
                cosines.append(table[:, i] @ table[:, j] / lengths if lengths else 0.0)
        if cosines:
            means.append(np.mean(cosines))
    return 1 - np.mean(means) if means else 0.0


def test_coverage_is_the_share_of_the_catalogue_on_any_list():
    assert coverage(np.array([[0, 1], [1, 2], [2, -1]]), 6) == 0.5


def test_gini_is_nought_when_all_items_are_shown_alike():
    assert gini(np.array([[0, 1], [2, 3]]), 4) == pytest.approx(0.0)


def test_gini_nears_one_when_one_item_takes_all():
    assert gini(np.zeros((50, 1), np.int32), 100) == pytest.approx(0.99)


def test_gini_is_the_mean_absolute_difference_over_twice_the_mean():
    lists = np.random.default_rng(0).integers(0, 12, (9, 5))
    counts = np.bincount(lists.ravel(), minlength=12)
    expected = np.abs(counts[:, None] - counts[None, :]).mean() / (2 * counts.mean())
    assert gini(lists, 12) == pytest.approx(expected)


def test_novelty_is_in_bits_and_a_new_item_counts_as_played_once():
    train = population([[0, 1], [0, 1], [0], [0]], items=4)
    assert item_information(train).tolist() == [0.0, 1.0, 2.0, 2.0]
    assert novelty_bits(np.array([[0, 1], [3, -1]]), train) == pytest.approx(1.0)


def test_lists_without_items_have_no_figures_but_are_no_error():
    empty, train = np.full((3, 2), -1), population([[0], [1]], items=2)
    assert (coverage(empty, 2), gini(empty, 2), novelty_bits(empty, train)) == (0.0, 0.0, 0.0)
    assert intra_list_diversity(empty, train) == 0.0


def test_a_row_outside_the_catalogue_is_refused():
    with pytest.raises(DataError, match="lists: item rows"):
        coverage(np.array([[0, 6]]), 6)


@settings(deadline=None)
@given(st.data())
def test_diversity_is_that_of_the_slow_definition(data):
    items = data.draw(st.integers(2, 8))
    rows = st.lists(st.integers(0, items - 1), unique=True, max_size=items)
    histories = data.draw(st.lists(rows, min_size=1, max_size=6))
    lists = data.draw(st.lists(rows, min_size=1, max_size=4))
    padded = np.array([row + [-1] * (items - len(row)) for row in lists])
    measured = intra_list_diversity(padded, population(histories, items))
    assert measured == pytest.approx(slow_diversity(lists, histories, items), abs=1e-12)


def test_diversity_is_summed_over_people_whatever_their_number(monkeypatch):
    random = np.random.default_rng(0)
    histories = [random.choice(15, 5, replace=False) for _ in range(100)]
    lists = np.array([random.choice(15, 6, replace=False) for _ in range(10)])
    train = population(histories, 15)
    whole = intra_list_diversity(lists, train)
    monkeypatch.setattr("fedpersona.simulation.evaluation.discovery._PEOPLE_AT_ONCE", 7)
    assert intra_list_diversity(lists, train) == pytest.approx(whole)
    assert whole == pytest.approx(slow_diversity(lists, histories, 15))


def test_a_sample_of_lists_stands_for_all_and_repeats_with_its_seed():
    random = np.random.default_rng(1)
    train = population([random.choice(40, 8, replace=False) for _ in range(200)], 40)
    lists = np.array([random.choice(40, 10, replace=False) for _ in range(1000)])
    sampled = intra_list_diversity(lists, train, seed=3, sample=100)
    assert sampled == intra_list_diversity(lists, train, seed=3, sample=100)
    assert sampled != intra_list_diversity(lists, train, seed=4, sample=100)
    assert sampled == pytest.approx(intra_list_diversity(lists, train, sample=1000), abs=0.02)


def test_tertiles_go_from_hits_to_rarities():
    train = population([[0, 1]] * 4 + [[0, 2]] * 2 + [[3, 4], [5, 6], [7, 8]], items=9)
    ndcg = np.array([0.9, 0.9, 0.9, 0.5, 0.5, 0.5, 0.1, 0.1, 0.1])
    shuffled = np.array([8, 0, 7, 1, 6, 2, 5, 3, 4])
    tertiles = mainstream_tertiles(train, shuffled, {"ndcg@10": ndcg[shuffled]})
    assert list(tertiles) == ["mainstream", "middle", "niche", "gap"]
    assert tertiles["middle"]["ndcg@10"] == pytest.approx(0.5)
    assert tertiles["niche"]["ndcg@10"] == pytest.approx(0.1)
    assert tertiles["gap"]["ndcg@10"] == pytest.approx(tertiles["mainstream"]["ndcg@10"] - 0.1)


def test_tertiles_hold_equally_many_people_even_when_all_are_alike():
    train = population([[0, 1]] * 9, items=3)
    ones = np.arange(9.0)
    tertiles = mainstream_tertiles(train, np.arange(9), {"x": ones})
    assert [tertiles[group]["x"] for group in ("mainstream", "middle", "niche")] == [1.0, 4.0, 7.0]


def test_fewer_than_three_people_have_no_tertiles():
    assert mainstream_tertiles(population([[0], [1]], 2), np.arange(2), {"x": np.ones(2)}) == {}
