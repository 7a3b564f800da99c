"""A server that lies to devices about the roster: what it shows either fits everybody's, or gets no answer."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedpersona.errors import CohortTooSmall, ParcelRefused, PlanRefused
from fedpersona.privacy.secagg import DeviceRound, Parameters
from fedpersona.privacy.secagg.graph import everyone
from fedpersona.privacy.secagg.keys import PrivateKey, digest
from fedpersona.privacy.secagg.messages import encode_delivered, encode_view
from fedpersona.privacy.secagg.roster import Entry, Roster
from fedpersona.wire.parcel import sign_reply
from tests.privacy.secagg.points import LOW_ORDER, PRIME, encoded, twins
from tests.privacy.secagg.rounds import COMPLETE, PLAN, SPARSE, Person, Round, after
from tests.privacy.secagg.secrets_left import left_in, secrets_of

SERVER = Ed25519PrivateKey.from_private_bytes(bytes(32))
"""A key that a server made up."""


def refused(machine: DeviceRound, head: bytes, view: bytes, why: str) -> None:
    secrets = secrets_of(machine)
    with pytest.raises(PlanRefused, match=why):
        machine.share(head, view)
    assert machine.finished
    assert not left_in(machine, secrets)


def shown(entries: list[Entry], neighbours: int = 8, place: int = 0, plan: str = PLAN) -> tuple[bytes, bytes]:
    """What a device is shown of a roster that a server made up: all of it fits together."""
    roster = Roster(tuple(entries))
    others = everyone(roster.head.hash(plan), len(entries), neighbours)[place]
    view = encode_view(place, [entries[other] for other in others], roster.proof({place, *others}))
    return roster.head.encode(), view


def signed(key: Ed25519PrivateKey, c: bytes, s: bytes, plan: str = PLAN, kind: str = "query.enter") -> Entry:
    """An entry as its device would sign it: also what no honest one would."""
    return Entry(key.public_key().public_bytes_raw(), c + s, sign_reply(kind, plan, c + s, key))


def entered() -> tuple[Round, list[Entry], Person]:
    round_ = after("enter")
    return round_, list(round_.server._entered), round_.people[1]


def test_what_an_honest_server_shows_is_taken():
    """The others here are refused for what is wrong with them, not for how they are shown."""
    round_, entries, _ = entered()
    head, view = shown(entries)
    assert (head, view) == (round_.head, round_.server.view(0))
    assert round_.people[0].machine.share(head, view)


# -- keys that a device did not sign for this plan --

FORGED: dict[str, Callable[[Entry, Person], Entry]] = {
    "no signature": lambda old, person: Entry(old.identity, old.keys, bytes(64)),
    "signed by the server": lambda old, person: Entry(
        old.identity, old.keys, sign_reply("query.enter", PLAN, old.keys, SERVER)
    ),
    "the server's keys": lambda old, person: Entry(
        old.identity, PrivateKey(1 << 254).public + PrivateKey(1 << 254 | 8).public, old.signature
    ),
    "another c": lambda old, person: Entry(old.identity, PrivateKey(1 << 254).public + old.s, old.signature),
    "another s": lambda old, person: Entry(old.identity, old.c + PrivateKey(1 << 254).public, old.signature),
    "c and s exchanged": lambda old, person: Entry(old.identity, old.s + old.c, old.signature),
    "replayed from another plan": lambda old, person: signed(person.key, old.c, old.s, plan="cd" * 32),
    "signed as something else": lambda old, person: signed(person.key, old.c, old.s, kind="query.agree"),
    "another's signature": lambda old, person: Entry(SERVER.public_key().public_bytes_raw(), old.keys, old.signature),
    "no identity": lambda old, person: Entry(bytes(32), old.keys, old.signature),
}


@pytest.mark.parametrize("lie", FORGED)
def test_keys_that_their_device_did_not_sign_for_this_plan_are_refused(lie):
    round_, entries, person = entered()
    entries[1] = FORGED[lie](entries[1], person)
    refused(round_.people[0].machine, *shown(entries), "not signed by it, for this plan")


# -- keys that would undo masks, signed by a device that works with the server --

SPOILT = [
    *((f"low order {number}", "is no key", point) for number, point in enumerate(LOW_ORDER)),
    ("above the prime", "is no key", encoded(PRIME + 9)),
    ("bit 255", "is no key", encoded(2**255 + 9)),
]


@pytest.mark.parametrize("which", ["c", "s"])
@pytest.mark.parametrize(("lie", "why", "point"), SPOILT, ids=[name for name, _, _ in SPOILT])
def test_keys_that_agree_on_nothing_are_refused_though_they_are_signed(which, lie, why, point):
    round_, entries, person = entered()
    c, s = (point, entries[1].s) if which == "c" else (entries[1].c, point)
    entries[1] = signed(person.key, c, s)
    refused(round_.people[0].machine, *shown(entries), why)


@pytest.mark.parametrize("which", ["c", "s"])
@pytest.mark.parametrize("whose", ["another's", "the device's own"])
@pytest.mark.parametrize("number", range(8))
def test_a_key_of_the_same_effect_as_another_is_refused_though_it_is_signed(which, whose, number):
    """Itself, and the seven that differ from it by a point of low order."""
    round_, entries, person = entered()
    copied = entries[2 if whose == "another's" else 0]
    key = [copied.c if which == "c" else copied.s]
    key += twins(key[0])
    c, s = (key[number], entries[1].s) if which == "c" else (entries[1].c, key[number])
    entries[1] = signed(person.key, c, s)
    refused(round_.people[0].machine, *shown(entries), "a key twice")


def test_a_server_takes_none_of_these_keys_from_a_device_either():
    round_, entries, _ = entered()
    known, kind = entries[2], "another device entered with"
    stranger = Ed25519PrivateKey.from_private_bytes(b"\2" * 32)
    fresh = PrivateKey(1 << 254 | 64).public
    for point in [*LOW_ORDER, encoded(PRIME + 9), encoded(2**255 + 9)]:
        for c, s in ((point, fresh), (fresh, point)):
            entry = signed(stranger, c, s)
            with pytest.raises(ParcelRefused, match="nobody could mask with"):
                round_.server.enter(entry.identity, entry.keys, entry.signature)
    for point in [known.c, known.s, *twins(known.c), *twins(known.s)]:
        for c, s in ((point, fresh), (fresh, point)):
            entry = signed(stranger, c, s)
            with pytest.raises(ParcelRefused, match=kind):
                round_.server.enter(entry.identity, entry.keys, entry.signature)
    for other in [fresh, *twins(fresh)]:
        entry = signed(stranger, fresh, other)
        with pytest.raises(ParcelRefused, match="nobody could mask with"):
            round_.server.enter(entry.identity, entry.keys, entry.signature)
    again = signed(round_.people[3].key, fresh, PrivateKey(1 << 254 | 128).public)
    with pytest.raises(ParcelRefused, match=kind):
        round_.server.enter(again.identity, again.keys, again.signature)
    with pytest.raises(ParcelRefused, match="another size"):
        round_.server.enter(again.identity, again.keys[:-1], again.signature)
    for plan in ("cd" * 32, ""):
        entry = signed(stranger, fresh, PrivateKey(1 << 254 | 128).public, plan=plan)
        with pytest.raises(ParcelRefused, match="not signed"):
            round_.server.enter(entry.identity, entry.keys, entry.signature)
    entry = signed(stranger, fresh, PrivateKey(1 << 254 | 128).public)
    assert round_.server.enter(entry.identity, entry.keys, entry.signature) == len(entries)


# -- devices that stand where they do not --


def test_a_device_that_is_named_twice_is_refused():
    """With other keys each time, signed by it: two of its voices would count as two devices."""
    round_, entries, person = entered()
    entries[2] = signed(person.key, PrivateKey(1 << 254).public, PrivateKey(1 << 254 | 8).public)
    refused(round_.people[0].machine, *shown(entries), "names a device twice")


def test_a_device_that_is_named_as_its_own_neighbour_is_refused():
    round_, entries, _ = entered()
    entries[2] = signed(round_.people[0].key, PrivateKey(1 << 254).public, PrivateKey(1 << 254 | 8).public)
    refused(round_.people[0].machine, *shown(entries), "names a device twice")


def test_a_roster_in_which_a_device_has_other_keys_or_is_another_is_refused():
    for lie in ("other keys", "another", "other keys that it signed before"):
        round_, entries, _ = entered()
        key = round_.people[0].key
        fresh = PrivateKey(1 << 254).public, PrivateKey(1 << 254 | 8).public
        entries[0] = {
            "other keys": Entry(entries[0].identity, b"".join(fresh), entries[0].signature),
            "another": signed(SERVER, *fresh),
            "other keys that it signed before": signed(key, *fresh),
        }[lie]
        refused(round_.people[0].machine, *shown(entries), "does not stand in the roster where the server says")


@pytest.mark.parametrize("graph", [COMPLETE, SPARSE], ids=["complete", "sparse"])
def test_a_device_that_is_shown_at_another_place_refuses(graph):
    for place in range(1, graph[0] + 2):
        round_ = after("enter", graph)
        view = round_.server.view(place % graph[0])
        at = place.to_bytes(4, "little")
        refused(round_.people[0].machine, round_.head, at + view[4:], "where the server says|no such place|neighbours")


def test_a_device_that_is_shown_anothers_view_refuses():
    for place in range(1, 9):
        round_ = after("enter")
        refused(round_.people[0].machine, round_.head, round_.server.view(place), "where the server says")


VIEWS: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "neighbours in another order": (lambda view: view[:6] + view[166:326] + view[6:166] + view[326:], "stand"),
    "a neighbour twice": (lambda view: view[:6] + view[6:166] * 2 + view[326:], "stand"),
    "a neighbour fewer": (lambda view: view[:4] + b"\7\0" + view[166:], "shows 7 neighbours, the roster says 8"),
    "a neighbour more": (lambda view: view[:4] + b"\t\0" + view[6:166] + view[6:], "shows 9 neighbours"),
    "none": (lambda view: view[:4] + b"\0\0" + view[6:], "another form"),
    "a longer proof": (lambda view: view + bytes(32), "stand"),
    "a byte more": (lambda view: view + b"\0", "stand"),
    "a byte less": (lambda view: view[:-1], "stand|another form"),
    "another identity": (lambda view: view[:6] + bytes(32) + view[38:], "stand"),
}


@pytest.mark.parametrize("lie", VIEWS)
def test_entries_that_are_not_those_of_the_roster_are_refused(lie):
    round_ = after("enter")
    change, why = VIEWS[lie]
    refused(round_.people[0].machine, round_.head, change(round_.server.view(0)), why)


@pytest.mark.parametrize("lie", ["bit", "shorter", "longer", "nothing", "hashes exchanged"])
def test_a_proof_that_does_not_fit_is_refused(lie):
    for bit in range(0, 1000, 97):
        round_ = after("enter", SPARSE)
        view = round_.server.view(0)
        start = 6 + 160 * int.from_bytes(view[4:6], "little")
        proof = view[start:]
        assert len(proof) >= 64
        changed = {
            "bit": (int.from_bytes(proof, "little") ^ 1 << bit % (8 * len(proof))).to_bytes(len(proof), "little"),
            "shorter": proof[:-32],
            "longer": proof + proof[:32],
            "nothing": b"",
            "hashes exchanged": proof[32:64] + proof[:32] + proof[64:],
        }[lie]
        refused(round_.people[0].machine, round_.head, view[:start] + changed, "where the server says")
        if lie != "bit":
            break


# -- lower floors --


@pytest.mark.parametrize(("size", "least", "most", "taken"), [(9, 9, 9, True), (9, 10, 20, False), (9, 3, 8, False)])
def test_a_roster_smaller_or_larger_than_the_plan_says_is_refused(size, least, most, taken):
    _, entries, person = entered()
    machine = DeviceRound(PLAN, COMPLETE[1], least=least, most=most, identity=person.identity)
    keys = machine.advertise()
    entries[1] = signed(person.key, keys[:32], keys[32:])
    head, view = shown(entries, place=1)
    if taken:
        assert machine.share(head, view)
    else:
        refused(machine, head, view, f"the roster has 9 devices, the plan says {least} to {most}")


@pytest.mark.parametrize(("least_neighbours", "taken"), [(0, True), (8, True), (9, False), (100, False)])
def test_a_graph_with_fewer_neighbours_than_a_device_wants_is_refused(least_neighbours, taken):
    """What it wants is at most all others: then it is content with a roster that is small."""
    round_ = after("enter", SPARSE)
    place = next(place for place in range(30) if len(round_.neighbours(place)) == 8)
    machine = round_.people[place].machine
    machine._least_neighbours = least_neighbours
    if taken:
        assert machine.share(round_.head, round_.server.view(place))
    else:
        why = f"would mask with 8 others, it wants {least_neighbours} or more"
        refused(machine, round_.head, round_.server.view(place), why)
    round_ = after("enter", COMPLETE)
    round_.people[0].machine._least_neighbours = least_neighbours
    assert round_.people[0].machine.share(round_.head, round_.server.view(0))


@pytest.mark.parametrize("least", [0, 1, 2])
@pytest.mark.parametrize("size", [1, 2])
def test_a_roster_of_one_or_two_is_refused_though_the_plan_says_they_are_enough(least, size):
    machine = DeviceRound(PLAN, COMPLETE[1], least=least, most=9, identity=SERVER.public_key().public_bytes_raw())
    keys = machine.advertise()
    _, entries, _ = entered()
    mine = signed(SERVER, keys[:32], keys[32:])
    roster = Roster((mine, *entries[: size - 1]))
    others = range(1, size)
    view = encode_view(0, [roster.entries[other] for other in others] or [mine], roster.proof({0, *others}))
    refused(machine, roster.head.encode(), view, "the plan says 3 to 9")


def test_no_server_begins_with_fewer_than_three_though_the_plan_says_they_are_enough():
    for least in (0, 1, 2):
        with pytest.raises(CohortTooSmall):
            Round(2, COMPLETE[1], least=least).run()


def test_a_server_that_shows_the_graph_of_another_degree_or_another_plan_is_refused():
    """Degree and threshold are those that the device read in the signed plan: it draws the graph for itself."""
    round_ = after("enter", SPARSE)
    entries = list(round_.server._entered)
    for neighbours, plan in ((6, PLAN), (10, PLAN), (4, PLAN), (8, "cd" * 32)):
        machine = after("enter", SPARSE).people[0].machine
        refused(machine, *shown(entries, neighbours, plan=plan), "neighbours, the roster says|where the server says")


def test_a_threshold_that_a_device_did_not_read_in_its_plan_recovers_nothing():
    """The server counts with 5 of 8, the devices shared for 7 of 8."""
    round_ = Round(9, Parameters(8, 7))
    round_.server._parameters = Parameters(8, 5)
    round_.run(until="share")
    assert all(len(person.machine._secrets.masking) == 8 for person in round_.people)
    sealed = {other: round_.server._sealed[other][0] for other in range(1, 7)}
    delivered = encode_delivered(sealed, round_.neighbours(0))
    with pytest.raises(PlanRefused, match="it needs 7"):
        round_.people[0].machine.mask(np.zeros(8, "<u4"), delivered)


def test_masks_are_of_one_plan_and_one_roster():
    """Plan, round and model are in the plan's hash, and it is in the roster's."""
    head = Roster(tuple(entered()[1])).head
    assert head.hash(PLAN) != head.hash("cd" * 32)
    assert head.hash(PLAN) == digest(b"roster", PLAN.encode(), head.encode())
