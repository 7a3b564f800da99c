"""An array as planes: to the bit the same again, shorter where that helps, and nothing else is unpacked."""

from __future__ import annotations

import tracemalloc
import zlib

import numpy as np
import pytest

from fedpersona.errors import LayoutMismatch
from fedpersona.taste.byte_planes import decoded, encoded

COUNT = 6000


def normal(count=COUNT, seed=0):
    return np.random.default_rng(seed).standard_normal(count).astype(np.float32)


def any_bits(count=COUNT):
    """Every kind of float32 there is: NaN with their payloads, infinities, denormals, both zeros."""
    bits = np.random.default_rng(1).integers(2**32, size=count, dtype=np.uint32)
    bits[:8] = (0x7FC00001, 0xFFC12345, 0x7F800001, 0x7F800000, 0xFF800000, 1, 0x80000000, 0)
    return bits.view(np.float32)


ARRAYS = {
    "normal": normal(),
    "any bits": any_bits(),
    "zeros": np.zeros(COUNT, np.float32),
    "counts": np.random.default_rng(2).zipf(1.5, COUNT).clip(max=1e6).astype(np.float32),
    "a table": normal().reshape(20, 300),
    "a table turned round": normal().reshape(20, 300).T,
    "every third": normal()[::3],
    "NaN everywhere": np.full(COUNT, np.nan, np.float32),
    "one": np.float32([-0.0]),
    "a number": np.array(2.5, np.float32),
    "nothing": np.empty((0, 4), np.float32),
}


def back(array: np.ndarray) -> np.ndarray:
    return decoded([memoryview(piece) for piece in encoded(array)], array.shape)


@pytest.mark.parametrize("name", ARRAYS)
def test_the_same_bits_come_back(name):
    array = ARRAYS[name]
    again = back(array)
    assert again.dtype == np.float32
    assert again.shape == array.shape
    assert again.tobytes() == array.tobytes()
    assert again.flags.writeable
    assert again.flags.c_contiguous


@pytest.mark.parametrize("name", ARRAYS)
def test_it_is_never_longer_than_before_and_the_same_each_time(name):
    array = ARRAYS[name]
    pieces = encoded(array)
    assert sum(map(len, pieces)) <= array.nbytes
    assert encoded(array.copy()) == pieces


def test_what_has_no_order_is_left_as_it_is():
    array = any_bits()
    assert encoded(array) == [array.tobytes()]


def test_of_a_models_entries_the_exponents_alone_are_compressed():
    array = normal()
    pieces = encoded(array)
    assert [len(piece) == array.size for piece in pieces] == [True, True, True, False]
    assert sum(map(len, pieces)) < 0.87 * array.nbytes


def test_counts_and_zeros_become_much_shorter():
    assert sum(map(len, encoded(ARRAYS["counts"]))) < 0.4 * 4 * COUNT
    assert sum(map(len, encoded(ARRAYS["zeros"]))) < 0.01 * 4 * COUNT


def planes(last: bytes) -> list[bytes]:
    return [*encoded(normal())[:3], last]


HONEST = encoded(normal())[3]

WRONG = {
    "no piece": [],
    "two pieces": [b"", b""],
    "too short": [bytes(4 * COUNT - 1)],
    "too long": [bytes(4 * COUNT + 1)],
    "a plane that is too long": planes(bytes(COUNT + 1)),
    "an empty plane": planes(b""),
    "no stream": planes(b"\xff" * 100),
    "cut off": planes(HONEST[:-1]),
    "without its end": planes(HONEST[:-5]),
    "another checksum": planes(HONEST[:-1] + bytes([HONEST[-1] ^ 1])),
    "something after it": planes(HONEST + b"x"),
    "one more stream after it": planes(HONEST + zlib.compress(b"")),
    "a byte too few": planes(zlib.compress(bytes(COUNT - 1))),
    "a byte too many": planes(zlib.compress(bytes(COUNT + 1))),
    "gzip": planes(zlib.compress(bytes(COUNT), wbits=31)),
    "no head": planes(zlib.compress(bytes(COUNT), wbits=-15)),
    "a dictionary that nobody has": planes(b"\x78\xbb\x00\x00\x00\x01" + HONEST[2:]),
    "a bomb": planes(zlib.compress(bytes(1000 * COUNT))[: COUNT - 1]),
}


@pytest.mark.parametrize("name", WRONG)
def test_pieces_that_are_not_the_arrays_are_refused_in_a_sentence(name):
    with pytest.raises(LayoutMismatch, match="its header says"):
        decoded([memoryview(piece) for piece in WRONG[name]], (COUNT,))


def peak(pieces: list[bytes], count: int) -> int:
    """Return how many bytes it took to refuse them."""
    views = [memoryview(piece) for piece in pieces]
    tracemalloc.start()
    try:
        with pytest.raises(LayoutMismatch):
            decoded(views, (count,))
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_bomb_takes_no_more_memory_than_the_array_that_it_says_it_is():
    count = 200_000
    bomb = zlib.compress(bytes(100_000_000), 9)
    assert len(bomb) < count
    assert peak([bytes(count)] * 3 + [bomb], count) < 3 * 4 * count


def test_a_size_that_no_stream_can_unpack_to_takes_no_memory():
    few = zlib.compress(bytes(1000))
    assert peak([few] * 4, 1 << 28) < 1 << 20
