"""What a device can send that is wrong, at each exchange in which it sends something."""

from __future__ import annotations

from collections.abc import Callable, Collection
from secrets import token_bytes

from fedpersona.privacy.secagg.keys import SEALED, PrivateKey, committed, seal
from fedpersona.privacy.secagg.messages import encode_shares
from fedpersona.privacy.secagg.shamir import PRIME, encode_element, split
from tests.privacy.secagg.rounds import Round, Tamper


def dealt(
    round_: Round, place: int, b: int, s: int, *, needed: int | None = None, spoil: Collection[int] = ()
) -> bytes:
    """Sealed shares as a device would deal them that shares other numbers, or to some others than on a polynomial."""
    machine = round_.people[place].machine
    secrets, others = machine._secrets, round_.neighbours(place)
    points = [other + 1 for other in others]
    lots = [split(number, points, needed or round_.needed(place), token_bytes) for number in (b, s)]
    sealed = b""
    for other, mine, theirs in zip(others, *lots, strict=True):
        wrong = other in spoil
        pair = encode_element((mine + wrong) % PRIME) + encode_element((theirs + wrong) % PRIME)
        sealed += seal(secrets.sealing[other], machine._roster, place, other, pair)
    return committed(secrets.b, machine._roster) + sealed


def truth_dealt(round_: Round, place: int, **how: object) -> bytes:
    secrets = round_.people[place].machine._secrets
    return dealt(round_, place, secrets.b, secrets.s.scalar, **how)


Lie = Callable[[Round, int, bytes], bytes]

SEALED_LIES: dict[str, Lie] = {
    "too short": lambda round_, place, sealed: sealed[:-1],
    "too long": lambda round_, place, sealed: sealed + bytes(SEALED),
    "nothing": lambda round_, place, sealed: b"",
    "undecryptable": lambda round_, place, sealed: sealed[:32] + token_bytes(len(sealed) - 32),
    "undecryptable to one": lambda round_, place, sealed: sealed[:-1] + bytes([sealed[-1] ^ 1]),
    "another commitment": lambda round_, place, sealed: token_bytes(32) + sealed[32:],
    "on no polynomial": lambda round_, place, sealed: truth_dealt(round_, place, needed=len(round_.neighbours(place))),
    "another b": lambda round_, place, sealed: dealt(round_, place, 7, round_.people[place].machine._secrets.s.scalar),
    "another s": lambda round_, place, sealed: dealt(
        round_, place, round_.people[place].machine._secrets.b, PrivateKey(1 << 254 | 512).scalar
    ),
    "wrong to one": lambda round_, place, sealed: truth_dealt(round_, place, spoil=round_.neighbours(place)[:1]),
}

SHARES_LIES: dict[str, Lie] = {
    "too short": lambda round_, place, shares: shares[:-1],
    "too long": lambda round_, place, shares: shares + bytes(32),
    "nothing": lambda round_, place, shares: b"",
    "no number of the field": lambda round_, place, shares: shares[:-32] + b"\xff" * 32,
    "omitted": lambda round_, place, shares: encode_shares({}, round_.neighbours(place)),
    "wrong": lambda round_, place, shares: encode_shares(
        {other: encode_element(int.from_bytes(token_bytes(31), "little")) for other in round_.neighbours(place)},
        round_.neighbours(place),
    ),
    "one wrong": lambda round_, place, shares: shares[:-32] + encode_element(7),
}

SIGNATURE_LIES: dict[str, Lie] = {
    "no signature": lambda round_, place, signature: bytes(64),
    "too short": lambda round_, place, signature: signature[:-1],
    "of another list": lambda round_, place, signature: round_.people[place].sign("query.agree", bytes(32)),
    "another's": lambda round_, place, signature: round_.person(99).sign("query.agree", round_.server.agreed),
}

LIES: dict[str, dict[str, Lie]] = {"sealed": SEALED_LIES, "shares": SHARES_LIES, "signature": SIGNATURE_LIES}


def lying(round_: Round, lies: dict[tuple[str, int], str], before: Tamper | None = None) -> Tamper:
    """Have devices tell lies, by message and place."""

    def tamper(name: str, place: int, message: bytes) -> bytes:
        message = before(name, place, message) if before else message
        lie = lies.get((name, place))
        return LIES[name][lie](round_, place, message) if lie else message

    return tamper
