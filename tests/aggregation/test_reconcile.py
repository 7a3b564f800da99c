import pytest

from fedpersona.aggregation.database import Database
from fedpersona.aggregation.reconcile import reconcile
from fedpersona.aggregation.roster import Roster
from tests.aggregation.test_roster import pem


class Flower:
    """Knows nodes as the SuperLink does."""

    def __init__(self) -> None:
        self.known: dict[bytes, int] = {}
        self.last = 100

    def nodes(self):
        return dict(self.known)

    def register_node(self, public_key):
        self.last += 1
        return self.known.setdefault(public_key, self.last)

    def unregister_node(self, node_id):
        self.known = {key: number for key, number in self.known.items() if number != node_id}


@pytest.fixture
def roster(tmp_path):
    with Database.open(tmp_path / "fedpersona.db") as database:
        yield Roster(database)


def enrolled(roster, flower):
    key = pem()
    number = roster.enrol(roster.issue_token(1), key, key[60:92]).number
    roster.attach(number, flower.register_node(roster.device(number).flower_key))
    return number


def test_devices_that_flower_has_lost_are_registered_again(roster):
    flower = Flower()
    numbers = [enrolled(roster, flower) for _ in range(3)]
    assert reconcile(roster, flower) == (0, 0)
    flower.known.clear()
    assert reconcile(roster, flower) == (3, 0)
    for number in numbers:
        device = roster.device(number)
        assert flower.known[device.flower_key] == device.node_id
    assert reconcile(roster, flower) == (0, 0)


def test_a_node_id_that_is_another_now_is_taken_over(roster):
    flower = Flower()
    number = enrolled(roster, flower)
    key = roster.device(number).flower_key
    flower.known[key] = 7
    assert reconcile(roster, flower) == (1, 0)
    assert roster.device(number).node_id == 7


def test_a_revoked_device_is_taken_off_flowers_list(roster):
    flower = Flower()
    first, second = enrolled(roster, flower), enrolled(roster, flower)
    roster.revoke(first)
    assert reconcile(roster, flower) == (0, 1)
    assert list(flower.known) == [roster.device(second).flower_key]


def test_a_node_of_nobody_is_left_alone(roster):
    flower = Flower()
    flower.register_node(b"of another")
    assert reconcile(roster, flower) == (0, 0)
