from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedpersona.errors import PlanForged
from fedpersona.wire.signed_roster import check_roster, sign_roster

KEY, OTHER = (Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32) for number in (1, 2))
PUBLIC = KEY.public_key().public_bytes_raw()
HEAD, PLAN = bytes(range(36)), "ab" * 32
SIGNATURE = sign_roster(HEAD, PLAN, KEY)


def test_a_roster_is_the_operators_for_its_plan():
    check_roster(HEAD, PLAN, SIGNATURE, PUBLIC)


@pytest.mark.parametrize(
    ("head", "plan", "signature", "key"),
    [
        (HEAD[:-1] + b"x", PLAN, SIGNATURE, PUBLIC),
        (HEAD[:-1], PLAN, SIGNATURE, PUBLIC),
        (HEAD, "cd" * 32, SIGNATURE, PUBLIC),
        (HEAD, PLAN, sign_roster(HEAD, PLAN, OTHER), PUBLIC),
        (HEAD, PLAN, SIGNATURE, OTHER.public_key().public_bytes_raw()),
        (HEAD, PLAN, SIGNATURE[:-1], PUBLIC),
        (HEAD, PLAN, bytes(64), PUBLIC),
        (HEAD, PLAN, SIGNATURE, b""),
    ],
    ids=[
        "another",
        "cut",
        "for another plan",
        "by another",
        "key of another",
        "cut signature",
        "no signature",
        "no key",
    ],
)
def test_one_that_is_not_is_forged(head, plan, signature, key):
    with pytest.raises(PlanForged, match="the roster is not signed by the operator"):
        check_roster(head, plan, signature, key)


def test_plan_and_head_cannot_be_cut_elsewhere():
    """What is signed has one reading only: a plan's hash has a fixed length."""
    with pytest.raises(PlanForged):
        check_roster(PLAN[-2:].encode() + b"\n" + HEAD, PLAN[:-2], SIGNATURE, PUBLIC)
