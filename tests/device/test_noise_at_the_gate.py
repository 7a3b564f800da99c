"""Rounds with noise: what leaves is no longer than the noise is made for, and a plan whose noise is wrong gets none."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import count

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedpersona import Policy
from fedpersona.device import starter
from fedpersona.device.background import Stop
from fedpersona.device.gate import Gate
from fedpersona.device.link import Offer
from fedpersona.errors import PlanRefused
from fedpersona.plays import Plays
from fedpersona.privacy.clipping import update_norm
from fedpersona.privacy.deviations import device_noise
from fedpersona.privacy.fixed_point import FixedPoint
from fedpersona.taste import MODELS, Popularity, Shared, TasteModel, create
from fedpersona.taste.counters import DEVICES, HITS, TESTED, round_layout
from fedpersona.wire.message import decode
from fedpersona.wire.plan import Plan
from fedpersona.wire.update import Update
from tests.device.servers import MODEL, SERVER, Scripted, noisy, noisy_offer, offer

RUNS = count()
ITEMS = len(starter.catalogue())
ANY_ROUND = Policy(least_cohort=8, allow_unmasked=True, most_rounds_a_day=10_000)


class Vault:
    """A history as a test likes."""

    def __init__(self, plays: Plays) -> None:
        self._plays = plays

    def plays(self, catalogue):
        return self._plays


def go(device, link, offered, plays=None):
    vault = device.vault if plays is None else Vault(plays)
    gate = Gate(vault, device.consent, lambda: device.policy, device.ledger, device.clock)
    return gate.contribute(SERVER, link, link.opening(offered), starter.catalogue(), Stop())


@pytest.fixture
def answering(consenting) -> Iterator:
    before = consenting.policy
    consenting.policy = ANY_ROUND
    yield consenting
    consenting.policy = before


def sent(device, asked: Plan, first: Shared, plays: Plays) -> Update:
    """Return what leaves for an unmasked round, as numbers."""
    link = Scripted()
    go(device, link, Offer(asked.encode(), first), plays)
    layout = round_layout(create(asked.model, dict(asked.settings)), starter.catalogue(), asked)
    words = decode(link.messages[0], plan_hash=asked.hash(), layout=layout, ring_bits=asked.ring_bits)
    return FixedPoint.for_plan(asked, layout).decode_words(words)


# -- never longer than the clip --


def private_form(name: str) -> TasteModel | None:
    """Return a model in its private form, None where it has none."""
    model = create(name, {"noise": 4.0})
    return None if model.layout(starter.catalogue(), 1).length is None else model


PRIVATE = [name for name in MODELS if private_form(name) is not None]


def rounds_of(model: TasteModel) -> list[Shared]:
    """Return the model before each of its rounds, trained on noise."""
    found, rng = [model.init(starter.catalogue(), 1)], np.random.default_rng(5)
    for number in range(1, model.planned_rounds(starter.catalogue())):
        layout = model.layout(starter.catalogue(), number)
        total = Update({spec.name: rng.normal(3.0, 4.0, spec.shape) for spec in layout.arrays})
        found.append(model.apply(found[-1], total, 100))
    return found


TRAINED = {name: rounds_of(private_form(name)) for name in PRIVATE}


@st.composite
def histories(draw) -> Plays:
    """Return nothing, one item, all items, or some, with weights from next to nothing to next to infinity."""
    size = draw(st.one_of(st.sampled_from([0, 1, 2, ITEMS]), st.integers(0, 300)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    items = np.sort(rng.choice(ITEMS, size, replace=False))
    heavy = draw(st.sampled_from([1.0, 1e-30, 1e30, 1e150]))
    weights = np.maximum(heavy * rng.choice([1.0, 1e-3, 7.0], size), 1e-300)
    played = rng.integers(0, 2_000_000_000, size) if draw(st.booleans()) else None
    return Plays(items, weights, played)


def test_every_model_has_a_private_form_and_is_tried():
    assert set(PRIVATE) == set(MODELS)


@pytest.mark.parametrize("name", PRIVATE)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(plays=histories(), which=st.integers(0, 100))
def test_what_leaves_is_never_longer_than_the_noise_is_made_for(answering, name, plays, which):
    first = TRAINED[name][which % len(TRAINED[name])]
    number = first.round_number + 1
    asked, _ = noisy(
        private_form(name), masked=False, run=f"run {next(RUNS)}", round_number=number, shared_hash=first.hash()
    )
    layout = round_layout(private_form(name), starter.catalogue(), asked)
    asked = replace(asked, clip=layout.length * (1 + 1e-9), noise_multiplier=4.0 / (layout.length * (1 + 1e-9)))
    update = sent(answering, asked, first, plays)
    length = update_norm(update, layout)
    assert length <= asked.clip
    assert update[DEVICES] == 1.0
    if not len(plays):
        assert length == 0.0
    assert answering.ledger.tail(1)[0].norm <= asked.clip * (1 + 1e-12)


class Boastful(Popularity):
    """Says that it is of length 1, and is not."""

    def contribute(self, shared, private, plays, rng):
        return Update({"listeners": np.ones(len(shared["listeners"]))})


def test_a_model_that_is_longer_than_it_says_is_shortened_to_what_the_noise_is_made_for(answering, monkeypatch):
    monkeypatch.setattr("fedpersona.device.gate.create", lambda name, given: Boastful(**given))
    asked, first = noisy(masked=False, run="boastful")
    update = sent(answering, asked, first, Plays(np.arange(3), np.ones(3)))
    layout = round_layout(Popularity(noise=4.0), starter.catalogue(), asked)
    assert 0.99 < update_norm(update, layout) <= asked.clip


def test_a_smaller_clip_than_the_models_length_shortens_and_a_larger_one_does_nothing(answering):
    plays = Plays(np.arange(40), np.ones(40))
    layout = round_layout(Popularity(noise=4.0), starter.catalogue(), noisy()[0])
    for clip, length in ((0.25, 0.25), (1.0, 1.0), (5.0, 1.0)):
        asked, first = noisy(masked=False, clip=clip, noise_multiplier=4.0 / clip, run=f"clip {clip}")
        assert update_norm(sent(answering, asked, first, plays), layout) == pytest.approx(length, rel=1e-4)
        assert answering.ledger.tail(1)[0].cost.squared == pytest.approx((clip / 4.0) ** 2)


def test_the_test_of_the_shared_model_is_bounded_together_with_the_rest(answering):
    answering.consent.grant("share_metrics", server=SERVER)
    asked, first = noisy(metrics=True, run="metrics")
    link = Scripted()
    go(answering, link, Offer(asked.encode(), first))
    layout, fixed_point = link.round.layout, FixedPoint.for_plan(asked, link.round.layout)
    update = fixed_point.decode_words(link.round.opened())
    assert {DEVICES, TESTED, HITS} <= set(layout.names)
    assert 0.9 < update_norm(update, layout) <= asked.clip
    answering.consent.withdraw("share_metrics", server=SERVER)


# -- a device's own share --


def test_under_distributed_noise_this_device_puts_its_share_in_before_the_mask(answering):
    plays = Plays(np.arange(40), np.ones(40))
    asked, first = noisy(noise="distributed", run="distributed")
    link = Scripted()
    go(answering, link, Offer(asked.encode(), first), plays)
    layout = link.round.layout
    update = FixedPoint.for_plan(asked, layout).decode_words(link.round.opened())
    honest = np.zeros(ITEMS)
    honest[:40] = 40**-0.5
    noise = update["listeners"] - honest
    share = device_noise(asked, layout)["listeners"]
    assert share == pytest.approx(4.0 / math.sqrt(8))
    assert np.std(noise) == pytest.approx(share, rel=0.15)
    assert abs(np.mean(noise)) < 5 * share / math.sqrt(ITEMS)
    assert update[DEVICES] == 1.0, "how many devices took part is public"
    assert "from all devices, its share from this one" in str(answering.ledger.tail(1))


def test_two_rounds_get_different_noise(answering):
    words = []
    for run in ("first", "second"):
        asked, first = noisy(noise="distributed", run=run)
        link = Scripted()
        go(answering, link, Offer(asked.encode(), first), Plays(np.arange(2), np.ones(2)))
        opened = FixedPoint.for_plan(asked, link.round.layout).decode_words(link.round.opened())
        words.append(opened["listeners"])
    assert np.count_nonzero(words[0] == words[1]) < 10


def test_under_central_noise_it_adds_none_and_says_whose_promise_it_is(answering):
    asked, first = noisy(masked=False, run="central")
    update = sent(answering, asked, first, Plays(np.arange(4), np.ones(4)))
    assert np.count_nonzero(update["listeners"]) == 4
    assert "from the server, if it keeps its promise" in str(answering.ledger.tail(1))


# -- plans whose noise is wrong --


def refused(device, offered, words):
    link = Scripted()
    with pytest.raises(PlanRefused, match=words) as refusal:
        go(device, link, offered)
    assert link.messages == link.answers == []
    (entry,) = device.ledger.tail(1)
    assert (entry.kind, entry.reason) == ("refused", str(refusal.value))


@pytest.mark.parametrize("noise", ["central", "distributed"])
@pytest.mark.parametrize("factor", [0.5, 2.0, 1 + 1e-6, 1e-300, 1e300])
def test_noise_of_another_size_than_the_model_is_made_for_is_refused(answering, noise, factor):
    asked, first = noisy(noise=noise)
    asked = replace(asked, noise_multiplier=asked.noise_multiplier * factor)
    refused(answering, Offer(asked.encode(), first), "noise|ring")


def test_noise_on_a_model_in_the_form_without_it_is_refused(answering):
    promised = {"noise": "central", "noise_multiplier": 4.0, "epsilon": 8.0, "delta": 1e-5}
    refused(answering, offer(**promised), "'subspace' in the form for sums without it")
    asked, first = noisy(settings=tuple(sorted(Popularity().model_dump().items())))
    refused(answering, Offer(asked.encode(), first), "'popularity' in the form for sums without it")


def test_a_share_of_noise_does_not_leave_without_a_mask(answering):
    """The account takes a round for what the whole noise is worth; a share that the server reads alone is not that."""
    refused(answering, noisy_offer(noise="distributed", masked=False), "one device's share hides little")


def test_a_model_that_states_no_length_gets_no_noise_promised(answering, monkeypatch):
    class Silent(Popularity):
        def layout(self, catalogue, round_number):
            return replace(super().layout(catalogue, round_number), length=None)

    monkeypatch.setattr("fedpersona.device.gate.create", lambda name, given: Silent(**given))
    refused(answering, noisy_offer(), "in the form for sums without it")


def test_noise_that_the_ring_has_no_room_for_is_refused(answering):
    huge = Popularity(noise=1e9)
    refused(answering, noisy_offer(huge, noise="distributed"), "ring")
    tiny = Popularity(noise=1e-9)
    refused(answering, noisy_offer(tiny, noise="distributed"), "steps of the ring")


def test_the_models_of_this_file_are_those_of_the_servers():
    assert MODEL.name == "subspace"
    assert MODEL.noise == 0
