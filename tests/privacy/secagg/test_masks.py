from __future__ import annotations

import tracemalloc
from secrets import token_bytes

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as st

from fedpersona.privacy.secagg.masks import SEED, add_masks, reference_mask

BLOCK = 1 << 16  # bytes
rings = pytest.mark.parametrize("kind", [np.dtype("<u4"), np.dtype("<u8")], ids=["2^32", "2^64"])


def sizes(kind: np.dtype) -> list[int]:
    block = BLOCK // kind.itemsize
    return [0, 1, 2, 3, block - 1, block, block + 1, 3 * block, 3 * block + 7]


def words_of(size: int, kind: np.dtype) -> np.ndarray:
    return np.frombuffer(np.random.default_rng(size).bytes(size * kind.itemsize), kind).copy()


@rings
def test_masks_are_added_and_taken_off_block_by_block_as_the_readable_form_has_them(kind):
    added, subtracted = [token_bytes(SEED) for _ in range(3)], [token_bytes(SEED) for _ in range(2)]
    for size in sizes(kind):
        words = words_of(size, kind)
        expected = words.copy()
        for seed in added:
            expected += reference_mask(seed, size, kind)
        for seed in subtracted:
            expected -= reference_mask(seed, size, kind)
        add_masks(words, added, subtracted)
        assert np.array_equal(words, expected)


@rings
def test_a_mask_that_is_added_and_taken_off_leaves_what_was(kind):
    seeds = [token_bytes(SEED) for _ in range(3)]
    for size in sizes(kind):
        words = words_of(size, kind)
        add_masks(words, seeds)
        add_masks(words, subtracted=seeds[::-1])
        assert np.array_equal(words, words_of(size, kind))


@rings
def test_a_mask_is_aes_of_a_counter(kind):
    """NIST SP 800-38A, section 6.5, with the counter from zero: block by block, by another mode of the cipher."""
    seed = token_bytes(SEED)
    electronic_codebook = Cipher(algorithms.AES(seed), modes.ECB()).encryptor()
    stream = electronic_codebook.update(b"".join(number.to_bytes(16, "big") for number in range(5000)))
    size = len(stream) // kind.itemsize
    words = np.zeros(size, kind)
    add_masks(words, [seed])
    assert words.tobytes() == stream


def test_longer_vectors_begin_like_shorter_ones():
    seed = token_bytes(SEED)
    whole = reference_mask(seed, 1000, np.dtype("<u4"))
    assert np.array_equal(reference_mask(seed, 10, np.dtype("<u4")), whole[:10])


@given(st.binary(max_size=40).filter(lambda seed: len(seed) != SEED))
def test_a_seed_of_another_size_is_an_error_and_changes_nothing(seed):
    words = np.zeros(4, "<u4")
    for masks in ({"added": [bytes(SEED), seed]}, {"subtracted": [seed]}):
        with pytest.raises(ValueError, match="a seed has 16 bytes"):
            add_masks(words, **masks)
    with pytest.raises(ValueError, match="a seed has 16 bytes"):
        reference_mask(seed, 4, np.dtype("<u4"))
    assert not words.any()


def test_masking_takes_no_second_vector():
    words, seeds = np.zeros(1_000_000, "<u4"), [token_bytes(SEED) for _ in range(20)]
    tracemalloc.start()
    try:
        add_masks(words, seeds)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 400_000
