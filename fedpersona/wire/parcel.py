"""The messages of a round: a closed list of kinds, each with its fields and their largest sizes.

A round under masks has five exchanges. ``query.enter`` brings the signed plan, and the device answers with its keys;
``query.share`` brings the signed roster, and the device answers with its sealed shares; ``train.update`` brings those
of its neighbours, and the device answers with its masked update; ``query.agree`` brings the list of who is in the sum,
and the device signs it; ``query.unmask`` brings the neighbours' signatures, and the device answers with its shares of
them. Without masks there is one, ``train.plain``. A device that says no answers with one of :data:`REFUSALS` instead:
the words for its owner stay in its ledger.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from fedpersona.errors import ParcelRefused, ReplyUnsigned

__all__ = ["ASKS", "BODIES", "REFUSALS", "REPLIES", "Field", "Parcel", "checked", "sign_reply", "verify_reply"]

LARGEST_UPDATE = 1 << 30  # bytes: what any device sends at most; its owner's policy is far below
_NEIGHBOURS = 2048
_PLAN = 66_000
_HASH = 64  # in hexadecimal
_ROSTER = 1 << 17  # devices

REFUSALS = ("declined", "plan", "form", "late", "failed")
"""What a server hears from a device that does not answer. It never hears why its owner says no.

``declined``: its owner's no; ``plan``: not what was agreed; ``form``: a message that cannot be read; ``late``: the
round is over for it; ``failed``: an error of its own.
"""


@dataclass(frozen=True)
class Field:
    """One field of a message."""

    most: int
    """Largest size in bytes."""
    least: int = 0
    large: bool = False
    """Whether it travels in pieces."""
    optional: bool = False


_SIGNATURE = Field(64, 64)

ASKS: Mapping[str, Mapping[str, Field]] = {
    "query.enter": {"plan": Field(_PLAN, 65), "model": Field(LARGEST_UPDATE, large=True, optional=True)},
    "query.share": {
        "plan_hash": Field(_HASH, _HASH),
        "roster": Field(36, 36),
        "signature": _SIGNATURE,
        "view": Field(_NEIGHBOURS * 640, 166, large=True),
    },
    "train.update": {"plan_hash": Field(_HASH, _HASH), "shares": Field(_NEIGHBOURS * 81, 1, large=True)},
    "query.agree": {"plan_hash": Field(_HASH, _HASH), "survivors": Field(_ROSTER // 8, 1)},
    "query.unmask": {"plan_hash": Field(_HASH, _HASH), "signatures": Field(_NEIGHBOURS * 68, large=True)},
    "train.plain": {"plan": Field(_PLAN, 65), "model": Field(LARGEST_UPDATE, large=True, optional=True)},
}
"""What a server may ask, by the type of the Flower message."""

REPLIES: Mapping[str, Mapping[str, Field]] = {
    "query.enter": {"keys": Field(64, 64), "signature": _SIGNATURE},
    "query.share": {"sealed": Field(_NEIGHBOURS * 80 + 32, 32, large=True), "signature": _SIGNATURE},
    "train.update": {"update": Field(LARGEST_UPDATE, 1, large=True), "signature": _SIGNATURE},
    "query.agree": {"signature": _SIGNATURE},
    "query.unmask": {"shares": Field(_NEIGHBOURS * 33, 1, large=True), "signature": _SIGNATURE},
    "train.plain": {"update": Field(LARGEST_UPDATE, 1, large=True), "signature": _SIGNATURE},
}
"""What a device may answer to each."""


@dataclass(frozen=True)
class Parcel:
    """One message, in neither side's own objects."""

    kind: str
    fields: Mapping[str, bytes] = field(repr=False)

    def __getitem__(self, name: str) -> bytes:
        return self.fields[name]

    def get(self, name: str) -> bytes | None:
        """Return an optional field."""
        return self.fields.get(name)


def checked(kind: str, fields: Mapping[str, bytes], forms: Mapping[str, Mapping[str, Field]]) -> Parcel:
    """Return the message if it has the fields of its kind, each in its size.

    Args:
        kind: the type of the message.
        fields: by name.
        forms: :data:`ASKS` or :data:`REPLIES`.

    Raises:
        ParcelRefused: it is of another kind or form.
    """
    form = forms.get(kind)
    if form is None:
        raise ParcelRefused(f"a message of type '{kind[:40]}' is none of {', '.join(forms)}")
    unknown = set(fields) - set(form)
    missing = {name for name, one in form.items() if not one.optional} - set(fields)
    if unknown or missing:
        what = f"lacks {', '.join(sorted(missing))}" if missing else "has fields that were not agreed"
        raise ParcelRefused(f"a message of type '{kind}' {what}")
    for name, value in fields.items():
        if not form[name].least <= len(value) <= form[name].most:
            raise ParcelRefused(
                f"'{name}' of a '{kind}' has {len(value):,} bytes, agreed are up to {form[name].most:,}"
            )
    return Parcel(kind, fields)


BODIES: Mapping[str, str] = {
    kind: next(name for name in form if name != "signature") for kind, form in REPLIES.items() if len(form) > 1
}
"""Which field of an answer is signed, by kind; of ``query.agree`` it is what both sides know and nobody sends."""


def _signed(kind: str, plan_hash: str, body: bytes | bytearray) -> bytes:
    return f"fedpersona reply 1\n{kind}\n{plan_hash}\n{hashlib.sha256(body).hexdigest()}".encode()


def sign_reply(kind: str, plan_hash: str, body: bytes | bytearray, key: Ed25519PrivateKey) -> bytes:
    """Sign what a device answers, bound to the kind of message and the plan."""
    return key.sign(_signed(kind, plan_hash, body))


def verify_reply(kind: str, plan_hash: str, body: bytes | bytearray, signature: bytes, key: bytes) -> None:
    """Check that the device with this enrolled key made the answer, for this very plan.

    Raises:
        ReplyUnsigned: it did not.
    """
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, _signed(kind, plan_hash, body))
    except (InvalidSignature, ValueError):
        raise ReplyUnsigned(f"a '{kind}' is not signed by the device it is said to be from") from None
