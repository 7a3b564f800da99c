"""A real device, with its gate and its ledger, at a server that lies: each lie is refused, told and written down."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedpersona import Policy
from fedpersona.device import starter
from fedpersona.device.background import Stop
from fedpersona.device.conditions import Conditions
from fedpersona.device.https import Answer
from fedpersona.device.membership import Membership
from fedpersona.device.visit import Visited
from fedpersona.errors import DataError, ParcelRefused, PlanRefused, ServerUnreachable, ServerUntrusted, Stopped
from fedpersona.taste.model_file import pack
from fedpersona.wire.signed_catalogue import seal
from fedpersona.wire.signed_plan import seal_plan
from fedpersona.wire.signed_release import ReleaseNote, seal_release
from tests.device.network import (
    OPERATOR,
    SERVER,
    Rounds,
    Web,
    ask,
    good_plan,
    in_rounds,
    invitation,
    linked,
    noes,
    said,
    seen,
    stand_in,
    visited,
)
from tests.device.one_server import STEPS
from tests.device.servers import MODEL, shared, spoilt


@pytest.fixture(autouse=True)
def web(monkeypatch):
    stand_in(monkeypatch)


@pytest.fixture
def willing(device):
    device.consent.grant("share_update", server=SERVER)
    device.policy = Policy(least_cohort=8)
    return device


def of_model(changed) -> dict:
    """Serve a model under its own hash, and return the plan's change for it."""
    Web.pages[f"/v1/models/{changed.hash()}"] = Answer(200, pack(changed, MODEL.model_dump(mode="json")), {})
    return {"shared_hash": changed.hash()}


def misshapen():
    arrays = {name: array[:3] for name, array in shared().arrays.items()}
    return replace(shared(), arrays=arrays)


def _settings(**changes):
    return {"settings": tuple(sorted({**MODEL.model_dump(), **changes}.items()))}


PROMISED = {"noise": "central", "noise_multiplier": 1e6, "epsilon": 0.1, "delta": 1e-6}

WRONG = {
    "another key": lambda: invitation(seal_plan(good_plan(), Ed25519PrivateKey.generate())),
    "no signature": lambda: invitation(good_plan().encode() + bytes(64)),
    "another federation": lambda: invitation(federation="Another"),
    "expired": lambda: invitation(expires=int(time.time()) - 3600),
    "a day behind": lambda: invitation(issued=int(time.time()) - 86_400, expires=int(time.time()) - 85_000),
    "without an end": lambda: invitation(expires=0),
    "unmasked": lambda: invitation(kind="train.plain", masked=False),
    "masks promised and not asked": lambda: invitation(kind="train.plain"),
    "masks asked and not promised": lambda: invitation(masked=False),
    "no clip": lambda: invitation(clip=None),
    "a long clip": lambda: invitation(clip=1e30),
    "a cohort of one": lambda: invitation(min_count=1),
    "few neighbours": lambda: invitation(neighbours=38, threshold=38),
    "a low threshold": lambda: invitation(threshold=47),
    "no neighbours": lambda: invitation(neighbours=0, threshold=0),
    "an odd number of neighbours": lambda: invitation(neighbours=81),
    "a threshold above all": lambda: invitation(threshold=81),
    "a cohort that overflows": lambda: invitation(cohort=2**40),
    "noise on a model that is not made for it": lambda: invitation(**PROMISED),
    "another model": lambda: invitation(model="a program"),
    "an unknown setting": lambda: invitation(**_settings(eval="print(1)")),
    "a setting out of range": lambda: invitation(**_settings(dim=-8)),
    "a huge setting": lambda: invitation(**_settings(dim=10**9)),
    "another catalogue": lambda: invitation(catalogue="0" * 64),
    "another round": lambda: invitation(round_number=2),
    "a path as a hash": lambda: invitation(shared_hash="../../etc/passwd"),
    "a model with NaN": lambda: invitation(**of_model(spoilt("basis", np.nan))),
    "a model with infinity": lambda: invitation(**of_model(spoilt("listeners", np.inf))),
    "a misshapen model": lambda: invitation(**of_model(misshapen())),
    "a message of no agreed form": lambda: ParcelRefused("the server's message is none of ours"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_plan_is_refused_told_and_written_down_once_and_nothing_leaves(name, willing):
    link, mailbox = linked(WRONG[name]())
    told = visited(willing, link)
    assert told.startswith("not contributed: ")
    (entry,) = noes(willing)
    assert told.removeprefix("not contributed: ") in entry
    assert mailbox.answers == []
    owners = {"unmasked", "no clip", "a long clip", "a cohort of one"}
    owners |= {"few neighbours", "a low threshold", "no neighbours"}
    if name == "a message of no agreed form":
        assert mailbox.refusals == []  # the node itself has said "form"
    else:
        assert mailbox.refusals == ["declined" if name in owners else "plan"]
    assert willing.ledger.verify()


def test_without_a_yes_a_device_does_not_show_itself_to_any_round(device):
    link, mailbox = linked(invitation())
    shown: list[str] = []
    mailbox.beat = lambda: shown.append("beat")
    mailbox.pull = lambda: shown.append("pull")
    came = seen(device, link)
    assert came.words.startswith("not contributed: ")
    assert not came.refused  # it may come as often as the server likes: what is public is for it, too
    assert shown == mailbox.answers == mailbox.refusals == noes(device) == []
    assert "/v1/catalogue" in link._https.asked
    assert "/v1/release" in link._https.asked


def test_a_model_that_is_not_served_is_a_server_that_cannot_be_reached_and_nothing_leaves(willing):
    link, mailbox = linked(invitation(shared_hash="0" * 64))
    with pytest.raises(ServerUnreachable):
        visited(willing, link)
    assert mailbox.answers == []


def test_an_honest_server_gets_a_masked_update_so_that_these_tests_can_fail(willing):
    rounds = Rounds()
    assert visited(willing, in_rounds(rounds)) == "contributed to 1 round"
    assert rounds.kinds == list(STEPS)
    assert rounds.round.opened().any()
    assert rounds.refusals == noes(willing) == []


def test_a_flood_of_replayed_plans_ends_the_visit_after_three(willing):
    Web.pages["/v1/bell"] = said(bell=10**6)
    link, mailbox = linked(*[invitation(serial=0) for _ in range(50)])
    visited(willing, link)
    assert len(noes(willing)) == 3
    assert len(mailbox.asks) == 47


def test_a_flood_of_wrong_plans_ends_the_visit_after_one(willing):
    Web.pages["/v1/bell"] = said(bell=10**6)
    link, _ = linked(*[invitation(federation="Another", serial=n) for n in range(1, 50)])
    visited(willing, link)
    assert len(noes(willing)) == 1


def test_a_server_whose_every_plan_is_refused_is_visited_less_and_less_whatever_it_wishes():
    """So the ledger of a device that joined a lying server grows by a few dozen entries a day and no more."""
    membership = Membership(SERVER, lambda stop: Visited("not contributed: a reason", refused=True), Conditions())
    membership.rest = 5.0
    pauses = []
    for _ in range(20):
        membership._outcome(Stop())
        pauses.append(membership._pause())
    assert pauses[0] == 5.0
    assert pauses == sorted(pauses)
    assert pauses[-1] == 3600.0
    assert sum(pause < 3600 for pause in pauses) <= 11
    membership._visit = lambda stop: Visited("contributed to 1 round")
    membership._outcome(Stop())
    assert membership._pause() == 5.0


def test_a_catalogue_that_changes_in_the_middle_of_a_run_ends_the_contribution_and_the_next_visit_takes_it(willing):
    link, _ = linked(invitation(catalogue="f" * 64))
    assert "another version of the catalogue" in visited(willing, link)
    assert visited(willing, in_rounds(Rounds())) == "contributed to 1 round"


CATALOGUES = {
    "by another key": lambda: seal(starter.catalogue(), issued=int(time.time()), key=Ed25519PrivateKey.generate()),
    "cut off": lambda: seal(starter.catalogue(), issued=int(time.time()), key=OPERATOR)[:-1],
    "noise": lambda: b"\xff" * 1000,
    "empty": lambda: b"",
    "a pickle": lambda: b"\x80\x04.",
}


@pytest.mark.parametrize("name", CATALOGUES)
def test_a_catalogue_that_is_not_the_operators_is_refused_and_written_down(name, willing):
    Web.pages["/v1/catalogue"] = Answer(200, CATALOGUES[name](), {})
    link, mailbox = linked(invitation())
    with pytest.raises(DataError):
        visited(willing, link)
    assert mailbox.answers == []
    assert len(noes(willing)) == 1
    assert willing.shelf.catalogue.version == starter.catalogue().version


def released(model=None, *, key=OPERATOR, federation="Taste") -> Answer:
    import hashlib

    packed = pack(model or shared(), MODEL.model_dump(mode="json"))
    note = ReleaseNote(federation, 3, 1000, 40, 2, hashlib.sha256(packed).hexdigest())
    return Answer(200, seal_release(note, packed, key), {})


RELEASES = {
    "another federation": lambda: released(federation="Another"),
    "another key": lambda: released(key=Ed25519PrivateKey.generate()),
    "a model with NaN": lambda: released(spoilt("basis", np.nan)),
    "a misshapen model": lambda: released(misshapen()),
    "noise": lambda: Answer(200, b"\xff" * 500, {}),
}


@pytest.mark.parametrize("name", RELEASES)
def test_a_model_that_is_not_what_was_agreed_is_refused_and_the_last_one_stays(name, willing):
    Web.pages["/v1/release"] = RELEASES[name]()
    link, _ = linked()
    with pytest.raises(PlanRefused):
        visited(willing, link)
    assert willing.shelf.trained is None
    assert len(noes(willing)) == 1


@pytest.mark.parametrize("error", [ServerUntrusted, ServerUnreachable])
def test_a_server_that_is_not_the_one_or_sends_elsewhere_is_a_failed_visit_and_nothing_leaves(error, willing):
    """What raises them is held in test_https: another authority, plain HTTP, a redirect, a compressed answer."""
    link, mailbox = linked(invitation())

    def refuse(*_, **__):
        raise error("not the one")

    link._https.get = refuse
    with pytest.raises(error):
        visited(willing, link)
    assert mailbox.answers == []
    membership = Membership(SERVER, lambda stop: seen(willing, link, stop), Conditions())
    assert membership._outcome(Stop()).startswith("failed: not the one")


@pytest.mark.parametrize("where", ["bell", "roster", "flood"])
def test_the_app_can_stop_in_under_a_second_whatever_the_server_does(where, willing):
    stop = Stop()
    Web.pages["/v1/bell"] = said(bell=10**6)
    link, mailbox = linked(invitation())
    link._stop = stop
    if where == "bell":  # it never rings and is never busy with anything
        mailbox.asks = []
        Web.pages["/v1/bell"] = said(bell=1)
    elif where == "flood":
        mailbox.pull = lambda: ask("train.update", plan_hash=b"0" * 64, shares=b"s" * 81)
    timer = threading.Timer(0.3, stop.set)
    began = time.monotonic()
    timer.start()
    with pytest.raises(Stopped):
        visited(willing, link, stop)
    assert time.monotonic() - began < 1.3
    timer.join()
