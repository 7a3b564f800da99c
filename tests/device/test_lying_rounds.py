"""A real device in the five exchanges of a round, at a server that lies in one of them.

Each lie is refused, told, and written down; what had left before stays the last that leaves; no secret is left.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedpersona.privacy.secagg.keys import PrivateKey
from fedpersona.privacy.secagg.messages import (
    agreed,
    encode_delivered,
    encode_signatures,
    encode_view,
)
from fedpersona.privacy.secagg.roster import Entry, Head
from fedpersona.privacy.secagg.survivors import bits_of, encoded_bits
from fedpersona.simulation.simulated_device import signing_key
from fedpersona.wire.parcel import sign_reply
from fedpersona.wire.signed_roster import sign_roster
from tests.device.network import OPERATOR, SERVER, Rounds, in_rounds, new_plan, noes, stand_in, visited
from tests.device.one_server import AGREE, ENTER, SHARE, STEPS, UNMASK, UPDATE, Fields, Lie, OneServer


@pytest.fixture(autouse=True)
def web(monkeypatch):
    stand_in(monkeypatch)


# -- lies about the roster --


def signer(place: int) -> Ed25519PrivateKey:
    """Return the key of one of the crowd, by its place in the roster."""
    return signing_key(1, place if place < 4 else place - 1)


def entry(one: OneServer, place: int, keys: bytes, *, plan_hash: str | None = None) -> Entry:
    """Return an entry of one of the crowd, signed by it."""
    return replace(
        one.entries[place], keys=keys, signature=sign_reply(ENTER, plan_hash or one.hash, keys, signer(place))
    )


def instead(make: Callable[[OneServer], Entry]) -> Lie:
    """Close the roster with another entry in the place of a neighbour's."""
    return lambda one, _: one.shows([*one.entries[:5], make(one), *one.entries[6:]])


def viewed(make: Callable[[OneServer, bytes], bytes]) -> Lie:
    """Show something else of the honest roster."""
    return lambda one, fields: {**fields, "view": make(one, fields["view"])}


def headed(make: Callable[[OneServer], Head], key: Ed25519PrivateKey = OPERATOR, plan_hash: str | None = None) -> Lie:
    def lie(one: OneServer, fields: Fields) -> Fields:
        head = make(one).encode()
        return {**fields, "roster": head, "signature": sign_roster(head, plan_hash or one.hash, key)}

    return lie


def honest_head(one: OneServer) -> Head:
    return Head.decode(one.server._closed().head.encode())


def fresh_keys() -> bytes:
    return b"".join(PrivateKey(1 << 254 | 8 * number).public for number in (12_345, 67_890))


SPARSE = {"neighbours": 4, "threshold": 3}

ROSTERS: dict[str, tuple[Lie, dict, str]] = {
    "two entries the same": (instead(lambda one: one.entries[6]), {}, "names a device twice"),
    "one device with two keys": (
        instead(lambda one: replace(entry(one, 6, fresh_keys()))),
        {},
        "names a device twice",
    ),
    "one key of two devices": (instead(lambda one: entry(one, 5, one.entries[6].keys)), {}, "names a key twice"),
    "the device's own keys as another's": (
        instead(lambda one: entry(one, 5, one.entries[4].keys)),
        {},
        "names a key twice",
    ),
    "the device itself as its neighbour": (instead(lambda one: one.entries[4]), {}, "names a device twice"),
    "a key of zeros": (instead(lambda one: entry(one, 5, bytes(64))), {}, "is no key"),
    "a key of low order": (
        instead(lambda one: entry(one, 5, one.entries[5].c + b"\1" + bytes(31))),
        {},
        "is no key",
    ),
    "a key of two spellings": (
        instead(lambda one: entry(one, 5, one.entries[5].c + (2**255 - 19 + 9).to_bytes(32, "little"))),
        {},
        "is no key",
    ),
    "keys that the server made": (
        instead(lambda one: replace(one.entries[5], keys=fresh_keys())),
        {},
        "not signed by it",
    ),
    "keys of another plan": (
        instead(lambda one: entry(one, 5, fresh_keys(), plan_hash="0" * 64)),
        {},
        "not signed by it, for this plan",
    ),
    "keys without a signature": (instead(lambda one: replace(one.entries[5], signature=bytes(64))), {}, "not signed"),
    "seven devices": (lambda one, _: one.shows(one.entries[:7]), {}, "roster has 7 devices, the plan says 8"),
    "more than the cohort": (lambda one, fields: fields, {"cohort": 9}, "has 10 devices, the plan says 8 to 9"),
    "more than any": (headed(lambda one: Head(2**32 - 1, honest_head(one).root)), {}, "roster has 4,294,967,295"),
    "smaller than it is": (headed(lambda one: Head(9, honest_head(one).root)), {}, "shows 9 neighbours"),
    "another root": (headed(lambda one: Head(10, bytes(32))), {}, "does not stand in the roster"),
    "without this device": (
        lambda one, _: one.shows([*one.entries[:4], *one.entries[5:]]),
        {},
        "does not stand in the roster",
    ),
    "another's place": (lambda one, _: one.shows(one.entries, 5), {}, "does not stand in the roster"),
    "a place beyond": (viewed(lambda one, view: (10).to_bytes(4, "little") + view[4:]), {}, "no such place"),
    "a neighbour left out": (
        viewed(lambda one, view: encode_view(4, [*one.entries[:4], *one.entries[5:9]], b"")),
        {},
        "shows 8 neighbours, the roster says 9",
    ),
    "neighbours in another order": (
        viewed(lambda one, view: encode_view(4, [*one.entries[:4], *reversed(one.entries[5:])], b"")),
        {},
        "does not stand in the roster",
    ),
    "neighbours of the server's choice": (
        viewed(lambda one, view: encode_view(4, [one.entries[at] for at in _others(one)], b"")),
        SPARSE,
        "does not stand in the roster",
    ),
    "a proof that is cut": (viewed(lambda one, view: view[:-1]), SPARSE, "does not stand in the roster"),
    "a proof that goes on": (viewed(lambda one, view: view + bytes(32)), SPARSE, "does not stand in the roster"),
    "a proof of something else": (viewed(lambda one, view: view[:-32] + bytes(32)), SPARSE, "does not stand"),
    "nothing of it": (viewed(lambda one, view: bytes(166)), {}, "another form than agreed"),
    "an entry that is cut": (viewed(lambda one, view: view[:-1]), {}, "another form than agreed"),
    "by another key": (headed(honest_head, key=Ed25519PrivateKey.generate()), {}, "not signed by the operator's key"),
    "for another plan": (headed(honest_head, plan_hash="0" * 64), {}, "not signed by the operator's key"),
    "unsigned": (lambda one, fields: {**fields, "signature": bytes(64)}, {}, "not signed by the operator's key"),
}


def _others(one: OneServer) -> list[int]:
    """Return the places of the device's neighbours, but another's in place of the first."""
    first, *rest = one.server._neighbours[4]
    return [next(place for place in range(10) if place not in (4, first, *rest)), *rest]


def shares_of(make: Callable[[dict[int, bytes], tuple[int, ...]], bytes]) -> Lie:
    """Deliver something else of what the neighbours sealed."""

    def lie(one: OneServer, fields: Fields) -> Fields:
        others = one.server._neighbours[one.place]
        return {**fields, "shares": make({place: one.server._sealed[place][one.place] for place in others}, others)}

    return lie


def _some(sealed: dict[int, bytes], count: int) -> dict[int, bytes]:
    return dict(list(sealed.items())[:count])


SHARES: dict[str, tuple[Lie, dict, str]] = {
    "of too few": (
        shares_of(lambda sealed, others: encode_delivered(_some(sealed, 6), others)),
        {},
        "6 of this device's neighbours are left in the round, it needs 7",
    ),
    "of nobody": (shares_of(lambda sealed, others: bytes(2)), {}, "0 of this device's neighbours are left"),
    "cut": (shares_of(lambda sealed, others: encode_delivered(sealed, others)[:-1]), {}, "another form"),
    "too long": (shares_of(lambda sealed, others: encode_delivered(sealed, others) + b"\0"), {}, "another form"),
    "of one beyond the last": (
        shares_of(lambda sealed, others: b"\xff\x03" + b"".join(sealed.values()) + bytes(80)),
        {},
        "another form",
    ),
}


def survivors(make: Callable[[set[int]], set[int]], size: int = 10) -> Lie:
    """Say that others are in the sum."""
    return lambda one, fields: {
        **fields,
        "survivors": encoded_bits(make(set(bits_of(fields["survivors"], 10))), size),
    }


SURVIVORS: dict[str, tuple[Lie, dict, str]] = {
    "without this device": (survivors(lambda found: found - {4}), {}, "this device is not in the sum"),
    "of seven": (survivors(lambda found: found - {0, 1, 2}), {}, "the sum would be of 7 devices, the plan says 8"),
    "of this device alone": (survivors(lambda found: {4}), {}, "the sum would be of 1 devices"),
    "of nobody": (survivors(lambda found: set()), {}, "this device is not in the sum"),
    "with one beyond the last": (survivors(lambda found: found | {10}, 11), {}, "another form than agreed"),
    "too long": (survivors(lambda found: found, 17), {}, "another form than agreed"),
    "cut": (lambda one, fields: {**fields, "survivors": fields["survivors"][:-1]}, {}, "another form than agreed"),
    "with one that had left before": (
        survivors(lambda found: found | {9}),
        {"gone": {UPDATE: 1}},
        "which, by its own word, had left",
    ),
}


def signatures(make: Callable[[OneServer, dict[int, bytes]], dict[int, bytes] | bytes]) -> Lie:
    """Show other signatures under the list of who is in the sum."""

    def lie(one: OneServer, fields: Fields) -> Fields:
        made = make(one, {place: signature for place, signature in one.server._signed.items() if place != one.place})
        return {**fields, "signatures": made if isinstance(made, bytes) else encode_signatures(made)}

    return lie


def under(one: OneServer, place: int, *, without: int | None = None, plan_hash: str | None = None) -> bytes:
    """Return a neighbour's true signature, under a list without somebody or for another plan."""
    members = one.server.summed - {without}
    body = agreed(one.server._roster, encoded_bits(members, 10))
    return sign_reply(AGREE, plan_hash or one.hash, body, signer(place))


SIGNATURES: dict[str, tuple[Lie, dict, str]] = {
    "of nobody": (signatures(lambda one, signed: b""), {}, "0 neighbours saw the list"),
    "of one too few": (signatures(lambda one, signed: _some(signed, 6)), {}, "6 neighbours saw the list .* it takes 7"),
    "with one that is noise": (signatures(lambda one, signed: signed | {7: bytes(64)}), {}, "for another list"),
    "with one under another list": (
        signatures(lambda one, signed: signed | {7: under(one, 7, without=9)}),
        {},
        "for another list",
    ),
    "all under a list without somebody": (
        signatures(lambda one, signed: {place: under(one, place, without=9) for place in (*range(4), 5, 6, 7, 8)}),
        {},
        "for another list",
    ),
    "for another plan": (
        signatures(lambda one, signed: {place: under(one, place, plan_hash="0" * 64) for place in signed}),
        {},
        "for another list",
    ),
    "of other devices than it says": (
        signatures(lambda one, signed: dict(zip(signed, [*list(signed.values())[1:], signed[0]], strict=True))),
        {},
        "for another list",
    ),
    "with its own": (signatures(lambda one, signed: {4: one.server._signed[4]} | signed), {}, "of no neighbour"),
    "with one beyond the last": (
        signatures(lambda one, signed: {2**32 - 1: bytes(64)} | signed),
        {},
        "of no neighbour",
    ),
    "with one of a device that is not in the sum": (
        signatures(lambda one, signed: {9: under(one, 9)} | signed),
        {"gone": {AGREE: 1}},
        "of no neighbour that is in it",
    ),
    "with one twice": (
        signatures(lambda one, signed: encode_signatures(signed) + encode_signatures(_some(signed, 1))),
        {},
        "another form",
    ),
    "cut": (signatures(lambda one, signed: encode_signatures(signed)[:-1]), {}, "another form than agreed"),
}

LIES = [
    pytest.param(kind, *lie, id=f"{kind}: {name}")
    for kind, lies in {SHARE: ROSTERS, UPDATE: SHARES, AGREE: SURVIVORS, UNMASK: SIGNATURES}.items()
    for name, lie in lies.items()
]


@pytest.mark.parametrize(("kind", "lie", "changes", "words"), LIES)
def test_a_lie_is_refused_told_and_written_down_once_and_nothing_more_leaves(
    kind, lie, changes, words, consenting, drawn
):
    changes = dict(changes)
    gone = changes.pop("gone", None)
    refused, sent = len(noes(consenting)), len(consenting.ledger.contributions(SERVER))
    rounds = Rounds(new_plan(**changes), lies={kind: lie}, gone=gone)
    told = visited(consenting, in_rounds(rounds))
    assert rounds.kinds == list(STEPS[: STEPS.index(kind)])
    assert rounds.refusals == ["plan"]
    (entry,) = noes(consenting)[refused:]
    contributed = "contributed to 1 round, then: " if kind in (AGREE, UNMASK) else "not contributed: "
    assert told.startswith(contributed)
    assert told.removeprefix(contributed) in entry
    assert re.search(words, told)
    assert len(consenting.ledger.contributions(SERVER)) - sent == (kind in (AGREE, UNMASK))
    if kind in (AGREE, UNMASK):
        assert consenting.ledger.contributions(SERVER)[-1].outcome == "delivered"
    assert drawn.numbers
    assert drawn.alive() == 0
