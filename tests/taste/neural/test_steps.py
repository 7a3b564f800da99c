"""What a module is trained on: every play once a pass, negatives that were not played, weights that add up."""

from __future__ import annotations

import numpy as np
import pytest

from fedpersona.plays import Plays
from fedpersona.taste.neural.steps import in_order, pointwise_steps, sequence_steps


def played(items, times=None) -> Plays:
    rows = np.array(items, np.int32)
    return Plays(rows, np.ones(len(rows), np.float32), None if times is None else np.array(times))


@pytest.mark.parametrize("batch", [1, 4, 7, 1000])
def test_a_pass_has_every_play_once_and_negatives_beside_it(batch):
    plays = played([1, 4, 5, 9, 17])
    steps = pointwise_steps(plays, 3, 20, epochs=2, batch=batch, negatives=3)
    (ids,), (labels, weights) = steps.ids, steps.beside
    real = weights > 0
    assert real.sum() == 2 * 5 * 4
    assert sorted(ids[real & (labels == 1)]) == sorted([*plays.items, *plays.items])
    assert not np.isin(ids[real & (labels == 0)], plays.items).any()
    assert np.isin(ids[~real], ids[real]).all()  # what fills a step touches no row of its own
    np.testing.assert_allclose(weights.sum(axis=1), 1.0, rtol=1e-5)


def test_weights_of_plays_are_those_of_their_samples():
    plays = played([2, 3, 8])
    steps = pointwise_steps(plays, 3, 20, epochs=1, batch=100, negatives=2, weights=np.array([2.0, 0.5, 0.5]))
    (ids,), (labels, weights) = steps.ids, steps.beside
    by_item = dict(zip(ids[labels == 1].tolist(), (weights[labels == 1] * 9).tolist(), strict=True))
    assert by_item == pytest.approx({2: 2.0, 3: 0.5, 8: 0.5})
    np.testing.assert_allclose(weights[labels == 0] * 9, 1.0, rtol=1e-6)


@pytest.mark.parametrize("count", [2, 5, 6, 7, 11, 13, 40])
def test_every_play_but_the_first_is_what_comes_next_once_a_pass(count):
    rng = np.random.default_rng(count)
    items = np.sort(rng.choice(100, count, replace=False))
    times = rng.permutation(count)
    order = items[np.argsort(times)]
    steps = sequence_steps(played(items, times), 5, 100, epochs=1, length=5, negatives=2)
    (history, candidates), (weights,) = steps.ids, steps.beside
    real = weights > 0
    assert sorted(candidates[..., 0][real]) == sorted(order[1:])
    assert not np.isin(candidates[..., 1:][real], items).any()
    place = {item: number for number, item in enumerate(order.tolist())}
    for before, after in zip(history[real].tolist(), candidates[..., 0][real].tolist(), strict=True):
        assert place[after] == place[before] + 1
    assert (np.diff(real.astype(int), axis=1) <= 0).all()  # filled at the end
    np.testing.assert_allclose(weights.sum(axis=1), 1.0, rtol=1e-5)


def test_windows_begin_elsewhere_from_round_to_round():
    plays = played(range(40), range(40))
    starts = {sequence_steps(plays, key, 100, epochs=1, length=10, negatives=1).ids[0][1, 0] for key in range(30)}
    assert len(starts) > 5


def test_one_play_or_all_of_the_catalogue_gives_no_sequence():
    assert len(sequence_steps(played([3], [1]), 5, 100, epochs=3, length=5, negatives=2)) == 0
    assert len(sequence_steps(played(range(9), range(9)), 5, 9, epochs=3, length=5, negatives=2)) == 0


def test_without_times_the_order_is_the_historys_own():
    first, other = in_order(played(range(30))), in_order(played(range(31)))
    assert np.array_equal(first, in_order(played(range(30))))
    assert sorted(first) == list(range(30))
    places = np.argsort(other[other < 30]), np.argsort(first)
    assert abs(np.corrcoef(*places)[0, 1]) < 0.6
