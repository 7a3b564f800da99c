"""The messages of a round: a closed list of kinds, fields and sizes, and answers that are bound to device and plan."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from fedpersona.errors import ParcelRefused, ReplyUnsigned
from fedpersona.privacy.secagg.messages import encode_delivered, encode_shares, encode_signatures
from fedpersona.wire.parcel import ASKS, BODIES, REPLIES, checked, sign_reply, verify_reply

KEY, OTHER = (Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32) for number in (1, 2))
PUBLIC = KEY.public_key().public_bytes_raw()
PLAN = "ab" * 32


class Long(bytes):
    """Bytes that say they are as many as a test needs: some limits are beyond a test's memory."""

    def __new__(cls, size: int):
        made = super().__new__(cls)
        made.size = size
        return made

    def __len__(self) -> int:
        return self.size


def whole(forms, kind: str, **sizes: int) -> dict[str, bytes]:
    """Return a message with every field in its least size, but those that are said."""
    return {name: Long(sizes.get(name, one.least)) for name, one in forms[kind].items()}


FIELDS = [(forms, kind, name) for forms in (ASKS, REPLIES) for kind in forms for name in forms[kind]]
IDS = [f"{'asks' if forms is ASKS else 'replies'} {kind} {name}" for forms, kind, name in FIELDS]


def test_both_sides_have_the_same_kinds_five_for_a_secure_sum_and_one_without_masks():
    masked = ["query.enter", "query.share", "train.update", "query.agree", "query.unmask"]
    assert list(ASKS) == list(REPLIES) == [*masked, "train.plain"]


def test_every_answer_has_one_field_that_is_signed_but_the_one_that_both_sides_know():
    assert {kind: BODIES.get(kind) for kind in REPLIES} == {
        "query.enter": "keys",
        "query.share": "sealed",
        "train.update": "update",
        "query.agree": None,
        "query.unmask": "shares",
        "train.plain": "update",
    }
    assert all("signature" in form for form in REPLIES.values())


@pytest.mark.parametrize(("forms", "kind", "name"), FIELDS, ids=IDS)
def test_a_field_may_be_as_small_and_as_large_as_agreed_and_no_more(forms, kind, name):
    one = forms[kind][name]
    for size in {one.least, one.most}:
        assert len(checked(kind, whole(forms, kind, **{name: size}), forms)[name]) == size
    for size in {one.least - 1, one.most + 1} - {-1}:
        with pytest.raises(ParcelRefused, match=f"'{name}' of a '{kind}'"):
            checked(kind, whole(forms, kind, **{name: size}), forms)


@pytest.mark.parametrize(("forms", "kind", "name"), FIELDS, ids=IDS)
def test_a_field_that_is_missing_is_named_unless_it_may_be(forms, kind, name):
    fields = whole(forms, kind)
    del fields[name]
    if forms[kind][name].optional:
        assert checked(kind, fields, forms).get(name) is None
    else:
        with pytest.raises(ParcelRefused, match=f"lacks {name}"):
            checked(kind, fields, forms)


@pytest.mark.parametrize("kind", ASKS)
@pytest.mark.parametrize("forms", [ASKS, REPLIES], ids=["asks", "replies"])
def test_a_field_too_many_is_refused(forms, kind):
    with pytest.raises(ParcelRefused, match="not agreed"):
        checked(kind, {**whole(forms, kind), "program": b"x"}, forms)


@pytest.mark.parametrize("kind", ["", "train", "query.key", "query.neighbours", "train.evaluate", "x" * 1000])
def test_a_message_of_no_known_kind_is_refused_in_a_short_sentence(kind):
    with pytest.raises(ParcelRefused, match=r"is none of query\.enter") as caught:
        checked(kind, {}, ASKS)
    assert len(str(caught.value)) < 200


def test_what_a_large_round_sends_is_within_the_limits():
    """A thousand neighbours of a device, in a roster of a hundred thousand."""
    others = range(1000)
    fields = {
        "shares": encode_delivered(dict.fromkeys(others, bytes(80)), others),
        "signatures": encode_signatures(dict.fromkeys(others, bytes(64))),
        "survivors": bytes(100_000 // 8),
    }
    for kind, name in (("train.update", "shares"), ("query.unmask", "signatures"), ("query.agree", "survivors")):
        checked(kind, {"plan_hash": PLAN.encode(), name: fields[name]}, ASKS)
    shares = encode_shares(dict.fromkeys(others, bytes(32)), others)
    checked("query.unmask", {"shares": shares, "signature": bytes(64)}, REPLIES)


def test_the_repr_of_a_message_shows_nothing_of_it():
    assert "secret" not in repr(checked("query.enter", {"keys": b"secret 8" * 8, "signature": bytes(64)}, REPLIES))


# -- signatures --


@given(st.sampled_from(list(REPLIES)), st.binary(max_size=100))
def test_an_answer_is_its_devices_for_its_plan_and_kind_and_body_only(kind, body):
    signature = sign_reply(kind, PLAN, body, KEY)
    verify_reply(kind, PLAN, body, signature, PUBLIC)
    others = [
        (next(other for other in REPLIES if other != kind), PLAN, body, signature, PUBLIC),
        (kind, "cd" * 32, body, signature, PUBLIC),
        (kind, PLAN, body + b"\0", signature, PUBLIC),
        (kind, PLAN, body, signature, OTHER.public_key().public_bytes_raw()),
        (kind, PLAN, body, signature[:-1] + bytes([signature[-1] ^ 1]), PUBLIC),
        (kind, PLAN, body, signature[:-1], PUBLIC),
        (kind, PLAN, body, signature, PUBLIC[:-1]),
    ]
    for changed in others:
        with pytest.raises(ReplyUnsigned, match="not signed by the device"):
            verify_reply(*changed)


def test_a_signature_under_something_else_of_the_device_is_none():
    """A device signs enrolments and records with the same key: none of them can pass for an answer."""
    with pytest.raises(ReplyUnsigned):
        verify_reply("query.enter", PLAN, b"keys", KEY.sign(b"keys"), PUBLIC)
