"""Who is enrolled: one-time tokens, the devices that used them, and those that were revoked. Public keys only."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from sqlalchemy import Connection, Row, func, or_, select

from fedpersona.aggregation.database import Database, devices, tokens
from fedpersona.aggregation.scheduling import Devices, History
from fedpersona.errors import ConfigError, EnrolmentRefused, ServerError

__all__ = ["Enrolled", "EnrolledDevice", "IssuedToken", "Roster"]

_LONGEST_HOURS = 24 * 366


@dataclass(frozen=True)
class Enrolled:
    """What enrolling gave."""

    number: int
    """The device's number, counted from 1, never given twice."""


@dataclass(frozen=True)
class EnrolledDevice:
    """One device, as the operator knows it."""

    number: int
    flower_key: bytes = field(repr=False)
    """Public key (PEM) that it shows to Flower."""
    signing_key: bytes = field(repr=False)
    """Ed25519 public key, 32 bytes, that its replies are signed with."""
    node_id: int | None
    """Its number in Flower; None until it is registered there."""
    enrolled_at: int
    """Unix seconds."""
    revoked_at: int | None
    """Unix seconds; None while it may take part."""


@dataclass(frozen=True)
class IssuedToken:
    """A token as it is kept: never its text."""

    number: int
    note: str
    issued_at: int
    expires_at: int
    taken_back_at: int | None
    used_by: int | None
    """Number of the device that used it."""


class Roster:
    """The enrolled devices of a server.

    Args:
        database: where they are kept.
        clock: gives Unix seconds.
    """

    def __init__(self, database: Database, *, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock

    def issue_token(self, hours: float, note: str = "") -> str:
        """Return a token that lets one device enrol once, within this time. Only its SHA-256 is kept.

        Raises:
            ConfigError: the time is not positive, or over a year.
        """
        if not 0 < hours <= _LONGEST_HOURS:
            raise ConfigError(f"a token can be valid for up to {_LONGEST_HOURS:,} hours, not {hours:g}")
        token = secrets.token_urlsafe(24)
        now = self._clock()
        row = {"hash": _hash(token), "note": note, "issued_at": int(now), "expires_at": int(now + hours * 3600)}
        with self._database.writing() as connection:
            connection.execute(tokens.insert().values(row))
        return token

    def tokens(self) -> list[IssuedToken]:
        """Return all tokens, the oldest first."""
        columns = [column for column in tokens.c if column.name != "hash"]
        with self._database.reading() as connection:
            rows = connection.execute(select(*columns).order_by(tokens.c.number)).all()
        return [IssuedToken(**row._asdict()) for row in rows]

    def take_back_token(self, token: str | int) -> None:
        """Make a token useless: given itself, or its number in :meth:`tokens`.

        Raises:
            EnrolmentRefused: it is unknown, or a device used it already (revoke that device).
        """
        chosen = tokens.c.number == token if isinstance(token, int) else tokens.c.hash == _hash(token)
        with self._database.writing() as connection:
            row = connection.execute(select(tokens).where(chosen)).one_or_none()
            if row is None:
                raise EnrolmentRefused("this token was never issued here: look at the list of tokens")
            if row.used_by is not None:
                raise EnrolmentRefused(f"device {row.used_by} enrolled with this token: revoke the device instead")
            if row.taken_back_at is None:
                connection.execute(tokens.update().where(chosen).values(taken_back_at=int(self._clock())))

    def issued(self, token: str) -> bool:
        """Tell whether this token was issued here, used or not."""
        with self._database.reading() as connection:
            return connection.scalar(select(tokens.c.number).where(tokens.c.hash == _hash(token))) is not None

    def enrol(self, token: str, flower_key: bytes, signing_key: bytes) -> Enrolled:
        """Enrol a device; the token is used up in the same transaction.

        The same token with the same two keys gives the same device again: an answer that was lost does no harm.

        Args:
            token: from :meth:`issue_token`.
            flower_key: EC public key, PEM.
            signing_key: Ed25519 public key, 32 bytes.

        Raises:
            EnrolmentRefused: the token is unknown, used, expired or taken back, or a key is enrolled already.
        """
        if len(signing_key) != 32:
            raise EnrolmentRefused("the signing key is no Ed25519 public key of 32 bytes: make the keys anew")
        flower_key = _canonical(flower_key)
        now = int(self._clock())
        with self._database.writing() as connection:
            row = connection.execute(select(tokens).where(tokens.c.hash == _hash(token))).one_or_none()
            if row is None:
                raise EnrolmentRefused("the invitation is unknown to this server: ask its operator for another")
            if row.used_by is not None:
                return self._again(connection, row.used_by, flower_key, signing_key)
            if row.taken_back_at is not None:
                raise EnrolmentRefused("the operator took this invitation back: ask for another")
            if now >= row.expires_at:
                raise EnrolmentRefused("the invitation has expired: ask the operator for another")
            same = or_(devices.c.flower_key == flower_key, devices.c.signing_key == signing_key)
            if connection.execute(select(devices.c.number).where(same)).first() is not None:
                raise EnrolmentRefused("a device with these keys is enrolled already: a new one makes its own keys")
            row_of = {"flower_key": flower_key, "signing_key": signing_key, "enrolled_at": now}
            number = connection.scalars(devices.insert().values(row_of).returning(devices.c.number)).one()
            connection.execute(tokens.update().where(tokens.c.number == row.number).values(used_by=number))
        return Enrolled(number)

    def _again(self, connection: Connection, number: int, flower_key: bytes, signing_key: bytes) -> Enrolled:
        device = _device(connection.execute(select(devices).where(devices.c.number == number)).one())
        if (device.flower_key, device.signing_key) != (flower_key, signing_key):
            raise EnrolmentRefused("another device has used this invitation: ask the operator for one of your own")
        if device.revoked_at is not None:
            raise EnrolmentRefused("the operator revoked this device: ask for another invitation, with new keys")
        return Enrolled(number)

    def attach(self, number: int, node_id: int) -> None:
        """Note under which number Flower knows a device; a later one replaces it.

        Raises:
            ServerError: there is no such device, or another has that number in Flower.
        """
        with self._database.writing() as connection:
            self._known(connection, number)
            other = connection.scalar(select(devices.c.number).where(devices.c.node_id == str(node_id)))
            if other not in (None, number):
                raise ServerError(f"device {other} has the node id that device {number} was to get: revoke one of them")
            connection.execute(devices.update().where(devices.c.number == number).values(node_id=str(node_id)))

    def devices(self) -> list[EnrolledDevice]:
        """Return all devices by number, with those that were revoked."""
        with self._database.reading() as connection:
            return [_device(row) for row in connection.execute(select(devices).order_by(devices.c.number))]

    def device(self, number: int) -> EnrolledDevice | None:
        """Return a device by its number."""
        return self._find(devices.c.number == number)

    def by_node(self, node_id: int) -> EnrolledDevice | None:
        """Return the device with this number in Flower, also a revoked one: look at ``revoked_at``."""
        return self._find(devices.c.node_id == str(node_id))

    def by_flower_key(self, key: bytes) -> EnrolledDevice | None:
        """Return the device with this Flower key (PEM), also a revoked one: look at ``revoked_at``."""
        return self._find(devices.c.flower_key == key) or self._find(devices.c.flower_key == _canonical(key))

    def revoke(self, number: int) -> EnrolledDevice:
        """Shut a device out from now on, for good; twice is harmless.

        Raises:
            ServerError: there is no such device.
        """
        with self._database.writing() as connection:
            device = self._known(connection, number)
            if device.revoked_at is None:
                now = int(self._clock())
                connection.execute(devices.update().where(devices.c.number == number).values(revoked_at=now))
            return self._known(connection, number)

    def enrolled(self) -> int:
        """Return how many devices are enrolled and not revoked."""
        return self.enrolled_since(0)

    def enrolled_since(self, at: float) -> int:
        """Return how many enrolled at this time (Unix seconds) or later and are not revoked."""
        counted = select(func.count()).where(devices.c.enrolled_at >= at, devices.c.revoked_at.is_(None))
        with self._database.reading() as connection:
            return int(connection.scalar(counted) or 0)

    def fleet(self, history: History) -> Devices:
        """Return what :func:`fedpersona.aggregation.scheduling.due` needs to know of the devices.

        New are those whose number is above that of the last one before: a clock that was wrong changes nothing.
        """
        newer = func.count().filter(devices.c.number > history.newest_device)
        counted = select(func.count(), newer).where(devices.c.revoked_at.is_(None))
        with self._database.reading() as connection:
            enrolled, new = connection.execute(counted).one()
        return Devices(enrolled, new)

    def _find(self, condition: Any) -> EnrolledDevice | None:
        with self._database.reading() as connection:
            row = connection.execute(select(devices).where(condition)).one_or_none()
        return None if row is None else _device(row)

    def _known(self, connection: Connection, number: int) -> EnrolledDevice:
        row = connection.execute(select(devices).where(devices.c.number == number)).one_or_none()
        if row is None:
            raise ServerError(f"no device {number} is enrolled: look at the list of devices")
        return _device(row)


def _device(row: Row[Any]) -> EnrolledDevice:
    found = row._asdict()
    return EnrolledDevice(**found | {"node_id": None if found["node_id"] is None else int(found["node_id"])})


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def _canonical(key: bytes) -> bytes:
    """Return a PEM in the one spelling that Flower uses, so that white space makes no second device of a key."""
    try:
        return load_pem_public_key(key).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    except (ValueError, UnsupportedAlgorithm):
        return key
