from __future__ import annotations

import tracemalloc
from math import sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import solve_triangular, toeplitz
from scipy.special import binom

from fedpersona.errors import ConfigError, RoundFailed
from fedpersona.privacy import banded, noise
from fedpersona.privacy.banded import (
    BandedNoise,
    band_coefficients,
    banded_sensitivity,
    column_norm,
    participations,
    prefix_error,
)
from fedpersona.privacy.gaussian import gaussian_mu


def matrix(band: int, rounds: int) -> np.ndarray:
    """Return C, dense, from the binomial series of (1 - q)^(-1/2)."""
    ranks = np.arange(rounds)
    column = np.where(ranks < band, np.abs(binom(-0.5, ranks)), 0.0)
    return toeplitz(column, np.zeros(rounds))


@pytest.fixture
def drawn(monkeypatch) -> list[np.ndarray]:
    """Every z that is drawn from a fixed key, as it is drawn."""
    stream, kept = noise.Keystream(bytes(32)), []

    def gaussian_numbers(size: int, deviation: float) -> np.ndarray:
        kept.append(noise._numbers(stream, size, deviation))
        return kept[-1].copy()

    monkeypatch.setattr(banded, "gaussian_numbers", gaussian_numbers)
    return kept


# -- the factorisation --


def test_coefficients_are_those_of_the_root_of_the_prefix_sums():
    assert band_coefficients(4).tolist() == [1.0, 1 / 2, 3 / 8, 5 / 16]
    whole = toeplitz(band_coefficients(60), np.zeros(60))
    assert whole @ whole == pytest.approx(np.tri(60), abs=1e-13)


@pytest.mark.parametrize(("band", "rounds"), [(1, 1), (1, 9), (4, 9), (9, 9), (50, 20)])
def test_the_norm_is_that_of_the_longest_column(band, rounds):
    assert column_norm(band, rounds) == pytest.approx(np.linalg.norm(matrix(band, rounds), axis=0).max(), rel=1e-12)


@given(rounds=st.integers(1, 40), data=st.data())
@settings(deadline=None, max_examples=60)
def test_no_device_changes_more_than_the_sensitivity(rounds, data):
    """Whatever rounds it answers in, as far apart as agreed, and whichever way its answers point."""
    separation = data.draw(st.integers(1, rounds + 3))
    band = data.draw(st.integers(1, separation))
    answers, turn = np.zeros((rounds, 3)), data.draw(st.integers(0, separation - 1))
    while turn < rounds:
        direction = np.array(data.draw(st.tuples(*[st.integers(-3, 3)] * 3)), float)
        answers[turn] = direction / max(1.0, np.linalg.norm(direction))
        turn += separation + data.draw(st.integers(0, 2))
    changed = np.linalg.norm(matrix(band, rounds) @ answers)
    assert changed <= banded_sensitivity(band, rounds, separation) * (1 + 1e-12)


def test_the_sensitivity_is_reached_where_a_device_answers_as_often_as_it_may():
    answers = np.zeros((24, 1))
    answers[::6] = 1.0
    assert np.linalg.norm(matrix(6, 24) @ answers) == pytest.approx(banded_sensitivity(6, 24, 6), rel=1e-12)


@pytest.mark.parametrize(("rounds", "separation", "times"), [(500, 50, 10), (501, 50, 11), (1, 9, 1), (7, 1, 7)])
def test_how_often_a_device_can_answer(rounds, separation, times):
    assert participations(rounds, separation) == times == len(range(0, rounds, separation))


@pytest.mark.parametrize(("epsilon", "deviation"), [(2.0, 10.72), (4.0, 5.736), (8.0, 3.138)])
def test_reference_values(epsilon, deviation):
    """10,000 devices, 200 a round, so 50 rounds apart; 500 rounds, delta 1e-6."""
    found = banded_sensitivity(50, 500, 50) / gaussian_mu(epsilon, 1e-6)
    assert found == pytest.approx(deviation, rel=1e-3)
    assert column_norm(50, 500) == pytest.approx(1.5198, abs=1e-4)


@pytest.mark.parametrize(("band", "rounds"), [(1, 1), (1, 30), (7, 30), (30, 30), (64, 30)])
def test_errors_of_prefix_sums_are_those_of_the_dense_matrices(band, rounds):
    mixing = np.tri(rounds) @ np.linalg.inv(matrix(band, rounds))
    variances = (mixing**2).sum(1)
    error = prefix_error(band, rounds)
    assert error.rms == pytest.approx(sqrt(variances.mean()), rel=1e-10)
    assert error.last == pytest.approx(sqrt(variances[-1]), rel=1e-10)


def test_mixing_is_worth_it_at_the_same_promise():
    """Less than a half of what independent noise would be, 50 rounds apart."""
    mixed = banded_sensitivity(50, 500, 50) * prefix_error(50, 500).last
    independent = banded_sensitivity(1, 500, 50) * prefix_error(1, 500).last
    assert mixed < 0.45 * independent


# -- the stream --


@pytest.mark.parametrize(
    ("band", "rounds"), [(1, 1), (1, 20), (2, 20), (3, 20), (7, 20), (19, 20), (20, 20), (90, 20), (50, 130)]
)
def test_the_stream_is_the_solution_of_the_whole_system(drawn, band, rounds):
    stream = BandedNoise(11, 1000.0, band=band, rounds=rounds, separation=band)
    mixed = np.array([stream._mixed() for _ in range(rounds)])
    solved = solve_triangular(matrix(band, rounds), np.array(drawn), lower=True)
    assert mixed == pytest.approx(solved, rel=1e-11, abs=1e-9)


@pytest.mark.parametrize(("band", "rounds"), [(1, 20), (7, 20), (20, 20), (50, 130)])
def test_what_comes_out_is_that_solution_rounded_at_the_end_of_each_round(drawn, band, rounds):
    stream = BandedNoise(11, 1000.0, band=band, rounds=rounds, separation=band)
    released = np.array([stream.draw(number) for number in range(1, rounds + 1)])
    solved = solve_triangular(matrix(band, rounds), np.array(drawn), lower=True)
    assert released.dtype == np.int64
    assert np.array_equal(released, np.rint(solved))


def test_prefix_sums_are_off_by_as_much_as_foretold(drawn):
    rounds, size, deviation = 60, 20_000, 1000.0
    stream = BandedNoise(size, deviation, band=10, rounds=rounds, separation=12)
    sums = np.cumsum([stream.draw(number) for number in range(1, rounds + 1)], axis=0)
    error = prefix_error(10, rounds)
    assert sums[-1].std() == pytest.approx(deviation * error.last, rel=5 / sqrt(2 * size))
    assert sqrt((sums**2).mean()) == pytest.approx(deviation * error.rms, rel=5 / sqrt(2 * size))


def test_a_band_of_one_is_independent_noise(drawn):
    stream = BandedNoise(50_000, 1000.0, band=1, rounds=3, separation=1)
    released = [stream.draw(number) for number in (1, 2, 3)]
    assert np.array_equal(released, np.rint(drawn))
    assert np.abs(np.corrcoef(released)[np.triu_indices(3, 1)]).max() < 5 / sqrt(50_000)


def test_two_trainings_have_other_noise():
    first, second = (BandedNoise(1000, 1000.0, band=3, rounds=5, separation=3).draw(1) for _ in range(2))
    assert not np.array_equal(first, second)


def test_noise_wider_than_floats_are_fine_fills_every_integer(drawn):
    stream = BandedNoise(100_000, 2.0**58, band=3, rounds=4, separation=3)
    for number in (1, 2, 3):
        low = np.bincount(stream.draw(number) & 7, minlength=8)
        assert ((low - 12_500) ** 2 / 12_500).sum() < 60  # chi-square, 7 degrees of freedom: p < 1e-9


def test_after_an_interruption_a_new_one_begins_with_the_next_round_and_promises_no_less(drawn):
    before = BandedNoise(5, 1000.0, band=4, rounds=10, separation=4)
    released = [before.draw(number) for number in range(1, 7)]
    after = BandedNoise(5, 1000.0, band=4, rounds=10, separation=4, first_round=7)
    released += [after.draw(number) for number in range(7, 11)]
    apart = np.zeros((10, 10))
    apart[:6, :6], apart[6:, 6:] = matrix(4, 6), matrix(4, 4)
    assert np.array_equal(released, np.rint(solve_triangular(apart, np.array(drawn), lower=True)))
    for start in range(4):
        assert np.linalg.norm(apart[:, start::4].sum(1)) <= banded_sensitivity(4, 10, 4)


def test_no_round_has_noise_twice_or_out_of_turn():
    stream = BandedNoise(3, 10.0, band=2, rounds=3, separation=2)
    stream.draw(1)
    for wrong in (0, 1, 3):
        with pytest.raises(RoundFailed, match=f"asked for round {wrong}, of 3, but it is the turn of round 2"):
            stream.draw(wrong)
    stream.draw(2)
    stream.draw(3)
    for wrong in (3, 4):
        with pytest.raises(RoundFailed, match="all are over"):
            stream.draw(wrong)


def test_a_separation_below_the_band_is_refused():
    with pytest.raises(ConfigError, match="a band of 5 asks for as many rounds between two answers of a device, not 4"):
        BandedNoise(3, 10.0, band=5, rounds=9, separation=4)
    with pytest.raises(ConfigError, match="lower the band or raise the separation"):
        banded_sensitivity(5, 9, 4)


@pytest.mark.parametrize(
    "change",
    [
        {"band": 0},
        {"rounds": 0},
        {"separation": 0, "band": 0},
        {"first_round": 0},
        {"first_round": 10},
        {"deviation": -1.0},
        {"deviation": float("nan")},
    ],
)
def test_numbers_that_mean_nothing_are_refused(change):
    with pytest.raises(ConfigError):
        BandedNoise(**{"size": 3, "deviation": 10.0, "band": 2, "rounds": 9, "separation": 2, **change})


@pytest.mark.parametrize("band", [2, 9])
def test_memory_is_that_of_one_band(band):
    size, rounds = 20_000, 40
    tracemalloc.start()
    try:
        stream = BandedNoise(size, 1000.0, band=band, rounds=rounds, separation=band)
        for number in range(1, rounds + 1):
            stream.draw(number)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 * size * (band + 3) + 500_000
