"""The one door: consent, floors, finite, clip, fixed point, mask, ledger, send; each can say no, each no is written."""

from __future__ import annotations

import hashlib
import json
import threading
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
from fedpersona.wire.message import decode
from tests.device.invented import MARK
from tests.device.servers import MODEL, SERVER, Scripted, offer, plan, shared, spoilt, zeros


def go(device, link, offered=None, stop=None):
    gate = Gate(device.vault, device.consent, lambda: device.policy, device.ledger, device.clock)
    return gate.contribute(SERVER, link, offered or offer(), starter.catalogue(), stop or Stop())


@pytest.fixture
def willing(device):
    device.consent.grant("share_update", server=SERVER)
    return device


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


def test_without_consent_nothing_leaves_not_even_a_key_and_the_no_is_written(device):
    link = Scripted()
    with pytest.raises(ConsentMissing, match="not been asked"):
        go(device, link)
    assert link.messages == link.entered == []
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
        ({"min_count": 49}, "least_cohort"),
        ({"clip": 65.0}, "largest_clip"),
        ({"clip": None}, "largest_clip"),
        ({"masked": False}, "allow_unmasked"),
    ],
)
def test_a_plan_below_a_floor_is_refused_with_the_floor_and_the_refusal_is_in_the_ledger(willing, changes, floor):
    link = Scripted()
    with pytest.raises(BelowFloor, match=floor):
        go(willing, link, offer(**changes))
    assert link.messages == link.entered == []
    assert floor in str(willing.ledger.tail(1))


def test_the_owner_can_raise_a_floor(willing):
    willing.policy = Policy(least_cohort=101)
    with pytest.raises(BelowFloor, match="101"):
        go(willing, Scripted())
    willing.policy = Policy(models=("ease",))
    with pytest.raises(BelowFloor, match="subspace"):
        go(willing, Scripted())
    willing.policy = Policy(largest_upload=1000)
    with pytest.raises(BelowFloor, match="largest_upload"):
        go(willing, Scripted())
    willing.policy = Policy(largest_epsilon=4.0)
    with pytest.raises(BelowFloor, match="no differential privacy"):
        go(willing, Scripted())


def test_an_epsilon_that_a_server_makes_up_is_refused_and_the_ledger_says_why(willing):
    link = Scripted()
    with pytest.raises(BelowFloor, match="takes no promise"):
        go(willing, link, offer(epsilon=0.001))
    assert link.messages == link.entered == []
    assert "cannot check that noise is added" in str(willing.ledger.tail(1))


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
        Offer(plan(cohort=2**40, min_count=100).encode(), shared()),
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
    assert link.messages == link.entered == []
    assert kinds(willing)[-1] == "refused"
    assert willing.ledger.verify()


def test_a_plan_is_answered_once(willing):
    go(willing, Scripted())
    link = Scripted()
    with pytest.raises(PlanRefused, match="before"):
        go(willing, link)
    assert link.messages == []


def test_a_withdrawal_in_the_middle_of_a_round_stops_it_and_nothing_is_sent(willing):
    link = Scripted(before_send=lambda: willing.consent.withdraw("share_update", server=SERVER))
    with pytest.raises(ConsentMissing):
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


def test_the_words_of_an_update_that_is_not_sent_are_wiped(willing, monkeypatch):
    seen = []
    encode_words = FixedPoint.encode_words

    def watched(self, update, offsets, out=None):
        seen.append(encode_words(self, update, offsets, out))
        assert seen[-1].any()
        return seen[-1]

    monkeypatch.setattr(FixedPoint, "encode_words", watched)
    with pytest.raises(ConsentMissing):
        go(willing, Scripted(before_send=lambda: willing.consent.withdraw("share_update", server=SERVER)))
    assert not seen[0].any()


def test_the_app_can_stop_a_round_that_waits_for_the_server(willing):
    stop = Stop()
    link = Scripted()

    def not_yet(plan_hash, seconds):
        stop.wait(seconds)

    link.neighbours = not_yet
    timer = threading.Timer(0.3, stop.set)
    timer.start()
    with pytest.raises(Stopped):
        go(willing, link, stop=stop)
    timer.join()
    assert link.messages == []


def test_a_roster_that_would_undo_the_masks_is_refused(willing):
    for neighbours in ((b"x" * 32,), (bytes(32),) * 8):
        link = Scripted(neighbours=neighbours)
        with pytest.raises(PlanRefused):
            go(willing, link, offer(run=str(len(neighbours))))
        assert link.messages == []


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

    go(willing, Looking())
    assert found[-1]["kind"] == "sent"


def test_a_history_that_the_catalogue_does_not_know_sends_masked_zeros_so_that_staying_away_tells_nothing(willing):
    with willing._store.writing() as cursor:
        cursor.execute("DELETE FROM listens")
    link = Scripted()
    go(willing, link)
    words = decode(link.messages[0], plan_hash=plan().hash(), layout=MODEL.layout(starter.catalogue(), 1), ring_bits=32)
    assert np.count_nonzero(words) > 0.99 * words.size
    assert last(willing).norm == 0.0


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


@pytest.mark.parametrize("roster", ["a text", ("a text",) * 8, (1,) * 8, 7, [b"x" * 32] * 8])
def test_a_roster_that_is_no_list_of_keys_is_refused(willing, roster):
    link = Scripted()
    link._neighbours = roster
    with pytest.raises(PlanRefused, match="roster"):
        go(willing, link)
    assert link.messages == []


@pytest.mark.parametrize("arrays", [None, {"basis": [[1.0]]}, {"basis": np.array(["x"])}])
def test_an_offer_that_is_no_offer_is_refused_and_written_down(willing, arrays):
    model = None if arrays is None else Shared("subspace", starter.catalogue().version, 0, arrays)
    with pytest.raises(PlanRefused):
        go(willing, Scripted(), Offer(plan().encode(), model))
    assert last(willing).kind == "refused"


def test_a_floor_that_is_raised_between_two_rounds_holds_for_the_second(willing):
    gate = Gate(willing.vault, willing.consent, lambda: willing.policy, willing.ledger, willing.clock)
    gate.contribute(SERVER, Scripted(), offer(run="one"), starter.catalogue(), Stop())
    willing.policy = Policy(least_cohort=10_000)
    with pytest.raises(BelowFloor):
        gate.contribute(SERVER, Scripted(), offer(run="two"), starter.catalogue(), Stop())


def test_what_is_sent_unmasked_is_the_clipped_update_in_fixed_point_to_the_bit(willing):
    """With the owner's leave and without masks, the words are those that the reference computes."""
    willing.policy = Policy(allow_unmasked=True)
    link = Scripted()
    asked = plan(masked=False, clip=2.0)
    go(willing, link, Offer(asked.encode(), shared()))
    catalogue = starter.catalogue()
    plays = willing.vault.plays(catalogue)
    model = create("subspace", dict(asked.settings))
    layout = model.layout(catalogue, 1)
    update = model.contribute(shared(), model.personalise(shared(), plays), plays, np.random.default_rng(0))
    assert update_norm(update, layout) > 2.0
    clipped, _ = clip(update, layout, 2.0)
    expected = FixedPoint(layout, asked.cohort, 32).encode_words(clipped, device_offsets(asked, layout, plays))
    words = decode(link.messages[0], plan_hash=asked.hash(), layout=layout, ring_bits=32)
    assert np.array_equal(words, expected)
    assert last(willing).norm == pytest.approx(2.0)


def test_what_the_catalogue_does_not_know_changes_nothing_that_is_sent(willing):
    willing.policy = Policy(allow_unmasked=True)
    sent = []
    for run in ("before", "after"):
        link = Scripted()
        asked = plan(masked=False, run=run)
        go(willing, link, Offer(asked.encode(), shared()))
        layout = MODEL.layout(starter.catalogue(), 1)
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
    layout = MODEL.layout(starter.catalogue(), 1)
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
