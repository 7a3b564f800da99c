"""Noisy sketches: what a person adds, and what is left of the sum without its noise."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fedpersona.taste import create
from fedpersona.taste.sketch import directions, floored, heard, starting, unit_vectors, voted

NOTHING = np.zeros(60)


@settings(deadline=None)
@given(arrays(np.float64, (5, 3), elements=st.floats(-1e9, 1e9)))
def test_a_vector_has_the_length_one_or_is_none_at_all(vectors):
    lengths = np.linalg.norm(unit_vectors(vectors), axis=1)
    assert ((lengths == 0) | (np.abs(lengths - 1) < 1e-12)).all()
    assert ((lengths == 0) == (np.linalg.norm(vectors, axis=1) < 1e-9)).all()


def test_a_vote_is_shared_out_over_all_items_whatever_their_number():
    added = voted(np.array([[3.0, 4.0], [0.0, 1e-3], [1.0, 1.0]]), np.array([4, 9, 0]))
    assert np.linalg.norm(added, axis=1) * [2, 3, 1] == pytest.approx([1, 1, 1])
    assert voted(np.array([0.0, 2.0]), np.asarray(16)) == pytest.approx([0, 0.25])


def test_votes_are_never_none():
    assert (floored(np.array([-3.0, 0.0, 5.0]), 2.0) == [0.1, 0.1, 5.0]).all()
    assert (floored(NOTHING, 0.0) > 0).all()


def test_a_basis_begins_beside_the_popular_direction_where_the_votes_are():
    rng = np.random.default_rng(1)
    votes = np.r_[np.full(30, 100.0), np.full(30, 0.01)]
    popular = np.sqrt(votes) / np.linalg.norm(np.sqrt(votes))
    basis = starting(rng.standard_normal((60, 4)), votes, popular)
    assert basis.T @ basis == pytest.approx(np.eye(4), abs=1e-12)
    assert popular @ basis == pytest.approx(np.zeros(4), abs=1e-12)
    assert np.square(basis[:30]).sum() > 3.9


def test_rows_are_believed_by_their_votes_and_noise_alone_hardly_at_all():
    rng = np.random.default_rng(2)
    votes = np.r_[np.full(30, 9.0), np.full(30, 1.0)]
    signal = rng.standard_normal((60, 50)) * np.sqrt(votes)[:, None]
    noise = 2.0 * rng.standard_normal((60, 50))
    weights = heard(signal + noise, votes, 2.0)
    assert weights == pytest.approx(votes / (votes + 4), abs=0.05)
    assert heard(noise, votes, 2.0).max() < 0.1
    assert np.linalg.norm((signal + noise) * weights[:, None] - signal) < 0.8 * np.linalg.norm(noise)


def test_a_strong_direction_is_found_and_trusted_and_noise_is_not():
    rng = np.random.default_rng(3)
    wanted, popular = np.linalg.qr(rng.standard_normal((60, 2)))[0].T
    sketch = 100 * np.outer(wanted, [1, 0, 0, 0]) + 50 * np.outer(popular, np.ones(4)) + rng.standard_normal((60, 4))
    found = directions(sketch, np.ones(60), popular, 1.0)
    assert abs(found.basis[:, 0] @ wanted) > 0.99
    assert popular @ found.basis == pytest.approx(np.zeros(4), abs=1e-10)
    assert found.strength[0] == pytest.approx(100, rel=0.05)
    assert found.trust[0] > 0.99
    assert found.trust[2:].max() < 0.5


@pytest.mark.parametrize("name", ["subspace", "ials"])
def test_settings_are_chosen_for_the_people_and_the_noise_and_no_larger_than_given(name):
    few, many = (create(name, {"noise": 0.9}).suited(people, 2_000) for people in (1_000, 100_000))
    assert few.dim < many.dim <= create(name).dim
    assert few.rounds < many.rounds
    assert create(name, {"noise": 0.9, "dim": 3, "rounds": 2}).suited(100_000, 2_000).dim == 3
    assert create(name).suited(10, 10) == create(name)
    assert create(name, {"noise": 1e6}).suited(2, 4_000).dim == 1


@pytest.mark.parametrize("name", ["subspace", "ials"])
def test_suiting_settles_at_once(name):
    """The noise is worked out anew for the settings chosen: the choice must not depend on how many rounds share it."""
    model = create(name, {"noise": 0.9})
    for people in (300, 3_000, 30_000):
        first = model.suited(people, 2_000)
        lengths = [math.hypot(m.count_share, math.sqrt(m.rounds - 1)) for m in (model, first)]
        again = first.model_copy(update={"noise": 0.9 * lengths[1] / lengths[0]})
        assert again.suited(people, 2_000).dim == first.dim
        assert again.suited(people, 2_000).rounds == first.rounds
