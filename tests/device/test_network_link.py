import json
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
from fedpersona.device.node import Ask
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
from fedpersona.wire.parcel import Parcel, verify_reply
from fedpersona.wire.plan import Plan
from fedpersona.wire.signed_plan import seal_plan
from fedpersona.wire.signed_release import ReleaseNote, seal_release
from tests.device.servers import MODEL, plan, shared

SERVER = "https://taste.example"
OPERATOR = Ed25519PrivateKey.generate()
IDENTITY = replace(
    Identity(SERVER, "Taste", OPERATOR.public_key().public_bytes_raw()).with_keys(), device=1, node_id=77
)
PACKED = pack(shared(), MODEL.model_dump(mode="json"))


def good_plan(**changes) -> Plan:
    now = int(time.time())
    return replace(plan(), **{"federation": "Taste", "serial": 5, "issued": now, "expires": now + 600, **changes})


class Serials:
    """What the device remembers of plans and releases."""

    def __init__(self) -> None:
        self.serial = self.issued = 0

    def accept_serial(self, server: str, serial: int) -> None:
        if serial <= self.serial:
            raise PlanReplayed("the server's plan is one of a round that is over")
        self.serial = serial

    def accept_issue(self, server: str, issued: int) -> None:
        if issued < self.issued:
            raise PlanReplayed("the server's model is older")
        self.issued = issued


class Web:
    """Stands in for the HTTPS of one server."""

    pages: dict[str, Answer]

    def __init__(self, address, authority, stop) -> None:
        self.asked: list[str] = []
        self.closed = False

    def get(self, path, *, most, seconds=30.0, etag=None) -> Answer:
        self.asked.append(path)
        found = Web.pages.get(path.partition("?")[0], Answer(404, b"{}", {}))
        if etag is not None and found.headers.get("etag") == etag:
            return Answer(304, b"", found.headers)
        return found

    def close(self) -> None:
        self.closed = True


class Mailbox:
    """Stands in for the node: gives the asks that a test put in, keeps the answers."""

    def __init__(self, *asks) -> None:
        self.asks = list(asks)
        self.answers: list[tuple[str, dict]] = []
        self.refusals: list[str] = []
        self.gone = False

    def beat(self) -> None: ...

    def pull(self):
        ask = self.asks.pop(0) if self.asks else None
        if isinstance(ask, Exception):
            raise ask
        return ask

    def answer(self, ask, fields) -> None:
        self.answers.append((ask.parcel.kind, dict(fields)))

    def refuse(self, ask, code) -> None:
        self.refusals.append(code)

    def leave(self, seconds=1.0, way=None) -> None:
        self.gone = True
        self.way = way


def said(**changes) -> Answer:
    return Answer(200, json.dumps({"bell": 1, "busy": True, "spread": 0, "come_back": 5, **changes}).encode(), {})


@pytest.fixture(autouse=True)
def web(monkeypatch):
    Web.pages = {
        "/v1/status": said(),
        "/v1/bell": said(bell=2),
        "/v1/catalogue": Answer(200, b"sealed", {"etag": "a"}),
        f"/v1/models/{shared().hash()}": Answer(200, PACKED, {}),
    }
    monkeypatch.setattr(network_link, "Https", Web)


def ask(kind: str, **fields: bytes) -> Ask:
    return Ask(Parcel(kind, fields), head=None)


def invitation(sealed: bytes | None = None, kind: str = "query.enter", **changes) -> Ask:
    return ask(kind, plan=seal_plan(good_plan(**changes), OPERATOR) if sealed is None else sealed)


def linked(*asks, identity=IDENTITY, serials=None, seen=None):
    link = NetworkLink(identity, serials or Serials(), Stop(), seen)
    link._node = Mailbox(*asks)
    return link, link._node


def test_a_round_from_the_offer_to_the_update():
    link, mailbox = linked(
        invitation(), ask("train.update", plan_hash=good_plan().hash().encode(), neighbours=b"n" * 320)
    )
    offer = link.offer(1.0)
    assert Plan.decode(offer.plan).serial == 5
    assert offer.shared.hash() == shared().hash()
    digest = Plan.decode(offer.plan).hash()
    mailbox.asks = [ask("train.update", plan_hash=digest.encode(), neighbours=b"n" * 320)]
    link.enter(digest, b"k" * 32)
    assert link.neighbours(digest, 0.1) == (b"n" * 32,) * 10
    link.send(bytearray(b"masked"))
    (kind, entered), (other, updated) = mailbox.answers
    assert (kind, other) == ("query.enter", "train.update")
    public = IDENTITY.signer.public_key().public_bytes_raw()
    verify_reply(kind, digest, entered["key"], entered["signature"], public)
    verify_reply(other, digest, updated["update"], updated["signature"], public)
    with pytest.raises(ParcelRefused):
        verify_reply(other, "0" * 64, updated["update"], updated["signature"], public)


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


def test_a_round_that_is_begun_again_is_offered_next():
    link, mailbox = linked(invitation())
    digest = Plan.decode(link.offer(1.0).plan).hash()
    link.enter(digest, b"k" * 32)
    mailbox.asks = [invitation(serial=6)]
    with pytest.raises(RoundClosed):
        link.neighbours(digest, 0.1)
    assert Plan.decode(link.offer(1.0).plan).serial == 6


def test_a_roster_of_another_plan_is_answered_late_and_waited_past():
    link, mailbox = linked(invitation())
    digest = Plan.decode(link.offer(1.0).plan).hash()
    link.enter(digest, b"k" * 32)
    mailbox.asks = [ask("train.update", plan_hash=b"0" * 64, neighbours=b"")]
    assert link.neighbours(digest, 0.1) is None
    assert mailbox.refusals == ["late"]
    mailbox.asks = [ask("train.update", plan_hash=digest.encode(), neighbours=b"n" * 31)]
    with pytest.raises(PlanRefused):
        link.neighbours(digest, 0.1)


def test_a_device_that_waits_for_a_round_that_was_given_up_stops_waiting():
    link, _ = linked(invitation())
    digest = Plan.decode(link.offer(1.0).plan).hash()
    link.enter(digest, b"k" * 32)
    Web.pages["/v1/bell"] = said(bell=2, busy=False)
    assert link.neighbours(digest, 0.1) is None  # one look at what is there
    with pytest.raises(RoundClosed, match="gave the round up"):
        link.neighbours(digest, 0.1)


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
    import hashlib

    note = ReleaseNote("Taste", 3, 1000, 40, 2, hashlib.sha256(PACKED).hexdigest())
    Web.pages["/v1/release"] = Answer(200, seal_release(note, PACKED, OPERATOR), {})
    link = NetworkLink(public, Serials(), Stop())
    assert link.catalogue() == b"sealed"
    assert not link.busy
    assert link.offer(1.0) is None
    assert link.release().shared.hash() == shared().hash()


@pytest.mark.parametrize("change", ["key", "federation", "older", "cut"])
def test_a_promoted_model_that_is_not_the_operators_newest_is_refused(change):
    import hashlib

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
