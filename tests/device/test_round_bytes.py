"""What masks cost beside the update: with eighty neighbours 9 kB up and 23 kB down, to the byte."""

from __future__ import annotations

import pytest

from fedpersona.wire.parcel import ASKS, BODIES, REPLIES, checked
from tests.device.network import Rounds, in_rounds, new_plan, stand_in, visited
from tests.device.one_server import AGREE, ENTER, SHARE, STEPS, UNMASK, UPDATE, OneServer


@pytest.fixture(autouse=True)
def web(monkeypatch):
    stand_in(monkeypatch)


def sizes(fields) -> int:
    return sum(len(value) for value in fields.values())


ROUNDS = {
    "eighty neighbours, all others": ({"neighbours": 80, "threshold": 57}, (40, 40)),
    "nine neighbours, all others": ({"neighbours": 80, "threshold": 57}, (4, 5)),
    "some of many": ({"neighbours": 8, "threshold": 6}, (20, 19)),
}


@pytest.mark.parametrize("name", ROUNDS)
def test_every_message_beside_the_update_has_the_size_that_follows_from_the_number_of_neighbours(
    name, consenting, monkeypatch
):
    changes, others = ROUNDS[name]
    monkeypatch.setattr("tests.device.network.OneServer", lambda *a, **b: OneServer(*a, others=others, **b))
    rounds = Rounds(new_plan(**changes))
    assert visited(consenting, in_rounds(rounds)) == "contributed to 1 round"
    up = {kind: dict(fields) for kind, fields in rounds.answers}
    down = {kind: rounds.round.asks(kind) for kind in STEPS[1:]}
    devices, degree = sum(others) + 1, len(rounds.round.server._neighbours[others[0]])
    bits, needed = -(-degree // 8), rounds.round.server._needed(others[0])

    signature = 64
    assert {name: len(value) for name, value in up[ENTER].items()} == {"keys": 64, "signature": signature}
    assert {name: len(value) for name, value in up[SHARE].items()} == {"sealed": 32 + 80 * degree, "signature": 64}
    assert {name: len(value) for name, value in up[AGREE].items()} == {"signature": signature}
    assert {name: len(value) for name, value in up[UNMASK].items()} == {
        "shares": bits + 32 * degree,
        "signature": signature,
    }
    assert len(up[UPDATE]["signature"]) == signature
    words = rounds.round.layout.size * 4
    assert 0 < len(up[UPDATE]["update"]) - words < 512, "and the update is one word a number, with a short header"

    plan_hash = 64
    hashes, rest = divmod(sizes(down[SHARE]) - (plan_hash + 36 + signature + 6 + 160 * degree), 32)
    assert rest == 0
    assert hashes <= degree * devices.bit_length(), "what shows that neighbours stand in the roster"
    assert (hashes == 0) == (degree == devices - 1)
    assert sizes(down[UPDATE]) == plan_hash + bits + 80 * degree
    assert sizes(down[AGREE]) == plan_hash + -(-devices // 8)
    assert sizes(down[UNMASK]) == plan_hash + 68 * needed

    beside = sum(sizes(fields) for kind, fields in up.items() if kind != UPDATE)
    if degree == 80:
        assert beside == 128 + (32 + 6400 + 64) + 64 + (10 + 2560 + 64) == 9322
        assert sum(map(sizes, down.values())) == 4 * 64 + (36 + 64 + 12_806) + 6410 + 11 + 57 * 68 == 23_459


def test_the_largest_messages_that_were_agreed_have_room_for_as_many_neighbours_as_a_plan_can_ask_for():
    most = 1024 + 128  # neighbours: as many on average, and some more
    bits = -(-most // 8)
    for kind, fields in {
        SHARE: {"sealed": 32 + 80 * most, "signature": 64},
        UNMASK: {"shares": bits + 32 * most, "signature": 64},
    }.items():
        checked(kind, {name: bytes(size) for name, size in fields.items()}, REPLIES)
    view = {"plan_hash": 64, "roster": 36, "signature": 64, "view": 6 + (160 + 32 * 5) * most}
    for kind, fields in {
        SHARE: view,
        UPDATE: {"plan_hash": 64, "shares": bits + 80 * most},
        UNMASK: {"plan_hash": 64, "signatures": 68 * most},
    }.items():
        checked(kind, {name: bytes(size) for name, size in fields.items()}, ASKS)
    assert set(BODIES) == {ENTER, SHARE, UPDATE, UNMASK, "train.plain"}
