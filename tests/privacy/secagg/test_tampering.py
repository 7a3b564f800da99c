"""A message that was changed on its way, any of them: the sum is exact, or there is none.

Not among them are masked vectors: a word of one is as likely as any other, so at this level nobody can tell. The
device's signature over the whole answer does, one level up (``fedpersona.wire.parcel``).
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedpersona.errors import CohortTooSmall, DevicesLeft, SumSpoilt
from fedpersona.privacy.secagg import Parameters
from tests.privacy.secagg.rounds import Round

MESSAGES = (
    "keys",
    "entry signature",
    "head",
    "view",
    "sealed",
    "delivered",
    "survivors",
    "signature",
    "signatures",
    "shares",
)
TO_DEVICES = {"head", "view", "delivered", "survivors", "signatures"}
GRAPH = (7, Parameters(6, 4))


def exact_or_failed(round_: Round, gone: dict[str, set[int]]) -> bool:
    """Go through a round; return whether it came to a sum, which then is the exact one."""
    try:
        total = round_.run(gone)
    except (CohortTooSmall, DevicesLeft, SumSpoilt):
        return False
    assert np.array_equal(total, round_.truth())
    assert round_.server.count >= 3
    return True


def flipped(message: bytes, bit: int) -> bytes:
    return (int.from_bytes(message, "little") ^ 1 << bit % (8 * len(message))).to_bytes(len(message), "little")


@st.composite
def changes(draw):
    """One bit, or an end that is cut off, added, or replaced."""
    kind = draw(st.sampled_from(["bit", "bit", "bit", "cut", "added", "replaced", "nothing"]))
    number, junk = draw(st.integers(0, 2**16)), draw(st.binary(min_size=1, max_size=40))

    def change(message: bytes) -> bytes:
        if kind == "bit" and message:
            return flipped(message, number)
        if kind == "cut":
            return message[: max(0, len(message) - 1 - number % 100)]
        return {"added": message + junk, "replaced": message[: -len(junk)] + junk, "nothing": b""}.get(kind, junk)

    return change


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(MESSAGES), st.integers(0, 6), changes())
def test_one_message_that_is_changed_in_any_way_costs_one_device_at_most_or_the_round(name, place, change):
    """Only a changed commitment ends it: it is one to something else. Of what was delivered shares may be lost."""
    touched = []

    def tamper(message_name: str, at: int, message: bytes) -> bytes:
        if (message_name, at) != (name, place):
            return message
        changed = change(message)
        if changed != message:
            touched.append(at)
        return changed

    round_ = Round(*GRAPH, tamper=tamper)
    opened = exact_or_failed(round_, {})
    assert opened or name == "sealed"
    if not touched:
        assert opened
        assert round_.server.count == 7
    if touched and name in {*TO_DEVICES, "signature"} - {"delivered"}:
        assert set(round_.refusals) == {place}
    if opened:
        assert round_.server.count >= 6
        assert round_.nobody_gave_both()


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.dictionaries(st.tuples(st.sampled_from(MESSAGES), st.integers(0, 6)), changes(), min_size=2, max_size=8),
    st.dictionaries(
        st.sampled_from(["enter", "share", "train", "agree", "unmask"]), st.sets(st.integers(0, 6), max_size=2)
    ),
)
def test_many_messages_that_are_changed_while_devices_leave_never_make_a_wrong_sum(changed, gone):
    def tamper(name: str, place: int, message: bytes) -> bytes:
        change = changed.get((name, place))
        # A list of which neighbours shared has one bit each: to change one and the length with it is to lie, not to
        # damage. What that does is in test_equivocation.py.
        return change(message) if change and name != "delivered" else message

    round_ = Round(*GRAPH, tamper=tamper)
    exact_or_failed(round_, gone)
    assert round_.nobody_gave_both()


@pytest.mark.parametrize("name", sorted(TO_DEVICES | {"sealed", "shares", "signature", "keys"}))
def test_messages_of_two_devices_that_are_exchanged_are_not_taken_for_each_other(name):
    seen: dict[int, bytes] = {}

    def tamper(message_name: str, place: int, message: bytes) -> bytes:
        if message_name == name:
            seen[place] = message
            return seen.get(1, message) if place == 2 else message
        return message

    round_ = Round(*GRAPH, tamper=tamper)
    if name in {"head", "survivors"}:  # the same for all
        assert exact_or_failed(round_, {})
        assert round_.server.count == 7
    elif name in {"sealed", "shares"}:
        exact_or_failed(round_, {})
        assert 2 in round_.server.faulty | round_.server.suspected or 2 not in round_.summed
    else:
        assert exact_or_failed(round_, {})
        assert 2 in round_.refusals or round_.server.count == 6 or name == "delivered"
