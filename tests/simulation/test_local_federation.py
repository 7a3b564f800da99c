"""A federation in one process learns what the simulation learns, and releases nothing where a mask would stay."""

from __future__ import annotations

import numpy as np
import pytest

from fedpersona.aggregation.coordinator import Coordinator
from fedpersona.device.background import Stop
from fedpersona.errors import CohortTooSmall, RoundFailed
from fedpersona.privacy.masking import MaskKey
from fedpersona.simulation.behaviour import Behaviour
from fedpersona.simulation.engine import DeviceEngine
from fedpersona.simulation.local_federation import LocalFederation, LocalLink
from fedpersona.taste import IALS, Ease, Popularity, Subspace
from fedpersona.wire.message import encode
from fedpersona.wire.plan import Plan
from tests.conftest import invent

CROWD = invent(60, 48)


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


def test_a_device_that_enters_and_never_answers_fails_the_round_and_nothing_is_released():
    federation = LocalFederation(Popularity(), CROWD, patience=0.3)
    link = LocalLink(federation)
    offered = link.offer(5.0)
    link.enter(Plan.decode(offered.plan).hash(), MaskKey().public)
    assert federation.wait(10)
    assert federation.failure is None, "the round was begun again without it"
    assert federation._release.shared["listeners"].sum() == len(CROWD.items)


def test_a_device_that_never_answers_in_any_attempt_ends_the_run_with_words():
    federation = LocalFederation(Popularity(), CROWD, patience=0.3)
    link = LocalLink(federation)
    stop = Stop()
    for _ in range(3):
        offered = link.offer(5.0)
        link.enter(Plan.decode(offered.plan).hash(), MaskKey().public)
        while not stop.wait(0.02) and federation._round is not None and federation._round.roster == []:
            pass
    assert federation.wait(10)
    assert "masks cannot be taken out" in federation.failure
    assert federation._release is None


def test_a_message_of_another_form_fails_the_round():
    federation = LocalFederation(Popularity(), CROWD, patience=1.0)
    link = LocalLink(federation)
    plan = Plan.decode(link.offer(5.0).plan)
    link.enter(plan.hash(), MaskKey().public)
    assert link.neighbours(plan.hash(), 5.0)
    layout = Popularity().layout(CROWD.catalogue, 1)
    link.send(encode(np.zeros(layout.size, "<u4"), plan_hash="another plan", layout=layout))
    assert federation.wait(10)
    assert federation.failure is None, "the round was begun again without it"
    assert federation._release.shared["listeners"].sum() == len(CROWD.items)


def test_too_few_devices_release_nothing():
    federation = LocalFederation(Popularity(), CROWD, patience=0.1, min_count=61)
    federation.begin()
    assert federation.wait(10)
    assert "61" in federation.failure
    assert issubclass(CohortTooSmall, RoundFailed)
