"""Enrolling with a server: keys made here, one request that tells nothing of the history, and what is kept of it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from typing import Any, Protocol

from fedpersona.device.address import normalised
from fedpersona.device.enrolment_request import placed, request
from fedpersona.device.files import delete_files, files_named, keep_file, read_file
from fedpersona.device.https import Answer, Https
from fedpersona.device.identity import Identity
from fedpersona.device.ledger import Ledger
from fedpersona.device.replays import Replays
from fedpersona.device.store import Cursor, Store
from fedpersona.errors import (
    ConfigError,
    EnrolmentRefused,
    ServerUntrusted,
    SignatureInvalid,
    VaultDamaged,
)
from fedpersona.wire.invitation import Invitation

__all__ = ["Enrolments", "Identity"]

_LARGEST_ANSWER = 4096
_SECONDS = 30.0

# Rows of the table `file`. What is being enrolled has a row of its own, so that a lost answer is asked for again with
# the same keys, and a refusal leaves what there was.
_KNOWN = "enrolment of "
_PENDING = "enrolling with "
_USED = "token for "  # SHA-256 of the one that `enrolling with` or `enrolment of` belongs to


class _Way(Protocol):
    """What is needed of :class:`~fedpersona.device.https.Https`."""

    def post(self, path: str, body: bytes, *, most: int, media: str, seconds: float) -> Answer: ...

    def close(self) -> None: ...


class Enrolments:
    """The servers that this device knows by invitation, and its place with each.

    Args:
        store: of the device.
        ledger: where it is written down that keys are about to be sent.
    """

    def __init__(self, store: Store, ledger: Ledger) -> None:
        self._store = store
        self._ledger = ledger
        self.replays = Replays(store)
        """Which plans and models of these servers came before."""

    def __repr__(self) -> str:
        return f"Enrolments({len(self.all())})"

    # -- enrolling --

    def enrol(
        self,
        invitation: str | Invitation,
        https_factory: Callable[[str, bytes | None], _Way] = Https,
    ) -> Identity:
        """Take up an invitation and return what this device is to the server now.

        The private keys are on disk before the server is asked: where its answer is lost, or this program killed, the
        same invitation is simply taken up again and gives the same place. The server is asked then, too: it may have
        lost its list, or have revoked this device. An invitation without a token asks nothing: the device can fetch
        what is public from then on. Both bring a new authority along, where the operator changed it. Another token
        gives another place, with new keys.

        Args:
            invitation: what the operator gave.
            https_factory: makes the way to an address, checked against an authority.

        Raises:
            EnrolmentRefused: it is no invitation, or the server does not take it (any more).
            SignatureInvalid: another operator's key is pinned for this address; nothing was sent or changed.
            ServerUntrusted: another server answers, or one of another federation.
            ServerUnreachable: no whole answer came: take the invitation up again.
            ChainBroken: the ledger is not what this device signed; nothing is sent.
        """
        invited = Invitation.parse(invitation) if isinstance(invitation, str) else invitation
        begun, token_hash = _begun(invited)
        ready = self._prepare(begun, token_hash)
        if ready is not None:
            return ready
        with closing(https_factory(begun.server, begun.authority)) as way:
            pending = self._write_down(begun)
            body = request(pending, invited.token)
            try:
                answer = way.post("/v1/enrol", body, most=_LARGEST_ANSWER, media="application/json", seconds=_SECONDS)
                place = placed(pending, answer)
            except ServerUntrusted as error:
                self._ledger.refused(server=begun.server, purpose="enrolment", reason=str(error))
                raise
        return self._finish(place, token_hash, len(answer.body))

    def _prepare(self, begun: Identity, token_hash: bytes) -> Identity | None:
        """Put keys on disk; return what is known already if the server need not be asked."""
        with self._store.writing() as cursor:
            _check_pin(cursor, begun)
            known = _identity(cursor, _KNOWN, begun.server)
            same = known is not None and (known.federation, known.operator) == (begun.federation, begun.operator)
            if known is not None and known.enrolled and not same and not token_hash:
                raise EnrolmentRefused(
                    f"{begun.server}: this device is enrolled there with '{known.federation}', and the invitation is "
                    f"for '{begun.federation}': if the server changed, say 'fedpersona device leave' first"
                )
            if not token_hash:
                kept = replace(known, authority=begun.authority) if known is not None and same else begun
                keep_file(cursor, _KNOWN + begun.server, kept.packed())
                _pin(cursor, begun)
                return kept
            pending = _identity(cursor, _PENDING, begun.server)
            if (
                pending is None
                or read_file(cursor, _PENDING + _USED + begun.server) != token_hash
                or (pending.federation, pending.operator) != (begun.federation, begun.operator)
            ):
                answered = same and token_hash == read_file(cursor, _USED + begun.server)
                pending = known if answered and known is not None else begun.with_keys()
            keep_file(cursor, _PENDING + begun.server, replace(pending, authority=begun.authority).packed())
            keep_file(cursor, _PENDING + _USED + begun.server, token_hash)
        return None

    def _write_down(self, begun: Identity) -> Identity:
        """Note in the ledger what is about to leave, and return the keys it is about."""
        with self._store.writing() as cursor:
            pending = _identity(cursor, _PENDING, begun.server)
            if pending is None:  # the owner forgot this server a moment ago
                raise EnrolmentRefused(f"{begun.server}: was forgotten while this device enrolled: enrol again")
            self._ledger.enrolling(server=begun.server, federation=begun.federation)
        return pending

    def _finish(self, place: Identity, token_hash: bytes, size: int) -> Identity:
        with self._store.writing() as cursor:
            _check_pin(cursor, place)
            _pin(cursor, place)
            keep_file(cursor, _KNOWN + place.server, place.packed())
            keep_file(cursor, _USED + place.server, token_hash)
            delete_files(cursor, _PENDING + place.server, _PENDING + _USED + place.server)
            self._ledger.received(
                server=place.server, what=f"a place in '{place.federation}', as device {place.device}", size=size
            )
        return place

    # -- what is known --

    def identity(self, server: str) -> Identity | None:
        """Return what this device is to a server; None where no invitation of it was taken up."""
        address = normalised(server)
        with self._store.reading() as cursor:
            return _identity(cursor, _KNOWN, address)

    def all(self) -> tuple[Identity, ...]:
        """Return every server that is known by invitation, by address."""
        with self._store.reading() as cursor:
            rows = files_named(cursor, _KNOWN)
        return tuple(Identity.unpacked(body, name.removeprefix(_KNOWN)) for name, body in rows)

    def forget(self, server: str) -> bool:
        """Delete the keys made for a server and the pin of its operator's key; tell whether there was anything.

        Serials that were answered stay known with the operator's key they belong to: enrolling again does not make an
        old plan new.
        """
        address = normalised(server)
        with self._store.writing() as cursor:
            names = (_KNOWN, _PENDING, _USED, _PENDING + _USED, "key of ", "issued by ")
            found = delete_files(cursor, *(name + address for name in names))
        self._store.erase_deleted()
        return found

    def export(self) -> list[dict[str, Any]]:
        """Return with whom this device is enrolled, JSON-native; no private key. What cannot be read is named."""
        with self._store.reading() as cursor:
            servers = [name.removeprefix(_KNOWN) for name, _ in files_named(cursor, _KNOWN)]
        return [self._exported(server) for server in servers]

    def _exported(self, server: str) -> dict[str, Any]:
        numbers = {"last_serial": self.replays.last_serial(server), "newest_release": self.replays.last_issue(server)}
        try:
            one = self.identity(server)
            return {} if one is None else one.public() | numbers
        except VaultDamaged as error:
            return {"server": server, "broken": str(error)} | numbers


def _begun(invitation: Invitation) -> tuple[Identity, bytes]:
    """Return what an invitation says, and SHA-256 of its token; nothing for one without."""
    try:
        server = normalised(invitation.address)
    except ConfigError as error:
        raise EnrolmentRefused(f"the invitation is of no use: {error}") from None
    if not server.startswith("https://"):
        raise EnrolmentRefused("the invitation is of no use: its server does not speak https://")
    token_hash = hashlib.sha256(invitation.token.encode()).digest() if invitation.token else b""
    return Identity(server, invitation.federation, invitation.operator, invitation.authority), token_hash


def _check_pin(cursor: Cursor, one: Identity) -> None:
    pinned = read_file(cursor, "key of " + one.server)
    if pinned is not None and pinned != one.operator:
        raise SignatureInvalid(
            f"{one.server}: the invitation names another operator's key than the one this device has pinned; nothing "
            "was sent. If the operator says that it was changed, say 'fedpersona device leave' first"
        )


def _pin(cursor: Cursor, one: Identity) -> None:
    keep_file(cursor, "key of " + one.server, one.operator)  # the row that the shelf looks at, too


def _identity(cursor: Cursor, row: str, server: str) -> Identity | None:
    body = read_file(cursor, row + server)
    return None if body is None else Identity.unpacked(body, server)
