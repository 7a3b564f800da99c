"""Draws are from fixed keys, by way of the inner functions: what a threshold lets pass today it lets pass always."""

from __future__ import annotations

import inspect
import tracemalloc
from math import exp, inf, log, nan, sqrt

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from scipy import signal, stats

from fedpersona.errors import ConfigError
from fedpersona.privacy import noise
from fedpersona.privacy.noise import LARGEST_STEPS, LEAST_STEPS, add_gaussian, gaussian_integers, gaussian_numbers

KEY = bytes(range(32))
BLOCK = 8192
NEVER = 1e-6
"""A test of a fair generator fails with less than this chance."""
DEVIATIONS = 5.0
"""So many standard deviations of chance, either way: 6e-7."""
draws = [gaussian_integers, gaussian_numbers, lambda size, deviation: add_gaussian(np.zeros(size, "<u4"), deviation)]


def stream(number: int = 0) -> noise.Keystream:
    return noise.Keystream(bytes([number]) + KEY[1:])


def integers(size: int, deviation: float, number: int = 0) -> np.ndarray:
    words = np.zeros(size, "<u8")
    noise._add_rounded(stream(number), words, deviation)
    return words.view("<i8")


@pytest.fixture(scope="module")
def normals() -> np.ndarray:
    return noise._numbers(stream(), 5_000_000, 1.0)


# -- where the numbers come from --


def test_nothing_that_can_be_called_takes_a_seed():
    public = [thing for name, thing in inspect.getmembers(noise, inspect.isfunction) if not name.startswith("_")]
    own = [function for function in public if function.__module__ == noise.__name__]
    assert {function.__name__ for function in own} == {
        "add_gaussian",
        "check_deviation",
        "gaussian_integers",
        "gaussian_numbers",
    }
    taken = {name for function in own for name in inspect.signature(function).parameters}
    assert taken == {"size", "deviation", "words"}


def test_every_call_draws_a_key_of_256_bits_and_uses_it(monkeypatch):
    keys = [bytes([number]) * 32 for number in range(3)]
    asked = []
    monkeypatch.setattr(noise, "token_bytes", lambda size: asked.append(size) or keys[len(asked) - 1])
    words = np.zeros(100, "<u8")
    noise._add_rounded(noise.Keystream(keys[0]), words, 50.0)
    assert np.array_equal(gaussian_integers(100, 50.0), words.view("<i8"))
    add_gaussian(words, 50.0)
    assert np.array_equal(gaussian_numbers(100, 50.0), noise._numbers(noise.Keystream(keys[2]), 100, 50.0))
    assert asked == [32, 32, 32]


@pytest.mark.parametrize("draw", [gaussian_integers, gaussian_numbers])
def test_no_two_calls_are_alike(draw):
    drawn = [draw(1000, 1000.0) for _ in range(10)]
    assert len({one.tobytes() for one in drawn}) == 10
    correlations = np.corrcoef(drawn)[np.triu_indices(10, 1)]
    assert np.abs(correlations).max() < 0.25  # 7.9 standard deviations of chance: these keys are not fixed


def test_the_stream_is_aes_of_a_counter():
    """NIST SP 800-38A, section 6.5, with the counter from zero: block by block, by another mode of the cipher."""
    fresh = stream()
    words = np.concatenate([fresh.block().reshape(-1).copy() for _ in range(2)])
    electronic_codebook = Cipher(algorithms.AES(KEY), modes.ECB()).encryptor()
    counters = b"".join(number.to_bytes(16, "big") for number in range(words.nbytes // 16))
    assert words.tobytes() == electronic_codebook.update(counters)


@pytest.mark.parametrize("size", [0, 16, 31, 33])
def test_a_key_has_32_bytes(size):
    with pytest.raises(ValueError, match="32 bytes"):
        noise.Keystream(bytes(size))


# -- that it does what it says --


@pytest.mark.parametrize("deviation", [0.0, 0.3, 8.0, 1000.0, 2.0**16, 2.0**17, 2.0**32])
def test_blocks_give_what_the_readable_form_gives_one_number_at_a_time(deviation):
    for size in (0, 1, 5, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 7):
        assert integers(size, deviation).tolist() == noise._reference(stream(), size, deviation)


@pytest.mark.parametrize("kind", ["<u4", "<u8"])
def test_noise_is_added_to_words_modulo_their_type(kind):
    size, deviation = 2 * BLOCK + 7, 3.0 * 2**30  # more than 32 bits hold
    words = np.random.default_rng(1).integers(0, 2**32, size).astype(kind)
    modulus = 2 ** (8 * words.itemsize)
    expected = [
        (word + added) % modulus for word, added in zip(words.tolist(), integers(size, deviation).tolist(), strict=True)
    ]
    noise._add_rounded(stream(), words, deviation)
    assert words.tolist() == expected


def test_noise_is_added_to_a_part_of_a_vector_and_nowhere_else():
    words = np.zeros(100, "<u4")
    add_gaussian(words[10:90], 1000.0)
    assert np.count_nonzero(words[10:90]) > 70
    assert not words[:10].any()
    assert not words[90:].any()


def test_no_deviation_no_noise():
    assert not gaussian_integers(1000, 0.0).any()
    assert not gaussian_numbers(1000, 0).any()
    words = np.arange(1000, dtype="<u4")
    add_gaussian(words, 0.0)
    assert np.array_equal(words, np.arange(1000))


def test_nothing_is_drawn_for_nobody():
    assert gaussian_integers(0, 10.0).shape == gaussian_numbers(0, 10.0).shape == (0,)
    add_gaussian(np.zeros(0, "<u8"), 10.0)


@pytest.mark.parametrize("deviation", [-1.0, -1e-300, nan, inf, -inf, np.nextafter(LARGEST_STEPS, inf)])
@pytest.mark.parametrize("draw", draws)
def test_a_deviation_that_means_nothing_is_refused(draw, deviation):
    with pytest.raises(ConfigError, match=r"cannot be drawn: it has to be a number from 0 to 2\^58"):
        draw(10, deviation)


def test_the_largest_deviation_stays_within_64_bits():
    drawn = gaussian_integers(100_000, LARGEST_STEPS) / LARGEST_STEPS
    assert abs(drawn.std() - 1) < 7 / sqrt(200_000)
    assert 3 < np.abs(drawn).max() < 13.3


def test_little_memory_beside_the_result():
    words = np.zeros(1_000_000, "<u4")
    add_gaussian(words[:10], 1e6)
    tracemalloc.start()
    try:
        add_gaussian(words, 1e6)
        beside = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert beside < 500_000


# -- the distribution --


def test_moments(normals):
    size = len(normals)
    assert abs(normals.mean()) < DEVIATIONS / sqrt(size)
    assert abs(normals.var() - 1) < DEVIATIONS * sqrt(2 / size)
    assert abs(stats.skew(normals)) < DEVIATIONS * sqrt(6 / size)
    assert abs(stats.kurtosis(normals)) < DEVIATIONS * sqrt(24 / size)


@pytest.mark.parametrize("far", [3.0, 4.0, 5.0])
@pytest.mark.parametrize("side", [1, -1])
def test_tails(normals, far, side):
    beyond = int(np.count_nonzero(side * normals > far))
    assert stats.binomtest(beyond, len(normals), stats.norm.sf(far)).pvalue > NEVER


def test_as_many_are_above_nothing_as_below(normals):
    assert stats.binomtest(int(np.count_nonzero(normals > 0)), len(normals)).pvalue > NEVER


def test_before_rounding_it_is_the_normal_distribution(normals):
    assert stats.kstest(normals[:1_000_000], "norm", method="asymp").pvalue > NEVER


@pytest.mark.parametrize("deviation", [0.4, 1.0, 8.0, 10.5, 300.0])
def test_a_million_draws_fit_the_rounded_gaussian_integer_by_integer(deviation):
    drawn = integers(1_000_000, deviation, number=1)
    far = round(4.5 * deviation) + 1
    edges = (np.arange(-far, far) + 0.5) / deviation
    expected = np.diff(stats.norm.cdf(np.concatenate([[-inf], edges, [inf]])))
    counted = np.bincount(np.clip(drawn, -far, far) + far, minlength=2 * far + 1)
    few = expected * len(drawn) < 5
    observed, wanted = counted[~few], len(drawn) * expected[~few]
    if few.any():
        observed, wanted = np.append(observed, counted[few].sum()), np.append(wanted, len(drawn) * expected[few].sum())
    assert stats.chisquare(observed, wanted).pvalue > NEVER


@pytest.mark.parametrize("deviation", [2.0**16, 2.0**17, 2.0**40, 2.0**58])
def test_noise_of_any_size_is_normal_and_fills_every_integer(deviation):
    """Floats alone would leave the low bits of large numbers zero, and show those of what they are added to."""
    drawn = integers(1_000_000, deviation, number=2)
    assert stats.kstest(drawn / deviation, "norm", method="asymp").pvalue > NEVER
    assert stats.chisquare(np.bincount(drawn & 63, minlength=64)).pvalue > NEVER


@pytest.mark.parametrize("lag", [1, 2, 3, BLOCK // 2, BLOCK, 3 * BLOCK // 2])
def test_neighbours_pairs_and_blocks_know_nothing_of_each_other(normals, lag):
    """Half a block apart are the two numbers of a pair: they share a radius, so squares are looked at as well."""
    limit = DEVIATIONS / sqrt(len(normals) - lag)
    for numbers in (normals, normals**2, np.abs(normals)):
        assert abs(np.corrcoef(numbers[lag:], numbers[:-lag])[0, 1]) < limit


class Chosen:
    """A stream of words that somebody chose."""

    def __init__(self, high: int, low: int, angle: int) -> None:
        self._words = [high, low, angle]

    def block(self) -> np.ndarray:
        return np.repeat(np.array(self._words, "<u8")[:, None], BLOCK // 2, 1)


def test_the_tail_ends_where_it_is_said_to_and_has_no_gaps_before():
    def longest(high: int, low: int) -> float:
        return float(np.abs(noise._numbers(Chosen(high, low, 0), BLOCK, 1.0)).max())

    assert longest(0, 0) == pytest.approx(sqrt(2 * 126 * log(2)), rel=1e-12)
    assert longest(2**64 - 1, 2**64 - 1) == 0.0
    for bits in range(2, 62):  # a uniform number of 2^-bits, and one that is smaller by a step of the high word
        high = 2 ** (64 - bits)
        assert longest(high, 0) == pytest.approx(sqrt(2 * bits * log(2)), rel=1e-9)
        assert 0 <= longest(high - 2, 2**64 - 1) - longest(high, 0) < 2.0 ** (bits - 60)
    assert longest(0, 2**63) == pytest.approx(sqrt(2 * 64 * log(2)), rel=1e-9)


# -- what sums of rounded noise are worth --


def rounded_pmf(deviation: float) -> np.ndarray:
    far = int(12 * deviation) + 2
    edges = (np.arange(-far, far + 2) - 0.5) / deviation
    below = stats.norm.cdf(edges)
    above = stats.norm.sf(edges)
    return np.where(edges[1:] <= 0, np.diff(below), -np.diff(above))


def sum_pmf(deviations: list[float]) -> np.ndarray:
    total = np.ones(1)
    for deviation in deviations:
        total = signal.fftconvolve(total, rounded_pmf(deviation))
    return np.maximum(total, 0.0)


def loss(pmf: np.ndarray, shift: int, epsilon: float) -> float:
    """Return the delta of an epsilon between the distribution and itself, shifted (a hockey-stick divergence)."""
    empty = np.zeros(shift)
    one, other = np.concatenate([empty, pmf]), np.concatenate([pmf, empty])
    return float(np.maximum(one - exp(epsilon) * other, 0.0).sum())


def gaussian_loss(mu: float, epsilon: float) -> float:
    """Balle and Wang 2018, theorem 8."""
    return float(stats.norm.cdf(mu / 2 - epsilon / mu) - exp(epsilon) * stats.norm.cdf(-mu / 2 - epsilon / mu))


def excess(deviations: list[float]) -> float:
    """Return by how much, at most, the sum of rounded noise loses more than the continuous Gaussian would."""
    pmf, spread = sum_pmf(deviations), sqrt(sum(one**2 for one in deviations))
    shifts = {1, 3, *(max(1, round(part * spread)) for part in (0.1, 0.3, 1.0, 2.0))}
    return max(
        loss(pmf, shift, epsilon) - gaussian_loss(shift / spread, epsilon)
        for shift in shifts
        for epsilon in (0.0, 0.01, 0.1, 0.3, 1.0, 2.0, 4.0, 8.0)
    )


@pytest.mark.parametrize("deviation", [LEAST_STEPS, 8.37, 25.0])
@pytest.mark.parametrize("number", [1, 2, 3, 5, 10, 50])
def test_a_sum_of_rounded_noise_hides_as_much_as_the_continuous_gaussian(number, deviation):
    assert excess([deviation] * number) <= 1e-9


@pytest.mark.parametrize("deviations", [[8.0, 100.0], [8.0, 8.0, 9.5, 30.0], [200.0, 8.0, 8.0]])
def test_a_sum_of_unequal_noise_hides_as_much_as_the_continuous_gaussian(deviations):
    assert excess(deviations) <= 1e-9


def test_one_rounded_gaussian_is_post_processing_however_small():
    assert max(excess([deviation]) for deviation in (0.05, 0.3, 1.0, 2.7)) <= 1e-9


def test_a_sum_of_noise_far_below_a_step_would_hide_less():
    assert excess([0.3] * 3) > 1e-3


@pytest.mark.parametrize("deviation", [1.0, 2.0**16, 2.0**16 + 1, 2.0**17, 2.0**33 + 1, LARGEST_STEPS])
def test_noise_that_is_drawn_in_parts_is_worth_what_was_asked_for(deviation):
    parts = noise._parts(deviation)
    assert sum(part**2 for part in parts) == pytest.approx(deviation**2, rel=1e-14)
    assert len(parts) == 1 or min(parts) >= LEAST_STEPS
