"""The network of a device of a test: HTTPS and node stand-ins, and whole rounds of a server behind them."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedpersona.device import network_link, starter
from fedpersona.device.background import Stop
from fedpersona.device.device import Device
from fedpersona.device.gate import Gate
from fedpersona.device.https import Answer
from fedpersona.device.identity import Identity
from fedpersona.device.network_link import NetworkLink
from fedpersona.device.node import Ask
from fedpersona.device.visit import Visited, visit
from fedpersona.errors import PlanReplayed
from fedpersona.taste.model_file import pack
from fedpersona.wire.parcel import ASKS, BODIES, REPLIES, Parcel, checked, verify_reply
from fedpersona.wire.plan import Plan
from fedpersona.wire.signed_catalogue import seal
from fedpersona.wire.signed_plan import seal_plan, unseal_plan
from tests.device.one_server import AGREE, STEPS, Fields, Lie, OneServer
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


def ask(kind: str, **fields: bytes) -> Ask:
    return Ask(Parcel(kind, fields), head=None)


def invitation(sealed: bytes | None = None, kind: str = "query.enter", **changes) -> Ask:
    return ask(kind, plan=seal_plan(good_plan(**changes), OPERATOR) if sealed is None else sealed)


class Rounds(Mailbox):
    """A mailbox of a server that goes on whenever it was answered, with a crowd.

    Args:
        plans: of the rounds, one offered after another has ended; the first at once.
        lies: what is asked instead of what an honest server would, by what is asked.
        gone: how many of the crowd leave before an exchange.
        after: what lies in the mailbox before the next question, by what was answered.
        silent: what is not asked in the first round.
        before: is called before the device learns what it is asked.
    """

    def __init__(
        self,
        *plans: Plan,
        lies: Mapping[str, Lie] | None = None,
        gone: Mapping[str, int] | None = None,
        after: Mapping[str, Callable[[OneServer], Iterable[Ask]]] | None = None,
        silent: Iterable[str] = (),
        before: Callable[[str], None] = lambda kind: None,
    ) -> None:
        self._plans = list(plans or (good_plan(),))
        self._first = self._plans[0].hash()
        super().__init__(ask_of_plan(self._plans.pop(0)))
        self._lies, self._gone, self._after = lies, gone, after or {}
        self._silent, self._before = set(silent), before
        self.round: OneServer | None = None
        """The last that the device entered."""
        self.late: list[str] = []
        """What was refused as late."""

    @property
    def kinds(self) -> list[str]:
        """What was answered."""
        return [kind for kind, _ in self.answers]

    def pull(self):
        found = super().pull()
        if found is not None:
            self._before(found.parcel.kind)
        return found

    def refuse(self, ask, code) -> None:
        super().refuse(ask, code)
        if code == "late":
            self.late.append(ask.parcel.kind)

    def answer(self, ask, fields) -> None:
        kind = ask.parcel.kind
        checked(kind, fields, REPLIES)
        super().answer(ask, fields)
        if kind == "query.enter":
            public = OPERATOR.public_key().public_bytes_raw()
            self.round = OneServer(unseal_plan(ask.parcel["plan"], public), OPERATOR, lies=self._lies, gone=self._gone)
            self.round.identity = IDENTITY.signer.public_key().public_bytes_raw()
        assert self.round is not None
        body = self.round.server.agreed if kind == AGREE else fields[BODIES[kind]]
        verify_reply(kind, self.round.hash, body, fields["signature"], self.round.identity)
        self.round.takes(kind, body, fields["signature"])
        self.asks += self._after[kind](self.round) if kind in self._after else ()
        if kind != STEPS[-1]:
            self.asks += self.asked(STEPS[STEPS.index(kind) + 1])
        elif self._plans:
            self.asks.append(ask_of_plan(self._plans.pop(0)))

    def asked(self, kind: str) -> Iterable[Ask]:
        """Ask what comes next, unless the server falls silent there."""
        assert self.round is not None
        silent = kind in self._silent and self.round.hash == self._first
        return () if silent else (ask_of(kind, self.round.asks(kind)),)


def ask_of(kind: str, fields: Fields) -> Ask:
    """Return a question that has the form that was agreed: the node gives out no other."""
    return Ask(checked(kind, fields, ASKS), head=None)


def pages() -> dict[str, Answer]:
    """Return what an honest server publishes that has no model yet, and rings its bell for every message."""
    return {
        "/v1/status": said(),
        "/v1/bell": said(bell=99, busy=False),
        "/v1/catalogue": Answer(200, seal(starter.catalogue(), issued=int(time.time()), key=OPERATOR), {"etag": "a"}),
        f"/v1/models/{shared().hash()}": Answer(200, PACKED, {}),
    }


RUNS = itertools.count()


def new_plan(**changes) -> Plan:
    """Return a plan that no device has answered yet."""
    return good_plan(run=f"run {next(RUNS)}", **changes)


def stand_in(monkeypatch) -> None:
    """Let an honest server's pages stand in for the network."""
    Web.pages = pages()
    monkeypatch.setattr(network_link, "Https", Web)
    monkeypatch.setattr("fedpersona.device.visit._FIRST_MODEL", 0.0)  # none will come


def visited(device: Device, link: NetworkLink, stop: Stop | None = None) -> str:
    """Let a device visit the server, and return what came of it."""
    return seen(device, link, stop).words


def seen(device: Device, link: NetworkLink, stop: Stop | None = None) -> Visited:
    """Let a device visit the server."""
    gate = Gate(device.vault, device.consent, lambda: device.policy, device.ledger, device.clock)
    return visit(
        SERVER,
        link,
        gate=gate,
        shelf=device.shelf,
        ledger=device.ledger,
        stop=stop or Stop(),
        key=OPERATOR.public_key().public_bytes_raw(),
    )


def noes(device: Device) -> list[str]:
    """Return every no that is in the ledger."""
    return [str(entry) for entry in device.ledger.tail(1000) if entry.kind == "refused"]


def in_rounds(rounds: Rounds, *, identity=IDENTITY, serials=None) -> NetworkLink:
    """Return a link to a server that runs these rounds."""
    link = NetworkLink(identity, serials or Serials(), Stop())
    link._node = rounds
    return link


def ask_of_plan(asked: Plan) -> Ask:
    """Return an invitation to a round."""
    return ask("query.enter", plan=seal_plan(asked, OPERATOR))


def linked(*asks, identity=IDENTITY, serials=None, seen=None):
    link = NetworkLink(identity, serials or Serials(), Stop(), seen)
    link._node = Mailbox(*asks)
    return link, link._node
