from __future__ import annotations

import hashlib
import hmac
from secrets import token_bytes

import pytest

from fedpersona.privacy.secagg.keys import (
    SEALED,
    PrivateKey,
    agree,
    committed,
    expand_key,
    open_sealed,
    seal,
    self_seed,
)
from tests.privacy.secagg.points import LOW_ORDER, PRIME, encoded, twins

ROSTER, OTHER = bytes(32), b"\1" * 32


def test_keys_agree_as_rfc_7748_says():
    """Section 5.2, the first iteration: 9 times the base point, which is 9."""
    found = PrivateKey(9).exchange(encoded(9))
    assert found == bytes.fromhex("422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079")


def test_two_devices_agree_on_the_same_and_a_third_does_not():
    one, other, third = (PrivateKey.draw(token_bytes) for _ in range(3))
    assert one.exchange(other.public) == other.exchange(one.public)
    assert one.exchange(third.public) != one.exchange(other.public)


def test_a_private_key_is_an_element_of_the_field_that_can_be_shared_and_made_a_key_again():
    for _ in range(20):
        key = PrivateKey.draw(token_bytes)
        assert 2**254 <= key.scalar < PRIME
        assert key.scalar % 8 == 0
        assert PrivateKey(key.scalar).public == key.public


def test_a_draw_that_is_no_element_is_thrown_away():
    draws = iter([b"\xff" * 32, bytes(32)])
    assert PrivateKey.draw(lambda size: next(draws)[:size]).scalar == 1 << 254


@pytest.mark.parametrize("point", LOW_ORDER)
def test_with_a_point_of_low_order_nobody_agrees(point):
    assert PrivateKey.draw(token_bytes).exchange(point) is None


@pytest.mark.parametrize("spelt", [PRIME, PRIME + 1, PRIME + 9, PRIME + 18, 2**255 + 9, 2**256 - 1])
def test_another_spelling_of_a_key_is_no_key(spelt):
    assert PrivateKey.draw(token_bytes).exchange(encoded(spelt)) is None


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_key_of_another_size_is_no_key(size):
    assert PrivateKey.draw(token_bytes).exchange(b"\5" * size) is None


def test_seven_other_keys_have_the_effect_of_one():
    """The attack that a device has to look for (RFC 7748, section 7): different keys, the same secret."""
    key, other = PrivateKey.draw(token_bytes), PrivateKey.draw(token_bytes)
    found = twins(key.public)
    assert len({*found, key.public}) == 8
    assert {other.exchange(twin) for twin in found} == {other.exchange(key.public)}


def test_keys_are_expanded_as_rfc_5869_says():
    secret, purpose = b"secret", b"purpose"
    extracted = hmac.digest(bytes(32), secret, hashlib.sha256)
    first = hmac.digest(extracted, b"fedpersona secure aggregation 1\n" + purpose + b"\1", hashlib.sha256)
    assert expand_key(secret, purpose, 16) == first[:16]
    second = hmac.digest(extracted, first + b"fedpersona secure aggregation 1\n" + purpose + b"\2", hashlib.sha256)
    assert expand_key(secret, purpose, 48) == (first + second)[:48]


def test_every_key_has_one_purpose_and_one_roster():
    secret, number = b"\7" * 32, int.from_bytes(b"\7" * 32, "little")
    found = [agree(secret, ROSTER), self_seed(number, ROSTER), agree(secret, OTHER), self_seed(number, OTHER)]
    found += [committed(number, ROSTER), committed(number, OTHER), committed(number + 1, ROSTER)]
    assert len({key[:16] for key in found}) == len(found)


def test_every_bit_of_a_seed_is_in_its_mask_and_in_its_commitment():
    number = int.from_bytes(b"\x5a" * 31, "little")
    others = [number, *(number ^ 1 << bit for bit in range(255))]
    assert len({committed(other, ROSTER) for other in others}) == 256
    assert len({self_seed(other, ROSTER) for other in others}) == 256


def test_shares_open_for_whom_they_were_sealed():
    secret, shares = token_bytes(32), token_bytes(64)
    sealed = seal(secret, ROSTER, 3, 5, shares)
    assert len(sealed) == SEALED
    assert open_sealed(secret, ROSTER, 3, 5, sealed) == shares


def test_shares_do_not_open_the_other_way_round_elsewhere_in_another_round_or_with_another_key():
    secret, shares = token_bytes(32), token_bytes(64)
    sealed = seal(secret, ROSTER, 3, 5, shares)
    for attempt in (
        (secret, ROSTER, 5, 3),
        (secret, ROSTER, 3, 6),
        (secret, ROSTER, 4, 5),
        (secret, OTHER, 3, 5),
        (token_bytes(32), ROSTER, 3, 5),
    ):
        assert open_sealed(*attempt, sealed) is None


def test_no_bit_of_sealed_shares_can_be_changed_and_none_left_out():
    secret = token_bytes(32)
    sealed = seal(secret, ROSTER, 3, 5, token_bytes(64))
    number = int.from_bytes(sealed, "little")
    for bit in range(8 * SEALED):
        assert open_sealed(secret, ROSTER, 3, 5, (number ^ 1 << bit).to_bytes(SEALED, "little")) is None
    assert open_sealed(secret, ROSTER, 3, 5, sealed[:-1]) is None
    assert open_sealed(secret, ROSTER, 3, 5, sealed + b"\0") is None


def test_the_same_shares_look_different_for_every_receiver():
    secret, shares = token_bytes(32), token_bytes(64)
    sealed = {seal(secret, ROSTER, sender, receiver, shares) for sender in range(4) for receiver in range(4)}
    assert len(sealed) == 16
