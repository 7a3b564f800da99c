"""Every message has one form: what can be read is what would have been written, to the bit."""

from __future__ import annotations

from secrets import token_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedpersona.errors import ParcelRefused, PlanRefused
from fedpersona.privacy.secagg.keys import SEALED
from fedpersona.privacy.secagg.messages import (
    agreed,
    decode_delivered,
    decode_sealed,
    decode_shares,
    decode_signatures,
    decode_view,
    encode_delivered,
    encode_shares,
    encode_signatures,
    encode_view,
)
from fedpersona.privacy.secagg.roster import Entry
from fedpersona.privacy.secagg.survivors import bits_of, encoded_bits

NEIGHBOURS = (2, 3, 5, 8, 13, 21, 34, 55, 89)


def spellings(size: int) -> list[bytes]:
    """Bytes of about a size that only a sloppy reader takes."""
    return [token_bytes(length) for length in (0, 1, size - 1, size + 1, 2 * size) if length != size]


@given(st.sets(st.integers(0, 40)), st.integers(0, 40))
def test_who_is_in_the_sum_is_one_bit_a_device(members, size):
    data = encoded_bits({member for member in members if member < size}, size)
    assert len(data) == (size + 7) // 8
    assert bits_of(data, size) == {member for member in members if member < size}


@given(st.binary(max_size=6), st.integers(0, 40))
def test_every_list_of_who_is_in_the_sum_has_one_spelling(data, size):
    found = bits_of(data, size)
    if found is not None:
        assert encoded_bits(found, size) == data
        assert len(data) == (size + 7) // 8


@pytest.mark.parametrize("data", [b"", b"\xff", b"\xff\x02", b"\xff\x80", b"\xff\x01\x00", b"\xff\x01\x01"])
def test_bits_beyond_the_last_device_or_bytes_too_many_or_few_are_no_list(data):
    assert bits_of(b"\xff\x01", 9) == set(range(9))
    assert bits_of(data, 9) is None


@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.binary(max_size=100))
def test_a_view_is_read_as_it_was_written(place, count, proof):
    entries = [Entry(token_bytes(32), token_bytes(64), token_bytes(64)) for _ in range(count)]
    assert decode_view(encode_view(place, entries, proof)) == (place, entries, proof)


@given(st.binary(max_size=400))
def test_a_view_has_one_spelling(data):
    try:
        found = decode_view(data)
    except PlanRefused:
        return
    assert encode_view(*found) == data


@pytest.mark.parametrize("length", [0, 5, 6, 6 + 159, 6 + 160, 6 + 319])
def test_a_view_that_ends_too_early_or_shows_nobody_is_refused(length):
    whole = encode_view(1, [Entry(bytes(32), bytes(64), bytes(64))] * 2, b"")
    with pytest.raises(PlanRefused, match="another form"):
        decode_view(whole[:length])
    with pytest.raises(PlanRefused, match="another form"):
        decode_view(encode_view(1, [], bytes(64)))


def test_sealed_shares_are_one_for_each_neighbour_after_the_commitment():
    pieces = {place: token_bytes(SEALED) for place in NEIGHBOURS}
    data = b"c" * 32 + b"".join(pieces.values())
    assert decode_sealed(data, NEIGHBOURS) == (b"c" * 32, pieces)
    for other in spellings(len(data)):
        with pytest.raises(ParcelRefused, match="sealed shares"):
            decode_sealed(other, NEIGHBOURS)
    for neighbours in (NEIGHBOURS[1:], (*NEIGHBOURS, 90)):
        with pytest.raises(ParcelRefused, match="sealed shares"):
            decode_sealed(data, neighbours)


@given(st.sets(st.sampled_from(NEIGHBOURS)))
def test_what_some_neighbours_shared_is_read_as_it_was_written(there):
    sealed = {place: token_bytes(SEALED) for place in sorted(there)}
    assert decode_delivered(encode_delivered(sealed, NEIGHBOURS), NEIGHBOURS) == sealed
    shares = {place: token_bytes(32) for place in sorted(there)}
    assert decode_shares(encode_shares(shares, NEIGHBOURS), NEIGHBOURS) == shares


@given(st.sets(st.sampled_from(NEIGHBOURS)), st.integers(0, 15), st.integers(-33, 33))
def test_bits_that_say_more_or_less_than_there_is_are_refused(there, bit, change):
    shares = encode_shares({place: bytes(32) for place in there}, NEIGHBOURS)
    sealed = encode_delivered({place: bytes(SEALED) for place in there}, NEIGHBOURS)
    flipped = (int.from_bytes(shares[:2], "little") ^ 1 << bit).to_bytes(2, "little")
    longer = [data + bytes(change) if change > 0 else data[:change] for data in (shares, sealed) if change]
    for data in (flipped + shares[2:], *longer[:1]):
        if data != shares:
            with pytest.raises(ParcelRefused, match="another form"):
                decode_shares(data, NEIGHBOURS)
    for data in (flipped + sealed[2:], *longer[1:]):
        if data != sealed:
            with pytest.raises(PlanRefused, match="another form"):
                decode_delivered(data, NEIGHBOURS)


@given(st.dictionaries(st.integers(0, 2**32 - 1), st.binary(min_size=64, max_size=64), max_size=4))
def test_signatures_are_read_as_they_were_written(signatures):
    assert decode_signatures(encode_signatures(signatures)) == signatures


@given(st.binary(max_size=300))
def test_signatures_have_one_spelling(data):
    try:
        found = decode_signatures(data)
    except PlanRefused:
        return
    assert encode_signatures(found) == data


def test_a_device_that_signed_twice_is_refused():
    one, other = b"\1\0\0\0" + bytes(64), b"\1\0\0\0" + b"x" * 64
    for data in (one + other, one + one):
        with pytest.raises(PlanRefused, match="another form"):
            decode_signatures(data)


def test_what_is_signed_is_one_list_of_one_roster():
    found = {agreed(bytes(32), b"\7"), agreed(b"\1" * 32, b"\7"), agreed(bytes(32), b"\3"), agreed(bytes(32), b"\7\0")}
    assert len(found) == 4
