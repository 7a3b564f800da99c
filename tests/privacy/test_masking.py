from __future__ import annotations

import numpy as np
import pytest

from fedpersona.errors import PlanRefused
from fedpersona.privacy.masking import LEAST_NEIGHBOURS, MaskKey


def masked(count: int, *, size: int = 70_000, dtype: str = "<u4", context: bytes = b"round 1") -> tuple[list, list]:
    keys = [MaskKey() for _ in range(count)]
    rng = np.random.default_rng(5)
    plain = [rng.integers(0, 1000, size).astype(dtype) for _ in keys]
    sent = [words.copy() for words in plain]
    for key, words in zip(keys, sent, strict=True):
        key.mask(words, [other.public for other in keys if other is not key], context)
    return plain, sent


@pytest.mark.parametrize("dtype", ["<u4", "<u8"])
def test_the_sum_over_all_is_exact(dtype):
    plain, sent = masked(LEAST_NEIGHBOURS + 1, dtype=dtype)
    assert np.array_equal(sum(sent, np.zeros(70_000, dtype)), sum(plain, np.zeros(70_000, dtype)))


def test_one_masked_update_and_the_sum_without_one_look_random():
    plain, sent = masked(LEAST_NEIGHBOURS + 1)
    for words in (sent[0], sum(sent[1:], np.zeros(70_000, "<u4"))):
        spread = words.astype(np.float64) / 2**32
        assert abs(spread.mean() - 0.5) < 0.01
        assert abs(spread.var() - 1 / 12) < 0.002
        assert abs(np.corrcoef(spread, plain[0])[0, 1]) < 0.02
        assert len(np.unique(words & 0xFF)) == 256  # the low bits, too


def test_devices_that_were_shown_different_rounds_get_a_sum_that_means_nothing():
    keys = [MaskKey() for _ in range(LEAST_NEIGHBOURS + 1)]
    total = np.zeros(1000, "<u4")
    for number, key in enumerate(keys):
        words = np.zeros(1000, "<u4")
        others = [other.public for other in keys if other is not key]
        key.mask(words, others, b"model A" if number else b"model B")
        total += words
    assert np.count_nonzero(total) > 990


PRIME = 2**255 - 19


def number(key: bytes) -> int:
    return int.from_bytes(key, "little")


def of_the_same_effect(key: bytes) -> bytes:
    """Return another canonical key with the secrets of this one: its point and the one of order 2, (0, 0)."""
    return pow(number(key), -1, PRIME).to_bytes(32, "little")


@pytest.mark.parametrize(
    "spoil",
    ["few", "twice", "itself", "no key", "low order", "bit 255", "above the prime", "same effect", "same as own"],
)
def test_a_roster_that_would_undo_the_masks_is_refused(spoil):
    key = MaskKey()
    others = [MaskKey().public for _ in range(LEAST_NEIGHBOURS)]
    roster = {
        "few": others[1:],
        "twice": [*others, others[0]],
        "itself": [*others, key.public],
        "no key": [*others, b"short"],
        "low order": [*others, bytes(32)],
        "bit 255": [*others, (number(others[0]) | 1 << 255).to_bytes(32, "little")],
        "above the prime": [*others, (PRIME + 9).to_bytes(32, "little")],  # 9 is the base point, spelt otherwise
        "same effect": [*others, of_the_same_effect(others[0])],
        "same as own": [*others, of_the_same_effect(key.public)],
    }[spoil]
    words = np.zeros(4, "<u4")
    with pytest.raises(PlanRefused):
        key.mask(words, roster, b"")
    assert not words.any()


def test_a_key_is_taken_in_its_only_canonical_form():
    key, others = MaskKey(), [MaskKey().public for _ in range(LEAST_NEIGHBOURS - 1)]
    key.mask(np.zeros(4, "<u4"), [*others, (9).to_bytes(32, "little")], b"")
