"""The way of a real device to a federation of its own process, and the round that is open there.

Everything here is guarded by the federation's one lock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedpersona.device.link import Offer, Release
from fedpersona.errors import RoundClosed
from fedpersona.taste.model import Shared
from fedpersona.wire.parcel import sign_reply
from fedpersona.wire.plan import Plan
from fedpersona.wire.signed_roster import check_roster

if TYPE_CHECKING:
    from fedpersona.simulation.local_federation import LocalFederation

__all__ = ["LocalLink", "OpenRound"]


@dataclass(eq=False)
class OpenRound:
    """An open round: what is asked of whom, and what was answered."""

    plan: Plan
    shared: Shared
    key: Ed25519PrivateKey
    hash: str = field(init=False)
    closed: bool = False
    kind: str = "query.enter"
    questions: dict[LocalLink, Mapping[str, bytes]] = field(default_factory=dict)
    answers: dict[LocalLink, tuple[bytes, bytes]] = field(default_factory=dict)
    """What was answered, and the signature."""

    def __post_init__(self) -> None:
        self.hash = self.plan.hash()


class LocalLink:
    """One device's link to a federation of its own process."""

    patience = 0.25
    rest = None

    def __init__(self, federation: LocalFederation) -> None:
        self._federation = federation
        self._key = Ed25519PrivateKey.generate()
        self._entered: set[str] = set()
        """Rounds that this device has entered."""

    @property
    def busy(self) -> bool:
        """Whether a training run is under way."""
        return self._federation.busy

    @property
    def identity(self) -> bytes:
        """The key that this device signs with: of this link, since nobody enrols here."""
        return self._key.public_key().public_bytes_raw()

    def catalogue(self) -> bytes:
        """Return the signed catalogue."""
        return self._federation._sealed

    def release(self) -> Release | None:
        """Return the last finished model, starting the federation's first run where there was none."""
        if self._federation.runs == 0:  # also for a device that takes no part
            self._federation.begin()
        return self._federation._release

    def offer(self, seconds: float) -> Offer | None:
        """Return the open round, starting the federation's first run where there was none."""
        federation = self._federation
        with federation._changed:
            federation._present.add(self)
            if federation.runs == 0:
                federation.begin()
            federation._changed.wait_for(lambda: self._open() or not federation.busy, seconds)
            current = self._open()
        return Offer(current.plan.encode(), current.shared) if current else None

    def _open(self) -> OpenRound | None:
        current = self._federation._round
        return current if current and not current.closed and current.hash not in self._entered else None

    def question(self, kind: str, plan_hash: str, seconds: float) -> Mapping[str, bytes] | None:
        """Return what the server asks in this round."""
        federation = self._federation
        with federation._changed:
            federation._changed.wait_for(lambda: self._asked(kind, plan_hash) is not None, seconds)
            return self._asked(kind, plan_hash)

    def _asked(self, kind: str, plan_hash: str) -> Mapping[str, bytes] | None:
        current = self._federation._round
        if current is None or current.hash != plan_hash:
            raise RoundClosed("the server gave the round up, or ended it without this device")
        fields = current.questions.get(self) if current.kind == kind else None
        if fields is not None and kind == "query.share":
            operator = current.key.public_key().public_bytes_raw()
            check_roster(fields["roster"], plan_hash, fields["signature"], operator)
        return fields

    def answer(self, kind: str, plan_hash: str, body: bytes) -> None:
        """Sign and hand over what belongs to masks."""
        signature = sign_reply(kind, plan_hash, body, self._key)
        self._give(kind, plan_hash, signature if kind == "query.agree" else body, signature)

    def send(self, message: bytes | bytearray) -> None:
        """Hand the masked update over."""
        current = self._federation._round
        if current is None:
            raise RoundClosed("the server gave the round up")
        self._give("train.update", current.hash, bytes(message), b"")

    def _give(self, kind: str, plan_hash: str, body: bytes, signature: bytes) -> None:
        federation = self._federation
        with federation._changed:
            current = federation._round
            if current is None or current.hash != plan_hash or current.kind != kind:
                raise RoundClosed("the round went on without this device")
            if kind == "query.enter":
                if current.closed:
                    raise RoundClosed("the round has begun without this device")
                self._entered.add(plan_hash)
            current.answers[self] = (body, signature)
            current.questions.pop(self, None)
            federation._changed.notify_all()

    def refuse(self, code: str) -> None:
        """Nobody is told: who is asked and does not answer has left the round."""

    def pause(self) -> None:
        """Take no further part."""
        self.leave()

    def leave(self) -> None:
        """Take no further part."""
        with self._federation._changed:
            self._federation._present.discard(self)
            self._federation._changed.notify_all()
