"""An invented device that is taken up again before each step answers as one that was kept in memory all the time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from fedpersona.errors import PlanForged, PlanRefused, RoundClosed
from fedpersona.privacy.secagg import DeviceRound, Parameters, ServerRound
from fedpersona.simulation.kept_round import KeptRound
from fedpersona.simulation.simulated_device import SimulatedDevice, operator_key
from fedpersona.wire.parcel import Parcel, sign_reply
from fedpersona.wire.plan import Plan
from fedpersona.wire.signed_plan import seal_plan
from tests.conftest import invent

SEED, PEOPLE, SIZE = 3, 6, 50
CROWD = invent(PEOPLE)
DEVICES = [SimulatedDevice.of(CROWD, number, seed=SEED) for number in range(PEOPLE)]
PLAN = Plan(
    "popularity", 1, PEOPLE, 3, 32, 0, catalogue=CROWD.catalogue.version, masked=True, neighbours=4, threshold=3
)
SEALED = seal_plan(PLAN, operator_key(SEED))


@dataclass
class Taken:
    """One device that is kept between steps, and its twin in memory."""

    device: SimulatedDevice
    kept: KeptRound
    twin: DeviceRound

    def step(self, **fields: bytes) -> DeviceRound:
        """Take it up from what Flower would store, and leave what the next message leaves to be kept."""
        resumed = KeptRound.resumed(self.device, dict(self.kept.fields))
        machine = resumed.step(self.device)
        self.kept = resumed.after(Parcel(resumed.next, fields)) if fields else resumed
        return machine


def entered() -> list[Taken]:
    found = []
    for device in DEVICES:
        kept = KeptRound.begin(device, SEALED, b"the model")
        found.append(Taken(device, kept, kept.entering(device)))
    return found


def signed(taken: Taken, kind: str, body: bytes) -> bytes:
    return sign_reply(kind, PLAN.hash(), body, taken.device.key)


def test_each_step_gives_what_a_device_in_memory_gives_and_the_sum_is_exact():
    everyone = entered()
    server = ServerRound(PLAN.hash(), 1, Parameters(4, 3), least=3, total=np.zeros(SIZE, "<u4"))
    for place, one in enumerate(everyone):
        keys = one.kept.entering(one.device).advertise()
        assert keys == one.twin.advertise()
        identity = one.device.key.public_key().public_bytes_raw()
        assert server.enter(identity, keys, signed(one, "query.enter", keys)) == place
    head = server.close_roster().encode()
    for place, one in enumerate(everyone):
        view = server.view(place)
        sealed = one.step(roster=head, view=view).share(head, view)
        assert sealed == one.twin.share(head, view)
        server.take_sealed(place, sealed)
    assert len(server.close_shares()) == PEOPLE
    plain = [np.full(SIZE, place + 1, "<u4") for place in range(PEOPLE)]
    for place, one in enumerate(everyone):
        words, same = plain[place].copy(), plain[place].copy()
        delivered = server.delivered(place)
        one.step(shares=delivered).mask(words, delivered)
        one.twin.mask(same, delivered)
        assert np.array_equal(words, same)
        assert not np.array_equal(words, plain[place])
        server.take_vector(place, words)
    survivors = server.close_vectors()
    for place, one in enumerate(everyone):
        agreed = one.step(survivors=survivors).agree(survivors)
        assert agreed == one.twin.agree(survivors) == server.agreed
        server.take_signature(place, signed(one, "query.agree", agreed))
    server.close_signatures()
    for place, one in enumerate(everyone):
        signatures = server.signatures(place)
        assert one.kept.next == "query.unmask"
        shares = one.step().unmask(signatures)
        assert shares == one.twin.unmask(signatures)
        server.take_shares(place, shares)
    assert np.array_equal(server.open(), np.full(SIZE, PEOPLE * (PEOPLE + 1) // 2))


def test_what_comes_next_follows_from_what_is_kept():
    kept, seen = entered()[0].kept, []
    assert kept.model == b"the model"
    for names in (("roster", "view"), ("shares",), ("survivors",)):
        seen.append(kept.next)
        kept = kept.after(Parcel(kept.next, dict.fromkeys((*names, "plan_hash"), b"x")))
    assert [*seen, kept.next] == ["query.share", "train.update", "query.agree", "query.unmask"]
    assert set(kept.fields) == {"plan", "model", "secret", "roster", "view", "shares", "survivors"}


def test_the_same_secret_gives_the_same_keys_and_every_entry_has_another():
    device = DEVICES[0]
    first, second = (KeptRound.begin(device, SEALED, b"the model") for _ in range(2))
    keys = [one.entering(device).advertise() for one in (first, first, second)]
    assert keys[0] == keys[1] != keys[2]


@pytest.mark.parametrize("fields", [None, {}])
def test_a_device_that_kept_nothing_is_in_no_round(fields):
    with pytest.raises(RoundClosed, match="has not entered"):
        KeptRound.resumed(DEVICES[0], fields)


def test_a_plan_that_was_swapped_in_what_is_kept_is_not_believed():
    kept = entered()[0].kept
    with pytest.raises(PlanForged):
        KeptRound.resumed(DEVICES[0], {**kept.fields, "plan": seal_plan(PLAN, operator_key(SEED + 1))})


def test_a_roster_that_was_swapped_in_what_is_kept_is_refused():
    one = entered()[0]
    with pytest.raises(PlanRefused):
        KeptRound(PLAN, {**one.kept.fields, "roster": bytes(36), "view": bytes(200)}).step(one.device)
