"""No address takes all connections, and its networks are counted as one."""

from __future__ import annotations

import pytest

from fedpersona.aggregation.front.connections import Gate, _far


class Connection:
    def __init__(self, address: str, *, silent: bool = True):
        self.address, self.served = address, False
        self.silent_since = 0.0 if silent else None
        self.transport, self.ended = self, False

    def abort(self) -> None:
        self.ended = True


def test_one_address_has_its_share_and_others_theirs():
    gate = Gate(most=100, slow_seconds=1.0, each=2)
    mine = [Connection("192.0.2.1") for _ in range(3)]
    assert [gate.admit(one) for one in mine] == [True, True, False]
    assert gate.admit(Connection("192.0.2.2"))
    gate.forget(mine[0])
    assert gate.admit(mine[2])


def test_loopback_has_no_share_since_a_proxy_speaks_there_for_many():
    gate = Gate(most=100, slow_seconds=1.0, each=2)
    assert all(gate.admit(Connection("")) for _ in range(50))


def test_one_that_was_not_admitted_is_forgotten_without_harm():
    gate = Gate(most=1, slow_seconds=1.0)
    first, second = Connection("a", silent=False), Connection("b")
    assert [gate.admit(first), gate.admit(second)] == [True, False]
    gate.forget(second)
    gate.forget(first)
    assert gate.admit(second)


def test_the_oldest_silent_one_makes_room_and_one_that_is_answered_never_does():
    gate = Gate(most=3, slow_seconds=1.0)
    answered, old, young = Connection("a", silent=False), Connection("b"), Connection("c")
    assert all(gate.admit(one) for one in (answered, old, young))
    assert gate.admit(Connection("d"))
    assert (answered.ended, old.ended, young.ended) == (False, True, False)


@pytest.mark.parametrize(
    ("host", "counted"),
    [
        ("127.0.0.1", ""),
        ("127.8.9.1", ""),
        ("::1", ""),
        ("::ffff:127.0.0.1", ""),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8::ffff:1", "2001:db8::/64"),
        ("no address", "no address"),
    ],
)
def test_an_address_is_counted_with_its_network(host, counted):
    assert _far(host) == counted
