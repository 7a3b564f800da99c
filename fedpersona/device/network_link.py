"""A device's way to a server on the network: public files over HTTPS, rounds over the node, all of it checked here.

What a server says is believed only under the operator's signature. What does not fit is refused with its reason,
before the gate looks at anything.
"""

from __future__ import annotations

import json
import math
import random
import time
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedpersona.device.https import Answer, Https
from fedpersona.device.link import Offer, Release
from fedpersona.errors import (
    ConfigError,
    FedpersonaError,
    LayoutMismatch,
    OtherFederation,
    PlanExpired,
    PlanRefused,
    Refusal,
    RoundClosed,
    ServerUnreachable,
    WireError,
)
from fedpersona.taste.model_file import unpack
from fedpersona.wire.parcel import BODIES, sign_reply
from fedpersona.wire.signed_plan import unseal_plan
from fedpersona.wire.signed_release import unseal_release
from fedpersona.wire.signed_roster import check_roster

if TYPE_CHECKING:
    from fedpersona.device.background import Stop
    from fedpersona.device.identity import Identity
    from fedpersona.device.node import Ask, Node
    from fedpersona.device.replays import Replays
    from fedpersona.taste.model import Shared
    from fedpersona.wire.plan import Plan

__all__ = ["NetworkLink"]

_LARGEST_CATALOGUE = 512 << 20  # bytes
_LARGEST_MODEL = 1 << 30
_LARGEST_WORD = 65_536
_SHORTEST_REST, _LONGEST_REST = 5.0, 6 * 3600.0
_LONGEST_SPREAD = 600.0
_MOST_RINGS = 1 << 53
_LONGEST_ETAG = 200
_GOODBYE = 0.5  # seconds for it, once the app wishes to stop
_OVERTIME = 300.0  # seconds past a plan's end that a device's clock may be ahead


@dataclass
class _Known:
    """What the server last said about itself."""

    bell: int = -1
    busy: bool = True
    spread: float = 0.0
    come_back: float = _LONGEST_REST


class NetworkLink:
    """One device's link to one server. It lasts for one visit.

    Args:
        identity: with whom the device is enrolled, and its keys.
        replays: knows which plan was the last.
        stop: the app's wish to stop; every wait ends with it.
        seen: ETags by path of what this process has fetched before: it is not fetched again.
    """

    patience = 20.0
    """Seconds that one wait for news may take: the server is asked so often, and holds the question as long."""

    def __init__(self, identity: Identity, replays: Replays, stop: Stop, seen: dict[str, str] | None = None) -> None:
        self._identity = identity
        self._replays = replays
        self._stop = stop
        self._seen = {} if seen is None else seen
        self._https = Https(identity.server, identity.authority, stop)
        self._node: Node | None = None
        self._known = _Known()
        self._ask: Ask | None = None
        self._plan: Plan | None = None
        self._model: tuple[str, Shared] | None = None
        self._pulled = -1  # rings of the bell that were answered

    # -- what is public --

    def catalogue(self) -> bytes | None:
        """Return the signed catalogue, None where it was fetched before; learn first how the server is."""
        self._listen("/v1/status")
        answer = self._changed("/v1/catalogue", _LARGEST_CATALOGUE)
        return None if answer is None else self._body(answer)

    def release(self) -> Release | None:
        """Return the promoted model, None where there is none or it was fetched before."""
        answer = self._changed("/v1/release", _LARGEST_MODEL)
        if answer is None or answer.status == 404:
            return None
        identity = self._identity
        note, packed = unseal_release(self._body(answer), identity.operator, identity.federation)
        self._replays.accept_issue(identity.server, note.issued)
        shared, settings = _unpacked(packed)
        return Release(shared.model, settings, shared)

    @property
    def busy(self) -> bool:
        """Whether a round may still open for this device."""
        return self._known.busy and self._identity.node_id is not None

    @property
    def rest(self) -> float:
        """After how many seconds the server would like to see this device again."""
        return min(max(self._known.come_back, _SHORTEST_REST), _LONGEST_REST)

    # -- rounds --

    def offer(self, seconds: float) -> Offer | None:
        """Return the open round, once it was found to be the operator's, new, and of this federation.

        Raises:
            PlanRefused: something came that is not; the server was told so.
        """
        node = self._present()
        if node is None:
            return None
        ask = self._ask if self._waiting_offer() else self._next(node, seconds)
        self._ask = ask
        if ask is None:
            return None
        if "plan" not in ask.parcel.fields:
            self.refuse("late")
            return None
        try:
            plan = self._believed(ask)
            shared = self._shared(ask, plan)
        except Refusal:
            self.refuse("plan")
            raise
        self._plan = plan
        return Offer(plan.encode(), shared)

    @property
    def identity(self) -> bytes:
        """The public key that this device is enrolled with."""
        return self._signing_key().public_key().public_bytes_raw()

    def question(self, kind: str, plan_hash: str, seconds: float) -> Mapping[str, bytes] | None:
        """Return the server's next message of the round, None where there is none after so long.

        Raises:
            RoundClosed: the server gave the round up, or has begun another.
            PlanForged: a roster came that the operator did not close.
        """
        node = self._present()
        if node is None:
            raise RoundClosed("this device has left the round")
        plan = self._plan
        if plan is not None and plan.expires and time.time() > plan.expires + _OVERTIME:
            raise RoundClosed("the server did not go on before the round's end")
        ask = self._next(node, max(seconds, self.patience))
        if ask is None:
            if not self._known.busy:
                raise RoundClosed("the server gave the round up")
            return None
        self._ask = ask
        if "plan" in ask.parcel.fields:
            raise RoundClosed("the server began the round again")  # the new offer is kept for the next question
        if ask.parcel.kind != kind or ask.parcel["plan_hash"] != plan_hash.encode("ascii"):
            self.refuse("late")
            return None
        if kind == "query.share":
            try:
                check_roster(ask.parcel["roster"], plan_hash, ask.parcel["signature"], self._identity.operator)
            except PlanRefused:
                self.refuse("plan")
                raise
        return ask.parcel.fields

    def answer(self, kind: str, plan_hash: str, body: bytes) -> None:
        """Sign and hand over what belongs to masks. Only the gate's rounds call this."""
        ask = self._asked(kind)
        signature = sign_reply(kind, plan_hash, body, self._signing_key())
        self._ask = None
        named = {BODIES[kind]: body} if kind in BODIES else {}
        self._answer(ask, {**named, "signature": signature})

    def send(self, message: bytes | bytearray) -> None:
        """Hand over the update. Only the gate calls this."""
        ask, plan = self._ask, self._plan
        if ask is None or plan is None or ask.parcel.kind not in ("train.update", "train.plain"):
            raise RoundClosed("the server gave the round up")
        self._ask = None
        signature = sign_reply(ask.parcel.kind, plan.hash(), message, self._signing_key())
        self._answer(ask, {"update": bytes(message), "signature": signature})

    def refuse(self, code: str) -> None:
        """Answer no to what the server asked last, if anything still waits."""
        ask, self._ask = self._ask, None
        if ask is not None and self._node is not None:
            with suppress(FedpersonaError):  # a no that does not arrive is a no all the same
                self._node.refuse(ask, code)

    def pause(self) -> None:
        """Say goodbye; what is public can still be fetched."""
        node, self._node = self._node, None
        if node is None:
            return
        with suppress(FedpersonaError):
            if not self._stop.wished:
                node.leave()
                return
            # Every call of this way ends at the wish. Without a goodbye the next round would wait for this device.
            with closing(Https(self._identity.server, self._identity.authority, None)) as way:
                node.leave(_GOODBYE, way)

    def leave(self) -> None:
        """Say goodbye and close the connection."""
        try:
            self.pause()
        finally:
            self._https.close()

    # -- inner workings --

    def _present(self) -> Node | None:
        """Return this device's node, activated; None where it is not enrolled."""
        identity = self._identity
        if identity.node_id is None or identity.flower_key is None:
            return None
        if self._node is None:
            from fedpersona.device.node import Node  # Flower comes with it: only who takes part waits for it

            self._node = Node(self._https, identity.node_id, identity.flower_key, self._stop)
        self._node.beat()
        return self._node

    def _waiting_offer(self) -> bool:
        return self._ask is not None and "plan" in self._ask.parcel.fields

    def _next(self, node: Node, seconds: float) -> Ask | None:
        """Return the next message; wait for the server's bell before looking, so that nobody polls."""
        if self._known.bell < 0:
            self._listen("/v1/status")
        if self._pulled >= self._known.bell:
            self._listen(f"/v1/bell?after={self._known.bell}&seconds={seconds:g}", seconds + 30.0)
            if self._pulled >= self._known.bell:
                return None
            self._stop.wait(self._known.spread * random.random())  # noqa: S311 - not a thousand at once
            self._stop.check()
        heard = self._known.bell
        try:
            ask = node.pull()
        except WireError as error:
            raise PlanRefused(str(error)) from None
        # One ring brings one message at most: after so many there is no need to look whether another waits.
        self._pulled = heard if ask is None else min(self._pulled + 1, heard)
        return ask

    def _listen(self, path: str, seconds: float = 30.0) -> None:
        answer = self._https.get(path, most=_LARGEST_WORD, seconds=seconds)
        try:
            found = json.loads(self._body(answer))
            bell, busy = found["bell"], found["busy"]
            spread, back = float(found.get("spread", 0.0)), float(found.get("come_back", self._known.come_back))
            if type(bell) is not int or type(busy) is not bool or not 0 <= bell < _MOST_RINGS:
                raise ValueError
            if not (0 <= spread <= _LONGEST_SPREAD and 0 <= back < math.inf):
                raise ValueError
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError):
            raise ServerUnreachable(f"{self._identity.server}: what it says about itself cannot be read") from None
        self._known = _Known(bell, busy, spread, back)

    def _believed(self, ask: Ask) -> Plan:
        """Return the plan of a message if the operator signed it, for this federation, now, and not before."""
        identity = self._identity
        plan = unseal_plan(ask.parcel["plan"], identity.operator)
        if plan.federation != identity.federation:
            raise OtherFederation(
                f"the plan is for '{plan.federation[:80]}', this device joined '{identity.federation}'"
            )
        if not plan.expires or time.time() > plan.expires + _OVERTIME:
            raise PlanExpired("the plan's time has passed, or it has none: it is not answered")
        if plan.masked != (ask.parcel.kind == "query.enter"):
            raise PlanRefused("the plan and the message that brought it differ in whether updates are masked")
        self._replays.accept_serial(identity.server, plan.serial)
        return plan

    def _shared(self, ask: Ask, plan: Plan) -> Shared:
        """Return the model that a plan starts from: from the message, or from the server by its hash."""
        if self._model is not None and self._model[0] == plan.shared_hash:
            return self._model[1]
        packed = ask.parcel.get("model")
        if packed is None:
            packed = self._fetched(f"/v1/models/{_hexadecimal(plan.shared_hash)}", _LARGEST_MODEL)
        shared, _ = _unpacked(packed)
        if shared.hash() != plan.shared_hash:
            raise PlanRefused("the shared model is not the one that the plan names: its hash differs")
        self._model = (plan.shared_hash, shared)
        return shared

    def _changed(self, path: str, most: int) -> Answer | None:
        """Fetch a public file, None where it is the one that was fetched before."""
        server = self._identity.server
        answer = self._https.get(path, most=most, seconds=600.0, etag=self._seen.get(server + path))
        if answer.status == 304:
            return None
        etag = answer.headers.get("etag", "")
        if answer.ok and etag.isascii() and etag.isprintable() and 0 < len(etag) <= _LONGEST_ETAG:
            self._seen[server + path] = etag
        return answer

    def _fetched(self, path: str, most: int) -> bytes:
        return self._body(self._https.get(path, most=most, seconds=600.0))

    def _body(self, answer: Answer) -> bytes:
        if not answer.ok:
            raise ServerUnreachable(
                f"{self._identity.server}: answers with an error ({answer.status}); try again later"
            )
        return answer.body

    def _answer(self, ask: Ask, fields: dict[str, bytes]) -> None:
        if self._node is None:
            raise RoundClosed("this device has left the round")
        self._node.answer(ask, fields)

    def _asked(self, kind: str) -> Ask:
        if self._ask is None or self._ask.parcel.kind != kind:
            raise RoundClosed("the server gave the round up")
        return self._ask

    def _signing_key(self) -> Ed25519PrivateKey:
        key = self._identity.signing_key
        if key is None:
            raise ConfigError(f"this device is not enrolled with {self._identity.server}")
        return Ed25519PrivateKey.from_private_bytes(key)


def _unpacked(packed: bytes) -> tuple[Shared, dict[str, Any]]:
    try:
        return unpack(packed)
    except LayoutMismatch as error:
        raise PlanRefused(f"the server's model: {error}") from None


def _hexadecimal(digest: str) -> str:
    if len(digest) != 64 or set(digest) - set("0123456789abcdef"):
        raise PlanRefused("the plan's hash of the shared model is none")
    return digest
