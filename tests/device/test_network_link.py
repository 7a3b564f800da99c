"""A device's way to a server: what it believes, what it refuses, what it tells."""

import hashlib
import time
from dataclasses import replace

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedpersona.device import network_link
from fedpersona.device.background import Stop
from fedpersona.device.https import Answer
from fedpersona.device.identity import Identity
from fedpersona.device.network_link import NetworkLink
from fedpersona.errors import (
    OtherFederation,
    ParcelRefused,
    PlanExpired,
    PlanForged,
    PlanRefused,
    PlanReplayed,
    RoundClosed,
    ServerUnreachable,
)
from fedpersona.taste.model_file import pack
from fedpersona.wire.parcel import verify_reply
from fedpersona.wire.plan import Plan
from fedpersona.wire.signed_plan import seal_plan
from fedpersona.wire.signed_release import ReleaseNote, seal_release
from fedpersona.wire.signed_roster import sign_roster
from tests.device.network import (
    IDENTITY,
    OPERATOR,
    PACKED,
    SERVER,
    Serials,
    Web,
    ask,
    good_plan,
    invitation,
    linked,
    said,
)
from tests.device.servers import shared


@pytest.fixture(autouse=True)
def web(monkeypatch):
    Web.pages = {
        "/v1/status": said(),
        "/v1/bell": said(bell=2),
        "/v1/catalogue": Answer(200, b"sealed", {"etag": "a"}),
        f"/v1/models/{shared().hash()}": Answer(200, PACKED, {}),
    }
    monkeypatch.setattr(network_link, "Https", Web)


def question(kind: str, digest: str, *, key=OPERATOR, signed: str | None = None):
    """Return what a server asks in a round, of the agreed form; nothing more of it is true."""
    fields = {
        "query.share": {
            "roster": bytes(36),
            "signature": sign_roster(bytes(36), signed or digest, key),
            "view": bytes(166),
        },
        "train.update": {"shares": b"s" * 81},
        "query.agree": {"survivors": b"\1"},
        "query.unmask": {"signatures": b"s" * 68},
    }
    return ask(kind, plan_hash=digest.encode(), **fields[kind])


STEPS = {
    "query.share": ("sealed", b"a" * 832),
    "train.update": ("update", b"masked"),
    "query.agree": (None, b"b" * 32),
    "query.unmask": ("shares", b"c" * 300),
}
"""What is asked once a device has entered, which field the answer is in, and the answer."""


def test_a_round_from_the_offer_to_the_shares_and_each_answer_is_signed_for_its_kind_and_plan():
    link, mailbox = linked(invitation())
    offer = link.offer(1.0)
    assert Plan.decode(offer.plan).serial == 5
    assert offer.shared.hash() == shared().hash()
    digest = Plan.decode(offer.plan).hash()
    public = IDENTITY.signer.public_key().public_bytes_raw()
    assert link.identity == public
    Web.pages["/v1/bell"] = said(bell=9)
    link.answer("query.enter", digest, b"k" * 64)
    for kind, (_, body) in STEPS.items():
        mailbox.asks = [question(kind, digest)]
        assert link.question(kind, digest, 0.1) == question(kind, digest).parcel.fields
        if kind == "train.update":
            link.send(bytearray(body))
        else:
            link.answer(kind, digest, body)
    assert [kind for kind, _ in mailbox.answers] == ["query.enter", *STEPS]
    for (kind, fields), (name, body) in zip(mailbox.answers, [("keys", b"k" * 64), *STEPS.values()], strict=True):
        assert fields == ({} if name is None else {name: body}) | {"signature": fields["signature"]}
        verify_reply(kind, digest, body, fields["signature"], public)
        for other, plan_hash in ((kind, "0" * 64), ("train.plain", digest)):
            with pytest.raises(ParcelRefused):
                verify_reply(other, plan_hash, body, fields["signature"], public)
    assert mailbox.refusals == []


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        (lambda: invitation(seal_plan(good_plan(), Ed25519PrivateKey.generate())), PlanForged),
        (lambda: invitation(b"x" * 500), PlanForged),
        (lambda: invitation(seal_plan(good_plan(), OPERATOR)[:-1] + b" "), PlanForged),
        (lambda: invitation(federation="Another"), OtherFederation),
        (lambda: invitation(expires=int(time.time()) - 3600), PlanExpired),
        (lambda: invitation(expires=0), PlanExpired),
        (lambda: invitation(serial=0), PlanReplayed),
        (lambda: invitation(shared_hash="0" * 64), ServerUnreachable),  # the server has no such model
        (lambda: invitation(shared_hash="../../etc/passwd"), PlanRefused),
        (lambda: invitation(masked=False), PlanRefused),
        (lambda: invitation(kind="train.plain"), PlanRefused),
    ],
    ids=["another key", "noise", "changed", "another federation", "expired", "no end", "replayed", "no model", "a path",
         "masks promised", "masks dropped"],
)  # fmt: skip
def test_a_plan_that_is_not_what_was_agreed_is_refused_before_anything_is_computed(asked, error):
    link, mailbox = linked(asked())
    with pytest.raises(error):
        link.offer(1.0)
    if error is not ServerUnreachable:
        assert mailbox.refusals == ["plan"]
    assert not mailbox.answers


def test_a_plan_is_answered_once_and_an_older_one_never():
    serials = Serials()
    link, _ = linked(invitation(), serials=serials)
    assert link.offer(1.0) is not None
    for serial in (5, 4):
        again, _ = linked(invitation(serial=serial), serials=serials)
        with pytest.raises(PlanReplayed):
            again.offer(1.0)
    newer, _ = linked(invitation(serial=6), serials=serials)
    assert newer.offer(1.0) is not None


def test_a_model_that_is_not_the_plans_is_refused():
    other = replace(shared(), arrays={name: array + np.float32(1) for name, array in shared().arrays.items()})
    Web.pages[f"/v1/models/{shared().hash()}"] = Answer(200, pack(other, {}), {})
    link, mailbox = linked(invitation())
    with pytest.raises(PlanRefused, match="hash differs"):
        link.offer(1.0)
    assert mailbox.refusals == ["plan"]


@pytest.mark.parametrize("body", [b"", b"\x00" * 4, b"\xff" * 100, PACKED[:-1], b"\x80\x04."])
def test_bytes_that_are_no_model_are_refused(body):
    Web.pages[f"/v1/models/{shared().hash()}"] = Answer(200, body, {})
    link, _ = linked(invitation())
    with pytest.raises(PlanRefused):
        link.offer(1.0)


def test_a_model_inside_the_message_is_not_fetched():
    link, _ = linked(ask("query.enter", plan=seal_plan(good_plan(), OPERATOR), model=PACKED))
    assert link.offer(1.0).shared.hash() == shared().hash()
    assert not any("/models/" in path for path in link._https.asked)


def test_a_message_of_another_form_is_one_refusal_in_the_devices_words():
    link, _ = linked(ParcelRefused("a message of type 'train' is none of ours"))
    with pytest.raises(PlanRefused, match="none of ours"):
        link.offer(1.0)


def entered(*asks):
    """Return a link that has entered a round, its mailbox with what the server asks next, and the round."""
    Web.pages["/v1/bell"] = said(bell=9)
    link, mailbox = linked(invitation())
    digest = Plan.decode(link.offer(1.0).plan).hash()
    link.answer("query.enter", digest, b"k" * 64)
    mailbox.asks = list(asks)
    return link, mailbox, digest


@pytest.mark.parametrize("kind", STEPS)
def test_a_round_that_is_begun_again_is_offered_next(kind):
    link, mailbox, digest = entered(invitation(serial=6))
    with pytest.raises(RoundClosed):
        link.question(kind, digest, 0.1)
    assert Plan.decode(link.offer(1.0).plan).serial == 6
    assert mailbox.refusals == []


@pytest.mark.parametrize("kind", STEPS)
def test_a_message_of_another_round_is_answered_late_and_waited_past(kind):
    link, mailbox, digest = entered(question(kind, "0" * 64))
    assert link.question(kind, digest, 0.1) is None
    assert mailbox.refusals == ["late"]
    mailbox.asks = [question(kind, digest)]
    assert link.question(kind, digest, 0.1) is not None


@pytest.mark.parametrize("kind", STEPS)
@pytest.mark.parametrize("asked", STEPS)
def test_a_message_that_is_not_the_next_of_its_round_is_answered_late_and_can_be_answered_in_no_other_way(kind, asked):
    link, mailbox, digest = entered(question(asked, digest := good_plan().hash()))
    if kind == asked:
        assert link.question(kind, digest, 0.1) is not None
        return
    assert link.question(kind, digest, 0.1) is None
    assert mailbox.refusals == ["late"]
    with pytest.raises(RoundClosed):
        link.answer(asked, digest, b"x" * 64)
    with pytest.raises(RoundClosed):
        link.send(b"x")
    assert [one for one, _ in mailbox.answers] == ["query.enter"]


@pytest.mark.parametrize("asked", STEPS)
def test_a_message_that_comes_when_no_round_is_open_for_this_device_is_answered_late(asked):
    link, mailbox = linked(question(asked, "0" * 64))
    assert link.offer(1.0) is None
    assert mailbox.refusals == ["late"]
    with pytest.raises(RoundClosed):
        link.send(b"x")
    assert mailbox.answers == []


@pytest.mark.parametrize("lie", ["another key", "another plan", "another roster"])
def test_a_roster_that_the_operator_did_not_close_for_this_plan_is_refused_and_the_server_is_told(lie):
    digest = good_plan().hash()
    key = Ed25519PrivateKey.generate() if lie == "another key" else OPERATOR
    shown = question("query.share", digest, key=key, signed="0" * 64 if lie == "another plan" else None)
    if lie == "another roster":
        shown = ask("query.share", **{**shown.parcel.fields, "roster": b"\1" + bytes(35)})
    link, mailbox, digest = entered(shown)
    with pytest.raises(PlanForged, match="roster is not signed by the operator"):
        link.question("query.share", digest, 0.1)
    assert mailbox.refusals == ["plan"]
    with pytest.raises(RoundClosed):
        link.answer("query.share", digest, b"x" * 64)


def test_a_device_that_waits_for_a_round_that_was_given_up_stops_waiting():
    link, _, digest = entered()
    Web.pages["/v1/bell"] = said(bell=2, busy=False)
    assert link.question("query.share", digest, 0.1) is None  # one look at what is there
    with pytest.raises(RoundClosed, match="gave the round up"):
        link.question("query.share", digest, 0.1)


def test_a_device_waits_no_longer_than_the_plan_says(monkeypatch):
    link, _, digest = entered()
    later = time.time() + 600 + 301
    monkeypatch.setattr(network_link.time, "time", lambda: later)
    with pytest.raises(RoundClosed, match="before the round's end"):
        link.question("query.share", digest, 0.1)


def test_messages_are_looked_for_when_the_bell_rang_and_not_before():
    link, mailbox = linked()
    link.catalogue()
    assert link.offer(1.0) is None  # the first look
    Web.pages["/v1/bell"] = said(bell=1)
    mailbox.asks = [invitation()]
    assert link.offer(1.0) is None
    Web.pages["/v1/bell"] = said(bell=2)
    assert link.offer(1.0) is not None


NONSENSE = (
    b"", b"[]", b"{}", b'{"bell": "1", "busy": true}', b'{"bell": 1, "busy": 1}', b"9" * 5000,
    b'{"bell": 1, "busy": true, "spread": 1' + b"0" * 400 + b"}", b'{"bell": -1, "busy": true}',
    b'{"bell": 1' + b"0" * 30 + b', "busy": true}', b'{"bell": 1, "busy": true, "come_back": Infinity}',
    b'{"bell": 1, "busy": true, "spread": 1e9}', b'{"bell": 1, "busy": true, "come_back": "x"}',
)  # fmt: skip


@pytest.mark.parametrize("body", NONSENSE)
def test_a_server_that_says_nonsense_about_itself_is_one_named_error(body):
    Web.pages["/v1/status"] = Answer(200, body, {})
    link, _ = linked()
    with pytest.raises(ServerUnreachable):
        link.catalogue()


def test_what_was_fetched_before_is_not_fetched_again():
    seen: dict[str, str] = {}
    link, _ = linked(seen=seen)
    assert link.catalogue() == b"sealed"
    later, _ = linked(seen=seen)
    assert later.catalogue() is None
    Web.pages["/v1/catalogue"] = Answer(200, b"changed", {"etag": "b"})
    assert later.catalogue() == b"changed"


def test_the_promoted_model_comes_also_to_a_device_that_is_not_enrolled():
    public = Identity(SERVER, "Taste", IDENTITY.operator)
    note = ReleaseNote("Taste", 3, 1000, 40, 2, hashlib.sha256(PACKED).hexdigest())
    Web.pages["/v1/release"] = Answer(200, seal_release(note, PACKED, OPERATOR), {})
    link = NetworkLink(public, Serials(), Stop())
    assert link.catalogue() == b"sealed"
    assert not link.busy
    assert link.offer(1.0) is None
    assert link.release().shared.hash() == shared().hash()


@pytest.mark.parametrize("change", ["key", "federation", "older", "cut"])
def test_a_promoted_model_that_is_not_the_operators_newest_is_refused(change):
    note = ReleaseNote("Taste", 3, 1000, 40, 2, hashlib.sha256(PACKED).hexdigest())
    key = Ed25519PrivateKey.generate() if change == "key" else OPERATOR
    note = replace(note, federation="Another") if change == "federation" else note
    sealed = seal_release(note, PACKED, key)
    Web.pages["/v1/release"] = Answer(200, sealed[:-1] if change == "cut" else sealed, {})
    serials = Serials()
    serials.issued = 2000 if change == "older" else 0
    link, _ = linked(serials=serials)
    errors = {"key": PlanForged, "federation": OtherFederation, "older": PlanReplayed, "cut": PlanForged}
    with pytest.raises(errors[change]):
        link.release()


def test_the_rest_between_visits_is_the_servers_wish_within_reason():
    link, _ = linked()
    for asked, kept in ((0, 5.0), (120, 120.0), (1e9, 6 * 3600.0)):
        Web.pages["/v1/status"] = said(come_back=asked)
        link.catalogue()
        assert link.rest == kept


def test_a_goodbye_is_said_also_when_the_app_stops_on_a_way_that_the_wish_does_not_end():
    link, mailbox = linked()
    link._stop.set()
    link.leave()
    assert mailbox.gone
    assert mailbox.way is not link._https
    assert mailbox.way.closed
    assert link._https.closed


def test_a_goodbye_is_said_once_and_the_way_is_closed():
    link, mailbox = linked()
    link.leave()
    assert mailbox.gone
    assert link._https.closed
    assert link._node is None
