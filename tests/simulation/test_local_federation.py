"""A federation in one process learns what the simulation learns, and loses nothing but the devices that leave it."""

from __future__ import annotations

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedpersona.aggregation.coordinator import Coordinator
from fedpersona.device.link import Offer
from fedpersona.errors import CohortTooSmall, PlanForged, RoundClosed, RoundFailed
from fedpersona.privacy.secagg import DeviceRound, Parameters
from fedpersona.simulation.behaviour import Behaviour
from fedpersona.simulation.engine import DeviceEngine
from fedpersona.simulation.local_federation import LocalFederation
from fedpersona.simulation.local_link import LocalLink
from fedpersona.taste import IALS, Ease, Popularity, Subspace
from fedpersona.taste.counters import round_layout
from fedpersona.wire.message import encode
from fedpersona.wire.plan import Plan
from tests.conftest import invent

CROWD = invent(60, 48)
WITHOUT_GUESTS = len(CROWD.items)


@pytest.mark.parametrize("model", [Popularity(), Subspace(dim=4), Ease(), IALS(dim=3, rounds=2)], ids=lambda m: m.name)
def test_masked_rounds_learn_the_simulations_model_to_the_bit(model):
    federation = LocalFederation(model, CROWD, patience=0.1, clip=None)
    federation.begin()
    assert federation.wait(30)
    assert federation.failure is None
    simulated = Coordinator(
        model, CROWD.catalogue, DeviceEngine(model, CROWD, Behaviour()), cohort=120, min_count=60, seed=0
    )
    list(simulated.run())
    assert federation._release.shared.hash() == simulated.shared.hash()


class Guest:
    """A real device's part in a round of popularity, step by step."""

    def __init__(self, federation: LocalFederation) -> None:
        self.link = LocalLink(federation)
        offer = self.link.offer(5.0)
        assert isinstance(offer, Offer)
        self.plan = Plan.decode(offer.plan)
        self.hash = self.plan.hash()
        self.round = DeviceRound(
            self.hash,
            Parameters(self.plan.neighbours, self.plan.threshold),
            least=self.plan.min_count,
            most=self.plan.cohort,
            identity=self.link.identity,
        )

    def enter(self) -> None:
        self.link.answer("query.enter", self.hash, self.round.advertise())

    def share(self) -> None:
        shown = self.asked("query.share")
        self.link.answer("query.share", self.hash, self.round.share(shown["roster"], shown["view"]))

    def update(self, value: int = 0, plan_hash: str = "") -> None:
        layout = round_layout(Popularity(), CROWD.catalogue, self.plan)
        words = np.full(layout.size, value, "<u4")
        self.round.mask(words, self.asked("train.update")["shares"])
        self.link.send(encode(words, plan_hash=plan_hash or self.hash, layout=layout))

    def asked(self, kind: str):
        fields = self.link.question(kind, self.hash, 5.0)
        assert fields is not None
        return fields


@pytest.mark.parametrize("steps", [("enter",), ("enter", "share")])
def test_a_device_that_leaves_in_the_middle_of_a_round_is_not_in_the_sum_and_spoils_nothing(steps):
    federation = LocalFederation(Popularity(), CROWD, patience=0.5)
    guest = Guest(federation)
    for step in steps:
        getattr(guest, step)()
    assert federation.wait(20)
    assert federation.failure is None
    assert federation._release.shared["listeners"].sum() == WITHOUT_GUESTS


def test_a_device_that_leaves_once_its_update_is_given_is_in_the_sum():
    federation = LocalFederation(Popularity(), CROWD, patience=0.5, min_count=60)
    guest = Guest(federation)
    guest.enter()
    guest.share()
    # One device that played nothing: no listener, but one device more that is counted.
    layout = round_layout(Popularity(), CROWD.catalogue, guest.plan)
    step = (2**31 - 1) // guest.plan.cohort
    words = np.zeros(layout.size, "<u4")
    words[-1] = 2 ** (step.bit_length() - 1)
    guest.round.mask(words, guest.asked("train.update")["shares"])
    guest.link.send(encode(words, plan_hash=guest.hash, layout=layout))
    assert federation.wait(20)
    assert federation.failure is None
    assert federation._release.shared["listeners"].sum() == WITHOUT_GUESTS


def test_garbage_under_a_mask_fails_the_round_which_is_held_again_without_it():
    federation = LocalFederation(Popularity(), CROWD, patience=0.5)
    guest = Guest(federation)
    guest.enter()
    guest.share()
    guest.update(value=12345)
    assert federation.wait(20)
    assert federation.failure is None
    assert federation._release.shared["listeners"].sum() == WITHOUT_GUESTS


def test_a_message_of_another_form_fails_the_round_which_is_held_again_without_it():
    federation = LocalFederation(Popularity(), CROWD, patience=0.5)
    guest = Guest(federation)
    guest.enter()
    guest.share()
    guest.update(plan_hash="another plan")
    assert federation.wait(20)
    assert federation.failure is None
    assert federation._release.shared["listeners"].sum() == WITHOUT_GUESTS


def test_who_comes_late_is_told_so():
    federation = LocalFederation(Popularity(), CROWD, patience=0.1)
    guest = Guest(federation)
    assert federation.wait(20)
    with pytest.raises(RoundClosed):
        guest.enter()
    with pytest.raises(RoundClosed):
        guest.link.question("query.share", guest.hash, 0.1)


def test_a_roster_that_the_operator_did_not_sign_is_refused():
    federation = LocalFederation(Popularity(), CROWD, patience=1.0)
    guest = Guest(federation)
    federation._round.key = Ed25519PrivateKey.generate()
    guest.enter()
    with pytest.raises(PlanForged):
        guest.share()
    assert federation.wait(20)


def test_too_few_devices_release_nothing():
    federation = LocalFederation(Popularity(), CROWD, patience=0.1, min_count=61)
    federation.begin()
    assert federation.wait(10)
    assert "61" in federation.failure
    assert issubclass(CohortTooSmall, RoundFailed)
