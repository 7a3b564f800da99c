from __future__ import annotations

import numpy as np
import pytest

from fedpersona.errors import LayoutMismatch
from fedpersona.wire.layout import ArraySpec, Layout
from fedpersona.wire.message import decode, encode, word_type

LAYOUT = Layout((ArraySpec("sketch", (3, 2), bound=1.0), ArraySpec("listeners", (3,), bound=1.0)))
PLAN = "ab" * 32


@pytest.mark.parametrize("ring_bits", [32, 64])
def test_a_message_gives_its_words_back(ring_bits):
    words = np.arange(9, dtype=word_type(ring_bits)) - 4  # wraps around
    again = decode(encode(words, plan_hash=PLAN, layout=LAYOUT), plan_hash=PLAN, layout=LAYOUT, ring_bits=ring_bits)
    assert np.array_equal(again, words)
    assert again.dtype == words.dtype


def test_every_message_of_a_plan_has_the_same_length_whatever_it_holds():
    lengths = {len(encode(np.full(9, fill, "<u4"), plan_hash=PLAN, layout=LAYOUT)) for fill in (0, 1, 2**32 - 1)}
    assert len(lengths) == 1


def test_words_that_are_not_those_of_the_layout_are_not_sent():
    with pytest.raises(LayoutMismatch, match="9 numbers, the update 8"):
        encode(np.zeros(8, "<u4"), plan_hash=PLAN, layout=LAYOUT)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda m: b"",
        lambda m: m[:-1],
        lambda m: m + b"\0",
        lambda m: m.replace(b"ab", b"ac", 1),
        lambda m: m.replace(b"sketch", b"sketsh"),
        lambda m: m.replace(b"update 1", b"update 2"),
    ],
)
def test_a_message_that_is_not_of_the_plan_to_the_byte_is_refused(spoil):
    message = encode(np.zeros(9, "<u4"), plan_hash=PLAN, layout=LAYOUT)
    with pytest.raises(LayoutMismatch):
        decode(spoil(message), plan_hash=PLAN, layout=LAYOUT, ring_bits=32)
    with pytest.raises(LayoutMismatch):
        decode(message, plan_hash=PLAN, layout=LAYOUT, ring_bits=64)
