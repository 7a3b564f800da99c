"""How well the shared model fits is counted in the masked sum, and only of owners who said yes to that."""

from __future__ import annotations

import itertools
from dataclasses import replace
from functools import cache

import pytest

from fedpersona import Policy
from fedpersona.aggregation.coordinator import Coordinator
from fedpersona.device import starter
from fedpersona.device.background import Stop
from fedpersona.device.gate import Gate
from fedpersona.device.link import Offer
from fedpersona.errors import ConsentMissing
from fedpersona.privacy.fixed_point import FixedPoint
from fedpersona.simulation.behaviour import Behaviour
from fedpersona.simulation.engine import CohortEngine
from fedpersona.taste.counters import DEVICES, HITS, TESTED, self_test
from tests.device.one_server import UPDATE
from tests.device.servers import MODEL, Scripted, crowd, plan

SERVER = "https://metrics.example"
RUNS = itertools.count()


@cache
def trained():
    """A model that has learnt: an untrained one is not tested."""
    people = crowd()
    coordinator = Coordinator(
        MODEL, people.catalogue, CohortEngine(MODEL, people, Behaviour()), cohort=60, min_count=2, seed=3
    )
    coordinator.run_round()
    return coordinator.shared


def second_round(**changes) -> Offer:
    asked = plan(round_number=2, shared_hash=trained().hash(), metrics=True, run=f"run {next(RUNS)}")
    return Offer(replace(asked, **changes).encode(), trained())


@pytest.fixture
def counters(monkeypatch):
    """The counters of every update that is queued."""
    seen = []
    encode_words = FixedPoint.encode_words

    def watched(self, update, offsets, out=None):
        seen.append({name: float(update[name][0]) for name in (DEVICES, TESTED, HITS) if name in update.arrays})
        return encode_words(self, update, offsets, out)

    monkeypatch.setattr(FixedPoint, "encode_words", watched)
    return seen


def contribute(device, link, offer):
    gate = Gate(
        device.vault, device.consent, lambda: Policy(least_cohort=2, allow_unmasked=True), device.ledger, device.clock
    )
    return gate.contribute(SERVER, link, offer, starter.catalogue(), Stop())


@pytest.fixture
def sharing(veteran):
    veteran.consent.grant("share_update", server=SERVER)
    if veteran.consent.granted("share_metrics", SERVER):  # by another test of this process
        veteran.consent.withdraw("share_metrics", server=SERVER)
    return veteran


def test_without_a_yes_to_it_a_device_counts_as_not_tested(sharing, counters):
    offer = second_round()
    contribute(sharing, Scripted(offered=offer), offer)
    assert counters == [{DEVICES: 1.0, TESTED: 0.0, HITS: 0.0}]
    assert "ten suggestions" not in str(sharing.ledger.tail(1))


def test_with_a_yes_it_is_in_the_sum_and_in_the_ledger(sharing, counters):
    sharing.consent.grant("share_metrics", server=SERVER)
    offer = second_round()
    contribute(sharing, Scripted(offered=offer), offer)
    expected = self_test(MODEL, trained(), sharing.vault.plays(starter.catalogue()))
    assert counters == [{DEVICES: 1.0, **expected}]
    assert expected[TESTED] == 1.0
    assert "whether your last track was among ten suggestions" in str(sharing.ledger.tail(1))


def test_a_yes_for_another_server_or_to_it_alone_is_none(sharing, counters):
    sharing.consent.grant("share_metrics", server="https://other.example")
    offer = second_round()
    contribute(sharing, Scripted(offered=offer), offer)
    assert counters[0][TESTED] == 0.0
    sharing.consent.grant("share_metrics", server=SERVER)
    sharing.consent.withdraw("share_update", server=SERVER)
    with pytest.raises(ConsentMissing):
        contribute(sharing, Scripted(), second_round())


def test_nobody_is_tested_where_the_round_does_not_ask_for_it(sharing, counters):
    sharing.consent.grant("share_metrics", server=SERVER)
    offer = second_round(metrics=False)
    contribute(sharing, Scripted(offered=offer), offer)
    assert counters == [{DEVICES: 1.0}]


def test_nobody_is_tested_without_masks_whatever_was_said(sharing, counters):
    sharing.consent.grant("share_metrics", server=SERVER)
    offer = second_round(masked=False)
    contribute(sharing, Scripted(), offer)
    assert counters == [{DEVICES: 1.0, TESTED: 0.0, HITS: 0.0}]


def test_taking_it_back_stops_a_round_that_carries_it(sharing, counters):
    sharing.consent.grant("share_metrics", server=SERVER)
    offer = second_round()
    link = Scripted(
        offered=offer,
        before=lambda kind: (
            sharing.consent.withdraw("share_metrics", server=SERVER) and None if kind == UPDATE else None
        ),
    )
    with pytest.raises(ConsentMissing):
        contribute(sharing, link, offer)
    assert link.messages == []
    assert counters[0][TESTED] == 1.0
