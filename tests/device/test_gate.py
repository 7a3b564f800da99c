"""The one door: consent, floors, finite, clip, fixed point, mask, ledger, send; each can say no, each no is written."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest

from fedpersona import Policy
from fedpersona.device import starter
from fedpersona.device.background import Stop
from fedpersona.device.gate import Gate
from fedpersona.device.link import Offer
from fedpersona.errors import (
    BelowFloor,
    ClockUnsure,
    ConsentMissing,
    DiskFull,
    PlanRefused,
    Refusal,
    RoundClosed,
    Stopped,
)
from fedpersona.privacy.clipping import clip, update_norm
from fedpersona.privacy.fixed_point import FixedPoint
from fedpersona.privacy.rounding import device_offsets
from fedpersona.sources.listen import Listen
from fedpersona.taste import Shared, create
from fedpersona.taste.counters import counted, round_layout
from fedpersona.wire.message import decode
from fedpersona.wire.plan import Plan
from tests.device.invented import MARK
from tests.device.one_server import AGREE, ENTER, SHARE, UNMASK, UPDATE
from tests.device.servers import MODEL, SERVER, Scripted, offer, plan, shared, spoilt, zeros


def go(device, link, offered=None, stop=None):
    gate = Gate(device.vault, device.consent, lambda: device.policy, device.ledger, device.clock)
    return gate.contribute(SERVER, link, link.opening(offered or offer()), starter.catalogue(), stop or Stop())


@pytest.fixture
def cautious(device):
    """With its owner's yes, and the floors that every device has at first."""
    device.consent.grant("share_update", server=SERVER)
    return device


@pytest.fixture
def willing(cautious):
    """Takes part also in the small rounds of these tests."""
    cautious.policy = Policy(least_cohort=8)
    return cautious


def kinds(device):
    return [entry.kind for entry in device.ledger.tail(50)]


def last(device):
    return device.ledger.tail(1)[0]


def test_with_consent_one_message_leaves_and_the_ledger_says_what_it_was(willing):
    link = Scripted()
    done = go(willing, link)
    (message,) = link.messages
    entry = last(willing)
    assert done.hash() == entry.plan_hash
    assert (entry.kind, entry.server, entry.round_number, entry.size) == ("sent", SERVER, 1, len(message))
    assert entry.digest == hashlib.sha256(message).hexdigest()
    assert "masked" in entry.what
    assert "8" in entry.what
    assert "no differential privacy" in str(willing.ledger.tail())
    assert [kind for kind, _ in link.answers] == [ENTER, SHARE, AGREE, UNMASK]


def test_without_consent_nothing_leaves_not_even_a_key_and_the_no_is_written(device):
    link = Scripted()
    with pytest.raises(ConsentMissing, match="not been asked"):
        go(device, link)
    assert link.messages == link.answers == []
    assert last(device).kind == "refused"


def test_a_consent_for_one_server_is_none_for_another(device):
    device.consent.grant("share_update", server="https://other.example")
    with pytest.raises(ConsentMissing):
        go(device, Scripted())


@pytest.mark.parametrize("answer", ["refuse", "withdraw", "expire", "global privacy control"])
def test_a_yes_that_has_ended_lets_nothing_out(device, answer):
    device.consent.grant("share_update", server=SERVER, days=1)
    if answer == "refuse":
        device.consent.refuse("share_update", server=SERVER)
    elif answer == "withdraw":
        device.consent.withdraw("share_update", server=SERVER)
    elif answer == "expire":
        device.clock._time = lambda: 4_000_000_000.0
    else:
        device.consent.global_privacy_control = True
    link = Scripted()
    with pytest.raises(ConsentMissing):
        go(device, link)
    assert link.messages == []


def test_the_consent_is_asked_before_the_history_is_read(device, monkeypatch):
    read = []
    monkeypatch.setattr(device.vault, "plays", lambda catalogue: read.append(catalogue))
    with pytest.raises(ConsentMissing):
        go(device, Scripted())
    device.consent.grant("share_update", server=SERVER)
    with pytest.raises(BelowFloor):
        go(device, Scripted(), offer(min_count=3))
    assert read == []


@pytest.mark.parametrize(
    ("changes", "floor"),
    [
        ({"min_count": 49}, "least_cohort: the round may release a sum of 49 devices, your device wants at least 50"),
        ({"clip": 65.0}, "largest_clip"),
        ({"clip": None}, "largest_clip"),
        ({"masked": False}, "allow_unmasked: the round asks for an update that the server could read by itself"),
        ({"neighbours": 38, "threshold": 38}, "least_neighbours: .* with 38 other devices, .* at least 40"),
        ({"neighbours": 0, "threshold": 0}, "least_neighbours"),
        ({"threshold": 47}, "least_threshold: 47 of 80 devices could take a mask off, .* at least 0.6 of them"),
        ({"threshold": 0}, "least_threshold"),
        ({"neighbours": 2**40, "threshold": 41}, "least_threshold"),
    ],
)
def test_a_plan_below_a_floor_is_refused_with_the_floor_and_the_refusal_is_in_the_ledger(cautious, changes, floor):
    link = Scripted()
    with pytest.raises(BelowFloor, match=floor) as refusal:
        go(cautious, link, offer(**{"min_count": 50, **changes}))
    assert link.messages == link.answers == []
    (entry,) = cautious.ledger.tail(50)
    assert entry.kind == "refused"
    assert entry.reason == str(refusal.value)


def test_a_plan_at_every_floor_is_answered_with_keys_by_a_device_with_the_floors_of_the_beginning(cautious):
    """So that the refusals above are for what they name."""
    link = Scripted(before=lambda kind: False)
    stop = Stop()
    timer = threading.Timer(0.3, stop.set)
    timer.start()
    with pytest.raises(Stopped):
        go(cautious, link, offer(min_count=50, neighbours=40, threshold=24), stop)
    timer.join()
    assert [kind for kind, _ in link.answers] == [ENTER]


@pytest.mark.parametrize(
    "changes", [{"neighbours": 81}, {"threshold": 81}, {"neighbours": 2**40, "threshold": 2**40 + 1}]
)
def test_masks_that_cannot_be_are_a_refusal_and_nothing_leaves(willing, changes):
    link = Scripted()
    with pytest.raises(PlanRefused, match="neighbours"):
        go(willing, link, offer(**changes))
    assert link.messages == link.answers == []
    assert kinds(willing) == ["refused"]


def test_a_lower_floor_lets_through_what_its_owner_meant_and_no_more(cautious):
    asked = {"neighbours": 4, "threshold": 3, "min_count": 8}
    for policy, floor in (
        (Policy(least_cohort=9, least_neighbours=2), "least_cohort"),
        (Policy(least_cohort=8, least_neighbours=6), "least_neighbours"),
        (Policy(least_cohort=8, least_neighbours=2, least_threshold=0.8), "least_threshold"),
    ):
        cautious.policy = policy
        link = Scripted()
        with pytest.raises(BelowFloor, match=floor):
            go(cautious, link, offer(**asked))
        assert link.messages == link.answers == []
    cautious.policy = Policy(least_cohort=8, least_neighbours=2, least_threshold=0.75)
    link = Scripted()
    go(cautious, link, offer(**asked))
    assert link.round.opened().any()


def test_a_roster_that_gives_a_device_fewer_neighbours_than_its_floor_gets_no_shares_and_no_update(cautious):
    """A plan promises so many on average: circles of the graph may overlap."""
    cautious.policy = Policy(least_cohort=8, least_neighbours=4, most_rounds_a_day=1000)
    seen = set()
    for number in range(60):
        link = Scripted()
        with suppress(PlanRefused):
            go(cautious, link, offer(neighbours=4, threshold=3, run=str(number)))
        enough = len(link.round.server._neighbours[4]) >= 4
        seen.add(enough)
        assert len(link.messages) == enough
        if not enough:
            assert [kind for kind, _ in link.answers] == [ENTER]
            assert re.search("would mask with [23] others, it wants 4 or more", last(cautious).reason)
        if len(seen) == 2:
            break
    assert seen == {True, False}


def test_the_owner_can_raise_a_floor(willing):
    willing.policy = Policy(least_cohort=101)
    with pytest.raises(BelowFloor, match="101"):
        go(willing, Scripted(), offer(min_count=100))
    willing.policy = Policy(least_cohort=8, least_neighbours=82)
    with pytest.raises(BelowFloor, match="82"):
        go(willing, Scripted())
    willing.policy = Policy(least_cohort=8, least_threshold=0.8)
    with pytest.raises(BelowFloor, match=r"0\.8"):
        go(willing, Scripted())
    willing.policy = Policy(least_cohort=8, models=("ease",))
    with pytest.raises(BelowFloor, match="subspace"):
        go(willing, Scripted())
    willing.policy = Policy(least_cohort=8, largest_upload=1000)
    with pytest.raises(BelowFloor, match="largest_upload"):
        go(willing, Scripted())
    willing.policy = Policy(least_cohort=8, largest_epsilon=4.0)
    with pytest.raises(BelowFloor, match=r"largest_epsilon: the round adds no noise .* allows ε 4 over its life"):
        go(willing, Scripted())


@pytest.mark.parametrize(
    "lie",
    [
        Offer(b"{}", shared()),
        Offer(b"\xff" * 100, shared()),
        Offer(plan(model="a program").encode(), shared()),
        Offer(plan(settings=(("dim", 8), ("eval", "print(1)"))).encode(), shared()),
        Offer(plan(settings=(("dim", -8),)).encode(), shared()),
        Offer(plan(catalogue="another").encode(), shared()),
        Offer(plan(round_number=2).encode(), shared()),
        Offer(plan(shared_hash="00" * 32).encode(), shared()),
        Offer(plan().encode(), spoilt("basis", 0.5)),
        Offer(plan(shared_hash=spoilt("basis", np.nan).hash()).encode(), spoilt("basis", np.nan)),
        Offer(plan(shared_hash=spoilt("listeners", np.inf).hash()).encode(), spoilt("listeners", np.inf)),
        Offer(
            plan().encode(),
            Shared("subspace", starter.catalogue().version, 0, {"basis": zeros((3, 8))}),
        ),
        Offer(plan(cohort=2**40).encode(), shared()),
    ],
    ids=[
        "no fields",
        "no plan",
        "another model",
        "unknown setting",
        "setting out of range",
        "another catalogue",
        "another round",
        "another hash",
        "changed model",
        "model with NaN",
        "model with infinity",
        "misshapen model",
        "a cohort that overflows",
    ],
)
def test_a_lying_server_gets_a_refusal_and_nothing_else(willing, lie):
    link = Scripted()
    with pytest.raises(Refusal):
        go(willing, link, lie)
    assert link.messages == link.answers == []
    assert kinds(willing)[-1] == "refused"
    assert willing.ledger.verify()


def test_a_plan_is_answered_once(willing):
    go(willing, Scripted())
    link = Scripted()
    with pytest.raises(PlanRefused, match="before"):
        go(willing, link)
    assert link.messages == []


def test_a_withdrawal_after_the_ledger_entry_destroys_what_was_queued_and_the_ledger_says_so(willing, monkeypatch):
    sending = willing.ledger.sending

    def sending_then_withdrawn(**facts):
        entry = sending(**facts)
        willing.consent.withdraw("share_update", server=SERVER)
        return entry

    monkeypatch.setattr(willing.ledger, "sending", sending_then_withdrawn)
    link = Scripted()
    with pytest.raises(ConsentMissing):
        go(willing, link)
    assert link.messages == []
    assert "destroyed" in str(willing.ledger.tail(3))
    assert willing.ledger.contributions() == ()


def test_a_clock_that_was_set_back_stops_contributions_until_it_has_settled(willing):
    now = willing.clock.now()
    willing.clock._time = lambda: now - 86_400.0
    link = Scripted()
    with pytest.raises(ClockUnsure):
        go(willing, link)
    assert link.messages == []


def test_a_ledger_that_cannot_be_written_keeps_everything_here(willing, monkeypatch):
    def full(**facts):
        raise DiskFull("the disk is full")

    monkeypatch.setattr(willing.ledger, "sending", full)
    link = Scripted()
    with pytest.raises(DiskFull):
        go(willing, link)
    assert link.messages == []


def test_the_entry_is_on_disk_before_the_message_is_handed_over(willing, tmp_path):
    from fedpersona.device.chain import Chain, signing_key
    from fedpersona.device.store import Store

    found = []

    class Looking(Scripted):
        def send(self, message):
            other = Store(willing.folder / "vault.db", willing._key.secret)
            found.extend(entry.body for entry in Chain(other, "ledger", signing_key(other)).entries())
            other.close()
            super().send(message)

    go(willing, Looking())
    assert found[-1]["kind"] == "sent"


def test_a_history_that_the_catalogue_does_not_know_sends_masked_zeros_so_that_staying_away_tells_nothing(willing):
    with willing._store.writing() as cursor:
        cursor.execute("DELETE FROM listens")
    link = Scripted()
    go(willing, link)
    words = decode(link.messages[0], plan_hash=plan().hash(), layout=link.round.layout, ring_bits=32)
    assert np.count_nonzero(words) > 0.99 * words.size
    assert last(willing).norm == 0.0
    opened = link.round.opened()
    counters = opened.size - MODEL.layout(starter.catalogue(), 1).size
    assert not opened[:-counters].any()


def test_what_a_server_says_after_it_was_handed_the_message_does_not_make_it_unsent(willing):
    class Liar(Scripted):
        def send(self, message):
            super().send(message)
            raise RoundClosed("closed")

    link = Liar()
    with pytest.raises(RoundClosed):
        go(willing, link)
    assert len(link.messages) == 1
    assert len(willing.ledger.contributions()) == 1
    assert "may have left" in str(willing.ledger.tail(1))
    with pytest.raises(PlanRefused, match="before"):
        go(willing, link)
    assert len(link.messages) == 1


NONSENSE = ["a text", ("a text",) * 8, 7, [b"x" * 32] * 8, {"shares": "a text"}, {"roster": 1, "view": 2}, {1: None}]


@pytest.mark.parametrize("kind", [SHARE, UPDATE, AGREE, UNMASK])
@pytest.mark.parametrize("answer", NONSENSE, ids=range(len(NONSENSE)))
def test_what_a_link_says_that_is_no_message_is_refused_whenever_it_says_it(willing, kind, answer):
    link = Scripted(lies={kind: lambda server, fields: answer})
    with pytest.raises(PlanRefused, match="does not consist of bytes"):
        go(willing, link)
    assert [one for one, _ in link.answers] == {
        SHARE: [ENTER],
        UPDATE: [ENTER, SHARE],
        AGREE: [ENTER, SHARE],
        UNMASK: [ENTER, SHARE, AGREE],
    }[kind]
    assert len(link.messages) == (kind in (AGREE, UNMASK))


@pytest.mark.parametrize("arrays", [None, {"basis": [[1.0]]}, {"basis": np.array(["x"])}])
def test_an_offer_that_is_no_offer_is_refused_and_written_down(willing, arrays):
    model = None if arrays is None else Shared("subspace", starter.catalogue().version, 0, arrays)
    with pytest.raises(PlanRefused):
        go(willing, Scripted(), Offer(plan().encode(), model))
    assert last(willing).kind == "refused"


def test_a_floor_that_is_raised_between_two_rounds_holds_for_the_second(willing):
    gate = Gate(willing.vault, willing.consent, lambda: willing.policy, willing.ledger, willing.clock)
    link = Scripted()
    gate.contribute(SERVER, link, link.opening(offer(run="one")), starter.catalogue(), Stop())
    willing.policy = Policy(least_cohort=10_000)
    with pytest.raises(BelowFloor):
        gate.contribute(SERVER, Scripted(), offer(run="two"), starter.catalogue(), Stop())


def reference(device, asked: Plan):
    """Return the layout of a round, and the words that a device has to send there before they are masked."""
    catalogue = starter.catalogue()
    plays = device.vault.plays(catalogue)
    model = create("subspace", dict(asked.settings))
    layout, own = round_layout(model, catalogue, asked), model.layout(catalogue, 1)
    update = model.contribute(shared(), model.personalise(shared(), plays), plays, np.random.default_rng(0))
    assert update_norm(update, own) > 2.0
    update = counted(clip(update, own, 2.0)[0], asked, model, shared(), plays)
    return layout, FixedPoint(layout, asked.cohort, 32).encode_words(update, device_offsets(asked, layout, plays))


def test_what_is_sent_unmasked_is_the_clipped_update_in_fixed_point_to_the_bit(willing):
    """With the owner's leave and without masks, the words are those that the reference computes."""
    willing.policy = Policy(least_cohort=8, allow_unmasked=True)
    link = Scripted()
    asked = plan(masked=False, clip=2.0)
    go(willing, link, Offer(asked.encode(), shared()))
    layout, expected = reference(willing, asked)
    words = decode(link.messages[0], plan_hash=asked.hash(), layout=layout, ring_bits=32)
    assert np.array_equal(words, expected)
    assert last(willing).norm == pytest.approx(2.0)
    assert link.answers == []


@pytest.mark.parametrize(
    "gone", [{}, {UPDATE: 1}, {AGREE: 2}, {UNMASK: 2}, {AGREE: 1, UNMASK: 1}], ids=lambda gone: str(sum(gone.values()))
)
def test_what_is_sent_masked_is_the_same_to_the_bit_once_the_masks_are_off_the_sum_also_when_others_leave(
    willing, gone
):
    link = Scripted(gone=gone)
    asked = plan(clip=2.0, min_count=8)
    go(willing, link, Offer(asked.encode(), shared()))
    layout, expected = reference(willing, asked)
    words = decode(link.messages[0], plan_hash=asked.hash(), layout=layout, ring_bits=32)
    assert np.count_nonzero(words == expected) < 0.01 * words.size
    assert np.array_equal(link.round.opened(), expected)
    assert last(willing).norm == pytest.approx(2.0)
    assert last(willing).outcome == "delivered"


def test_what_the_catalogue_does_not_know_changes_nothing_that_is_sent(willing):
    willing.policy = Policy(least_cohort=8, allow_unmasked=True)
    sent = []
    for run in ("before", "after"):
        link = Scripted()
        asked = plan(masked=False, run=run)
        go(willing, link, Offer(asked.encode(), shared()))
        layout = round_layout(MODEL, starter.catalogue(), asked)
        sent.append(decode(link.messages[0], plan_hash=asked.hash(), layout=layout, ring_bits=32))
        at = willing.clock.now() - 500
        willing.vault.add([Listen(at - 300 * n, MARK, f"A Song for Nobody {n}", (), 200) for n in range(50)])
    assert willing.vault.count() == 110
    assert np.array_equal(*sent)


def test_the_message_has_the_same_length_and_no_zeros_whatever_was_played(willing):
    link = Scripted()
    go(willing, link, offer(run="much"))
    with willing._store.writing() as cursor:
        cursor.execute("DELETE FROM listens WHERE track NOT IN (SELECT min(track) FROM listens)")
    go(willing, link, offer(run="little"))
    assert len({len(message) for message in link.messages}) == 1
    layout = link.round.layout
    for message, run in zip(link.messages, ("much", "little"), strict=True):
        words = decode(message, plan_hash=plan(run=run).hash(), layout=layout, ring_bits=32)
        assert np.count_nonzero(words) > 0.99 * words.size


def test_no_title_of_the_history_is_in_the_message_the_ledger_or_a_refusal(willing):
    link = Scripted()
    go(willing, link)
    with pytest.raises(Refusal) as refusal:
        go(willing, Scripted(), replace(offer(), plan=b"{}"))
    told = json.dumps(willing.ledger.export()) + str(refusal.value) + repr(link.messages[0][:2000])
    names = {name for track in willing.vault.tracks() for name in (track.title, track.artist)}
    names = {name for name in names if len(name) > 4}  # random bytes hold a shorter one by chance
    assert len(names) > 50
    assert not [name for name in names if name in told]
