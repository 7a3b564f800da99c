"""Gradient-trained models on a real device, which keeps no private part: rebuilt from the vault, trained, sent."""

from __future__ import annotations

from itertools import count

import numpy as np
import pytest

from fedpersona.device import starter
from fedpersona.device.background import Stop
from fedpersona.device.demand import check_demand
from fedpersona.device.gate import Gate
from fedpersona.device.link import Offer, Release
from fedpersona.device.policy import Policy
from fedpersona.errors import PlanRefused
from fedpersona.plays import Plays
from fedpersona.privacy.fixed_point import FixedPoint
from fedpersona.taste import Shared, create
from fedpersona.taste.counters import DEVICES, round_layout
from fedpersona.wire.message import decode
from tests.device.servers import SERVER, Scripted, plan

MODELS = {"fedmf": {"dim": 8}, "fedrecon": {"dim": 8}, "pfedrec": {"dim": 8}}
NOTHING = Plays(np.empty(0, np.int32), np.empty(0, np.float32), None)
RUNS = count()


class Vault:
    """A history as a test likes."""

    def __init__(self, plays: Plays) -> None:
        self._plays = plays

    def plays(self, catalogue):
        return self._plays


@pytest.fixture
def answering(consenting):
    before = consenting.policy
    consenting.policy = Policy(least_cohort=8, least_neighbours=2, allow_unmasked=True, most_rounds_a_day=10_000)
    yield consenting
    consenting.policy = before


def asked(name, first: Shared, **changes):
    model = create(name, {**MODELS[name], **changes.pop("with_settings", {})})
    about = plan(
        model=name,
        settings=tuple(sorted(model.model_dump().items())),
        shared_hash=first.hash(),
        run=f"trained {next(RUNS)}",
        **{"masked": False, **changes},
    )
    return about, round_layout(model, starter.catalogue(), about)


def sent(device, name, first, plays=None, **changes):
    """Return what leaves the device, as numbers."""
    about, layout = asked(name, first, **changes)
    vault = device.vault if plays is None else Vault(plays)
    gate = Gate(vault, device.consent, lambda: device.policy, device.ledger, device.clock)
    link = Scripted()
    gate.contribute(SERVER, link, link.opening(Offer(about.encode(), first)), starter.catalogue(), Stop())
    if about.masked:
        return link
    words = decode(link.messages[0], plan_hash=about.hash(), layout=layout, ring_bits=about.ring_bits)
    return FixedPoint.for_plan(about, layout).decode_words(words)


@pytest.mark.parametrize("name", MODELS)
def test_a_device_sends_what_the_items_moved_by(answering, name):
    model = create(name, MODELS[name])
    first = model.init(starter.catalogue(), 3)
    update = sent(answering, name, first)
    played = answering.vault.plays(starter.catalogue()).items
    assert update[DEVICES] == 1.0
    assert update["items"].shape == first["items"].shape
    moved = np.flatnonzero(update["items"].any(axis=1))
    assert set(played.tolist()) <= set(moved.tolist())
    assert len(moved) > len(played)


@pytest.mark.parametrize("name", MODELS)
def test_a_device_whose_owner_played_nothing_sends_zeros_like_any_other(answering, name):
    update = sent(answering, name, create(name, MODELS[name]).init(starter.catalogue(), 3), NOTHING)
    assert not update["items"].any()
    assert update[DEVICES] == 1.0


@pytest.mark.parametrize("name", MODELS)
def test_no_update_is_longer_than_the_round_allows(answering, name):
    update = sent(answering, name, create(name, MODELS[name]).init(starter.catalogue(), 3), clip=1e-3)
    longest = create(name).longest
    assert np.linalg.norm(update["items"]) <= 1.01e-3 * longest


def test_a_trained_model_goes_through_a_masked_round(answering):
    first = create("fedrecon", MODELS["fedrecon"]).init(starter.catalogue(), 3)
    link = sent(answering, "fedrecon", first, masked=True)
    assert len(link.messages) == 1
    assert answering.ledger.tail(1)[0].kind == "sent"


@pytest.mark.parametrize("name", MODELS)
def test_items_beyond_all_that_is_learned_are_refused(answering, name):
    model = create(name, MODELS[name])
    honest = model.init(starter.catalogue(), 3)
    far = Shared(name, honest.catalogue, 0, {"items": honest["items"] * np.float32(1e8)})
    with pytest.raises(PlanRefused, match="honest"):
        sent(answering, name, far)


@pytest.mark.parametrize("name", MODELS)
def test_settings_that_no_training_survives_tell_nothing_of_what_was_played(answering, name):
    """A server that asks for absurd steps gets an update like any other, not a failure."""
    wild = {**MODELS[name], "lr": 1e6, "epochs": 50, "fit_lr": 1e6}
    wild |= {"item_lr": 1e9} if name == "pfedrec" else {}
    model = create(name, wild)
    first = model.init(starter.catalogue(), 3)
    update = sent(answering, name, first, with_settings=wild)
    assert np.isfinite(update["items"]).all()
    assert np.linalg.norm(update["items"]) <= 1.01 * model.longest


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(
    "greedy", [{"epochs": 1000, "fit_epochs": 1000, "negatives": 1000, "batch": 1}, {"batch": 1_000_000, "dim": 1024}]
)
def test_settings_that_would_keep_a_device_busy_are_refused_whatever_was_played(answering, name, greedy):
    wild = greedy | ({"negatives": 1000} if "dim" in greedy else {})
    first = create(name, wild).init(starter.catalogue(), 3)
    with pytest.raises(PlanRefused, match="a device gives at most"):
        sent(answering, name, first, NOTHING, with_settings=wild)
    assert "a device gives at most" in answering.ledger.tail(1)[0].reason
    release = Release(name, create(name, wild).model_dump(), first)
    with pytest.raises(PlanRefused, match="a device gives at most"):
        answering.shelf.accept_release(release)


@pytest.mark.parametrize("name", ["fedmf", "fedrecon", "pfedrec", "fedncf"])
def test_what_models_ask_for_by_themselves_is_borne(name):
    check_demand(create(name), 100_000)
