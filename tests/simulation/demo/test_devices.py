"""The demo's device processes: what they tell, and that none is left."""

import time

import pytest

from fedpersona.device import starter
from fedpersona.errors import RoundFailed
from fedpersona.simulation.demo.devices import Fleet
from fedpersona.simulation.demo.exports import write_export
from fedpersona.simulation.demo.people import invent

SECONDS = 60.0  # for one process to begin, on a busy machine


def orders(folder, export):
    return {
        "folder": str(folder / "device"),
        "passphrase": "demo",
        "export": str(export),
        "consent": True,
        "least_cohort": 10,
        "holds_in": 0,
        "held_out": starter.catalogue().ids[0],
    }


def test_a_device_imports_shows_what_its_owner_asks_for_and_ends(tmp_path):
    (person,) = invent(starter.catalogue(), 1, seed=0, now=time.time())  # a vault forgets what is too old
    with Fleet(tmp_path) as fleet:
        fleet.start(0, orders(tmp_path, write_export(person, tmp_path)))
        told = fleet.hear(SECONDS)
        assert (told.device, told.stage) == (0, "imported")
        assert told.facts["listens"] == len(person.plays)
        assert told.facts["known"] == len(person.plays) - len(person.canary.titles)
        fleet.order("playlist")
        told = fleet.hear(SECONDS)
        assert len(told.facts["items"]) == 10
        assert all(one["reason"] for one in told.facts["items"])
        device = fleet.devices[0]
        assert device.alive
    assert not device.alive
    assert not (tmp_path / "device-1.log").read_text()


def test_a_device_that_ends_by_itself_ends_the_demo_with_a_sentence(tmp_path):
    with Fleet(tmp_path) as fleet:
        fleet.start(2, orders(tmp_path, tmp_path / "nothing.zip"))
        with pytest.raises(RoundFailed, match=r"device 3 of the demo: its process ended, see .*device-3\.log"):
            fleet.hear(SECONDS)


def test_one_that_the_demo_kills_is_no_failure_and_hears_no_orders(tmp_path):
    with Fleet(tmp_path) as fleet:
        fleet.start(0, orders(tmp_path, tmp_path / "nothing.zip"))
        fleet.devices[0].kill()
        assert fleet.hear(0.5) is None
        assert fleet.order("playlist") == []
