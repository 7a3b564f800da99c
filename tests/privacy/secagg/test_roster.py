from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fedpersona.errors import PlanRefused
from fedpersona.privacy.secagg.keys import digest
from fedpersona.privacy.secagg.roster import HEAD, Entry, Head, Roster, root_of

PLAN = "ab" * 32


def entry(number: int) -> Entry:
    return Entry(digest(b"identity", bytes([number])), digest(b"c") + digest(bytes([number])), bytes(64))


ROSTERS = [Roster(tuple(entry(number) for number in range(size))) for size in range(1, 41)]


@st.composite
def views(draw):
    """A roster, the leaves of some places, and the proof of them."""
    roster = draw(st.sampled_from(ROSTERS))
    size = len(roster.entries)
    places = draw(st.sets(st.integers(0, size - 1), min_size=1, max_size=size))
    return roster, {place: roster.entries[place].leaf for place in places}, roster.proof(places)


@given(views())
def test_entries_stand_where_the_roster_says(view):
    roster, leaves, proof = view
    assert root_of(leaves, len(roster.entries), proof) == roster.head.root


@given(views(), st.data())
def test_another_leaf_is_in_no_place(view, data):
    roster, leaves, proof = view
    place = data.draw(st.sampled_from(sorted(leaves)))
    bit = data.draw(st.integers(0, 255))
    forged = (int.from_bytes(leaves[place], "little") ^ 1 << bit).to_bytes(32, "little")
    assert root_of(leaves | {place: forged}, len(roster.entries), proof) != roster.head.root


@given(views(), st.data())
def test_an_entry_is_in_no_other_place(view, data):
    roster, leaves, proof = view
    size = len(roster.entries)
    order = data.draw(st.permutations(range(size)))
    moved = {order[place]: leaf for place, leaf in leaves.items()}
    assume(any(roster.entries[place].leaf != leaf for place, leaf in moved.items()))
    assert root_of(moved, size, proof) != roster.head.root
    assert root_of(moved, size, roster.proof(moved)) != roster.head.root


@given(views(), st.data())
def test_a_proof_fits_to_the_bit(view, data):
    roster, leaves, proof = view
    size = len(roster.entries)
    assert root_of(leaves, size, proof + bytes(32)) is None
    assert root_of(leaves, size, proof + b"\0") is None
    if proof:
        assert root_of(leaves, size, proof[:-32]) is None
        assert root_of(leaves, size, proof[:-1]) is None
        bit = data.draw(st.integers(0, 8 * len(proof) - 1))
        forged = (int.from_bytes(proof, "little") ^ 1 << bit).to_bytes(len(proof), "little")
        assert root_of(leaves, size, forged) != roster.head.root


def test_what_is_in_no_place_or_nothing_has_no_root():
    roster = ROSTERS[4]
    leaf = roster.entries[0].leaf
    assert root_of({}, 5, b"") is None
    assert root_of({5: leaf}, 5, bytes(96)) is None
    assert root_of({-1: leaf}, 5, bytes(96)) is None


def test_a_leaf_is_never_an_inner_node_and_parts_are_never_read_otherwise():
    """RFC 6962, section 2.1: without it an inner node could pass for an entry."""
    one, other = digest(b"one"), digest(b"other")
    assert digest(b"leaf", one, other) != digest(b"node", one, other)
    assert digest(b"ab", b"c") != digest(b"a", b"bc")
    assert digest(b"a", b"") != digest(b"a") != digest(b"", b"a")


def test_the_root_is_that_of_rfc_6962():
    """Section 2.1: of five leaves the first four make a tree, the last one joins it."""
    a, b, c, d, e = (one.leaf for one in ROSTERS[4].entries)
    left = digest(b"node", digest(b"node", a, b), digest(b"node", c, d))
    assert ROSTERS[4].head.root == digest(b"node", left, e)
    assert ROSTERS[0].head.root == ROSTERS[0].entries[0].leaf == digest(b"leaf", entry(0).identity, entry(0).keys)


def test_rosters_of_any_length_have_roots_of_their_own():
    assert len({roster.head.root for roster in ROSTERS}) == len(ROSTERS)
    doubled = Roster((*ROSTERS[2].entries, ROSTERS[2].entries[-1]))  # the flaw of CVE-2012-2459
    assert doubled.head.root != ROSTERS[2].head.root


def test_identity_and_both_keys_are_in_the_leaf():
    found = entry(1)
    for other in (
        replace(found, identity=bytes(32)),
        replace(found, keys=bytes(32) + found.s),
        replace(found, keys=found.c + bytes(32)),
        replace(found, keys=found.s + found.c),
    ):
        assert other.leaf != found.leaf
    assert Entry.decode(found.encode()) == found
    assert len(found.encode()) == Entry.SIZE


def test_everything_of_a_round_is_bound_to_plan_size_and_entries():
    head = ROSTERS[6].head
    hashes = {
        head.hash(PLAN),
        head.hash("ac" * 32),
        replace(head, size=8).hash(PLAN),
        replace(head, root=bytes(32)).hash(PLAN),
    }
    assert len(hashes) == 4
    assert Head.decode(head.encode()) == head


@pytest.mark.parametrize("size", [0, HEAD - 1, HEAD + 1, 2 * HEAD])
def test_a_head_of_another_size_is_refused(size):
    with pytest.raises(PlanRefused, match="another form"):
        Head.decode(bytes(size))
