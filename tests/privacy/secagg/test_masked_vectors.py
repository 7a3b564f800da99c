"""What a server sees of one device: numbers drawn at random, whatever is under them.

Each statistic has a threshold that an honest mask is beyond once in 10^9 or less; and for each there is something that
it finds, so that it could have found a fault.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from scipy.stats import hypergeom

from fedpersona.privacy.secagg.keys import self_seed
from fedpersona.privacy.secagg.masks import add_masks
from tests.privacy.secagg.rounds import COMPLETE, Round, after
from tests.privacy.secagg.statistic import LEAST, chance_of, looks_uniform

ITEMS, DIM, TOUCHED = 4096, 32, 40


@cache
def of_nothing(ring: int, words: int = 40_000) -> Round:
    """A round in which every update is zero: what is sent is nothing but masks."""
    round_ = Round(*COMPLETE, words=words, ring=ring)
    for person in round_.people:
        person.plain[:] = 0
    round_.run(until="train")
    return round_


rings = pytest.mark.parametrize("ring", [32, 64])


@rings
def test_bytes_and_low_bits_are_equally_frequent_though_every_update_is_zero(ring):
    assert all(looks_uniform(words) for words in of_nothing(ring).sent.values())
    assert not looks_uniform(np.arange(40_000, dtype="<u4"))


@rings
def test_every_bit_of_a_word_is_as_often_set_as_not(ring):
    for words in of_nothing(ring).sent.values():
        bits = np.unpackbits(words.view(np.uint8).reshape(len(words), -1), axis=1).sum(0)
        z = (bits - len(words) / 2) / np.sqrt(len(words) / 4)
        assert np.abs(z).max() < 7.5


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Of two series of words, in standard deviations of what chance gives; each as a number from -1 to 1."""
    first, second = (words.astype(np.float64) / 2.0 ** (8 * words.itemsize - 1) - 1 for words in (one, other))
    return float(3 * (first * second).sum() / np.sqrt(len(first)))


@rings
def test_words_tell_nothing_of_those_before_them(ring):
    for words in of_nothing(ring).sent.values():
        for lag in (1, 2, 3, 4, 8, 31, 32, 33, 64, 1024, 16_384):
            assert abs(correlation(words[:-lag], words[lag:])) < 7.5
    line = np.cumsum(np.random.default_rng(1).integers(0, 2**26, 40_000, np.uint32), dtype=np.uint32)
    assert abs(correlation(line[:-1], line[1:])) > 7.5


@rings
def test_devices_of_one_round_send_nothing_in_common(ring):
    sent = list(of_nothing(ring).sent.values())
    for place, one in enumerate(sent):
        for other in sent[:place]:
            assert abs(correlation(one, other)) < 7.5
            assert looks_uniform(one - other)
            assert looks_uniform(one + other)


def test_the_sum_of_some_devices_is_as_masked_as_each_and_that_of_all_is_until_it_is_opened():
    round_ = of_nothing(32)
    sent = [round_.sent[place] for place in sorted(round_.sent)]
    for count in range(1, len(sent) + 1):
        assert looks_uniform(np.sum(sent[:count], axis=0, dtype=np.uint32))


def test_one_update_in_two_rounds_is_masked_as_two():
    """Keys are new each time: what a device sent before is of no help with what it sends now."""
    one = after("train", words=2000)
    other = Round(*COMPLETE, words=2000, seed=2, plan="cd" * 32)
    for person, before in zip(other.people, one.people, strict=True):
        person.plain[:] = before.plain
    other.run(until="train")
    assert all(looks_uniform(one.sent[place] - other.sent[place]) for place in one.sent)


# -- linear algebra: what broke masks of a Mersenne Twister --


def rank_modulo_two(rows: list[int]) -> int:
    """Return the rank of a matrix over GF(2), rows as integers."""
    basis: dict[int, int] = {}
    for row in rows:
        while row and row.bit_length() in basis:
            row ^= basis[row.bit_length()]
        if row:
            basis[row.bit_length()] = row
    return len(basis)


def low_bits(words: np.ndarray, count: int) -> int:
    return int.from_bytes(np.packbits((words[:count] & 1).astype(np.uint8)).tobytes(), "big")


def test_masked_vectors_of_a_round_are_linearly_independent_in_their_low_bits():
    """All of them; without the devices' own masks all but one, since what devices masked with each other adds up to
    nothing: that is the one relation that there is. Of 9 rows of 200 bits a chance one comes once in 2^191.
    """
    round_ = after("train", words=200)
    assert rank_modulo_two([low_bits(words, 200) for words in round_.sent.values()]) == 9
    before = after("share", words=200)  # where a device still has its b
    pairwise = []
    for place, words in round_.sent.items():
        only = words - round_.people[place].plain
        add_masks(only, subtracted=[self_seed(before.people[place].machine._secrets.b, round_.server._roster)])
        pairwise.append(only)
    assert rank_modulo_two([low_bits(words, 200) for words in pairwise]) == 8
    assert not np.sum(pairwise, axis=0, dtype=np.uint32).any()


def test_pieces_of_one_masked_vector_are_linearly_independent_in_their_low_bits():
    """A thousand of 1,100 bits, each a hundred words after the one before: a generator that is linear has fewer.
    A chance relation comes once in 2^100.
    """
    words = of_nothing(32, 102_000).sent[0]
    rows = [low_bits(words[100 * start :], 1100) for start in range(1000)]
    assert rank_modulo_two(rows) == 1000
    shift_register = shift_register_bits(102_000)
    assert rank_modulo_two([low_bits(shift_register[100 * start :], 1100) for start in range(1000)]) <= 89


def shift_register_bits(count: int) -> np.ndarray:
    """x^89 + x^38 + 1, a primitive polynomial."""
    bits = np.zeros(count, np.uint32)
    bits[:89] = np.random.default_rng(5).integers(0, 2, 89)
    for place in range(89, count):
        bits[place] = bits[place - 51] ^ bits[place - 89]
    return bits


def linear_complexity(bits: np.ndarray) -> int:
    """Return the length of the shortest shift register that gives these bits (Massey 1969), on Python's integers."""
    connection, before, length, since, seen = 1, 1, 0, 1, 0
    for place, bit in enumerate(bits.tolist()):
        seen = seen << 1 | bit
        if not (connection & seen).bit_count() & 1:
            since += 1
        elif 2 * length <= place:
            connection, before, length, since = connection ^ before << since, connection, place + 1 - length, 1
        else:
            connection ^= before << since
            since += 1
    return length


def test_the_low_bits_of_a_masked_vector_are_those_of_no_shift_register():
    """A Mersenne Twister's are, of length 19,937: from so many clean words on, every other is known. Of n random bits
    the complexity is n/2; 40 away from that it is once in 2^80.
    """
    count = 2 * 19_937 + 64
    words = of_nothing(32, 102_000).sent[0]
    assert abs(linear_complexity((words[:count] & 1).astype(np.uint8)) - count / 2) < 40
    assert linear_complexity(shift_register_bits(1000)) == 89


def test_the_measure_of_complexity_finds_a_mersenne_twister():
    twister = np.random.RandomState(7).randint(0, 2**32 - 1, 2 * 19_937 + 64, dtype=np.int64)
    assert linear_complexity((twister & 1).astype(np.uint8)) <= 19_937


# -- which rows of an item table somebody touched --


def touched(round_: Round) -> tuple[np.ndarray, np.ndarray]:
    """Give the first device an update with few rows that are not zero; return which, and what it sends."""
    random = np.random.default_rng(11)
    rows = random.choice(ITEMS, TOUCHED, replace=False)
    update = np.zeros((ITEMS, DIM), np.int64)
    update[rows] = random.integers(-50_000, 50_000, (TOUCHED, DIM))
    round_.people[0].plain[:] = update.reshape(-1).astype("<u4")
    round_.run_from("train", {"train": range(7, 9)}, until="train")
    return rows, round_.sent[0].reshape(ITEMS, DIM)


GUESSES = {
    "odd words": lambda table: (table & 1).sum(1),
    "words that are no multiple of 256": lambda table: (table & 0xFF != 0).sum(1),
    "size": lambda table: np.abs(table.view(np.int32).astype(np.float64)).sum(1),
    "low bytes": lambda table: (table & 0xFF).sum(1),
    "high bytes": lambda table: -(table >> 24).astype(np.int64).sum(1),
    "spread": lambda table: table.astype(np.float64).std(1),
    "likeness of neighbours": lambda table: -np.abs(np.diff(table.view(np.int32).astype(np.float64), axis=1)).sum(1),
    "changes of the low bit": lambda table: np.abs(np.diff((table & 1).astype(np.int64), axis=1)).sum(1),
}


@cache
def one_upload() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    round_ = after("share", words=ITEMS * DIM)
    rows, sent = touched(round_)
    return rows, sent, round_.people[0].plain.reshape(ITEMS, DIM)


def hits(scores: np.ndarray, rows: np.ndarray) -> int:
    """How many touched rows are among as many that score highest; also the lowest, if these are more."""
    order = np.argsort(scores, kind="stable")
    return max(len(set(part.tolist()) & set(rows.tolist())) for part in (order[:TOUCHED], order[-TOUCHED:]))


@pytest.mark.parametrize("guess", GUESSES)
def test_touched_rows_are_guessed_at_chance_from_one_upload(guess):
    """Precision and recall are the same here: of 40 rows that are named, how many are among the 40 of 4,096."""
    rows, sent, _ = one_upload()
    by_chance = int(hypergeom.isf(1e-10, ITEMS, TOUCHED, TOUCHED))
    assert by_chance <= 9
    assert hits(GUESSES[guess](sent), rows) <= by_chance


def test_the_guesses_find_every_touched_row_of_an_update_that_is_not_masked():
    rows, _, plain = one_upload()
    found = [hits(guess(plain), rows) for guess in GUESSES.values()]
    assert max(found) == TOUCHED
    assert np.median(found) >= 30


def test_masked_rows_that_were_touched_look_like_those_that_were_not():
    rows, sent, _ = one_upload()
    was = np.isin(np.arange(ITEMS), rows)
    for shift in (0, 8, 16, 24):
        part = (sent >> shift) & 0xF
        assert chance_of(np.bincount(part[was].reshape(-1), minlength=16)) > LEAST
        assert chance_of(np.bincount(part[~was].reshape(-1), minlength=16)) > LEAST
