"""Hash chains of signed entries: what was written stays as it was written, or it shows.

Each entry's hash covers the hash before it, so an entry that is changed, removed or moved breaks every later one. The
last number and hash are signed as well and kept apart, so that a removed tail shows, too. What a chain cannot show:
someone who holds the key of the encrypted store can write a new chain. That an old copy of the whole store was put back
is seen by :mod:`fedpersona.device.witness`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NoReturn, TypeAlias, get_args

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from fedpersona.device.store import Cursor, Store
from fedpersona.errors import ChainBroken, UnknownName, VaultDamaged

__all__ = ["Chain", "ChainName", "Entry", "signing_key"]

ChainName: TypeAlias = Literal["consent", "ledger"]

_NAMES: tuple[ChainName, ...] = get_args(ChainName)
_KEY = "signing key"
_START = bytes(32)
_LARGEST = 2**63 - 1
_BEFORE_ALL = -(2**63)
_COLUMNS = "number, at, body, hash, signature"


@dataclass(frozen=True)
class Entry:
    """One entry of a chain, checked."""

    number: int
    """Counted from 1."""
    at: int
    """Unix seconds."""
    body: Mapping[str, Any]
    """What it says, JSON-native."""
    hash: bytes
    """SHA-256 of the hash before it and of everything above."""


def signing_key(store: Store) -> Ed25519PrivateKey:
    """Return the key that this device signs its chains with, made on first use together with their empty heads.

    Raises:
        VaultDamaged: the stored key is none.
    """
    with store.reading() as cursor:
        seed = _seed(cursor)
    if seed is None:
        with store.writing() as cursor:
            seed = _seed(cursor)  # another process may have been first
            if seed is None:
                key = Ed25519PrivateKey.generate()
                seed = key.private_bytes_raw()
                cursor.execute("INSERT INTO settings (name, value) VALUES (?, ?)", (_KEY, seed))
                for name in _NAMES:
                    _write_head(cursor, name, 0, _START, key, "INSERT OR IGNORE")
    if len(seed) != 32:
        raise VaultDamaged("the stored signing key is damaged: keep a copy with 'export', then 'forget' to begin anew")
    return Ed25519PrivateKey.from_private_bytes(seed)


class Chain:
    """One chain of a device's store.

    Args:
        store: where it is kept.
        name: ``consent`` or ``ledger``.
        signer: the device's key, from :func:`signing_key`.
    """

    def __init__(self, store: Store, name: ChainName, signer: Ed25519PrivateKey) -> None:
        if name not in _NAMES:
            raise UnknownName("chain", name, _NAMES)
        self.name = name
        self._store = store
        self._signer = signer
        self._public = signer.public_key()
        self._known: list[Entry] = []

    def append(self, cursor: Cursor, body: Mapping[str, Any], at: int) -> Entry:
        """Add an entry inside the caller's transaction, so that it commits with what it tells of, or not at all.

        Args:
            cursor: of :meth:`Store.writing`.
            body: JSON-native, finite numbers only.
            at: Unix seconds.

        Raises:
            ChainBroken: the end of the chain is not what this device signed; nothing is added to it.
            ValueError: the body is not JSON, or a number is out of its range; nothing was written.
        """
        if type(at) is not int or not 0 <= at <= _LARGEST:
            raise ValueError("an entry's time is a whole number of seconds from 1970 on")
        text = _canonical(body)
        number, before = self._checked_end(cursor)
        number += 1
        digest = _hash(before, self.name, number, at, text)
        row = (self.name, number, at, text, digest, self._signer.sign(_entry_words(self.name, number, digest)))
        cursor.execute(f"INSERT INTO chain (name, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)", row)  # noqa: S608 - constant
        _write_head(cursor, self.name, number, digest, self._signer, "INSERT OR REPLACE")
        return Entry(number, at, json.loads(text), digest)

    def verify(self) -> int:
        """Check every entry and the head from the beginning, and return how many entries there are.

        Raises:
            ChainBroken: names the first entry that was changed, removed, moved or not signed by this device.
        """
        with self._store.reading() as cursor:
            found = self._read_checked(cursor, [])
            self._known = found
        return len(found)

    def entries(self, after: int = 0) -> tuple[Entry, ...]:
        """Return the entries with a number above ``after``, oldest first, as checked.

        What was checked once by this object is not checked again; :meth:`verify` does.

        Raises:
            ChainBroken: an entry that is new since, or the head, is not what this device signed.
        """
        with self._store.reading() as cursor:
            number, digest = self._head(cursor)
            if (number, digest) != self._end():
                if number < len(self._known):
                    self._broken(number + 1, "was removed, or an older copy of the store was put back")
                self._known = self._read_checked(cursor, self._known)
            return tuple(self._known[after:])

    def last(self, count: int) -> tuple[Entry, ...]:
        """Return at most ``count`` entries, the newest, oldest first."""
        found = self.entries()
        return found[max(0, len(found) - count) :]

    @property
    def length(self) -> int:
        """The number of the last entry, as the signed head says: cheap, and seen across processes.

        Raises:
            ChainBroken: the head is not what this device signed.
        """
        with self._store.reading() as cursor:
            return self._head(cursor)[0]

    def end(self, cursor: Cursor) -> tuple[int, str]:
        """Return number and hash (hexadecimal) of the last entry, as the signed head says; 0 before the first.

        Raises:
            ChainBroken: the head is not what this device signed.
        """
        number, digest = self._head(cursor)
        return number, digest.hex()

    def holds(self, cursor: Cursor, number: int, digest: str) -> bool:
        """Tell whether the entry of this number has this hash; before the first there is nothing to differ."""
        if number == 0:
            return True
        query = "SELECT hash FROM chain WHERE name = ? AND number = ?"
        row = cursor.execute(query, (self.name, number)).fetchone()
        return row is not None and row[0] == bytes.fromhex(digest)

    def export(self) -> list[dict[str, Any]]:
        """Return everything that is stored, JSON-native and unchecked: a broken chain can be looked at, too.

        Binary values are in hexadecimal; a body that cannot be read is given as the text that is stored.
        """
        with self._store.reading() as cursor:
            rows = _rows(cursor, self.name, _BEFORE_ALL)
            return [
                {
                    "number": number,
                    "at": at,
                    "body": _readable(body),
                    "hash": _hex(digest),
                    "signature": _hex(signature),
                    "public_key": self._public.public_bytes_raw().hex(),
                }
                for number, at, body, digest, signature in rows
            ]

    def _end(self) -> tuple[int, bytes]:
        return (len(self._known), self._known[-1].hash) if self._known else (0, _START)

    def _head(self, cursor: Cursor) -> tuple[int, bytes]:
        found = cursor.execute("SELECT number, hash, signature FROM chain_head WHERE name = ?", (self.name,)).fetchone()
        if found is None:
            self._broken(1, "cannot be trusted: the chain's signed head was removed")
        number, digest, signature = found
        if type(number) is not int or not _signed(self._public, signature, _head_words, self.name, number, digest):
            self._broken(number if type(number) is int and number > 0 else 1, "is not what the signed head says")
        return number, bytes(digest)

    def _checked_end(self, cursor: Cursor) -> tuple[int, bytes]:
        """Check the head and the last entry, which an appended one will stand on."""
        number, digest = self._head(cursor)
        rows = list(_rows(cursor, self.name, max(0, number - 2)))
        known: list[Entry] = []
        before = _START
        if number >= 2 and rows and rows[0][0] == number - 1:
            before = bytes(rows.pop(0)[3]) if isinstance(rows[0][3], bytes) else b""
        for row in rows:
            known.append(self._checked(row, max(1, number), before))
            if len(known) > 1 or row[0] > number:
                self._broken(row[0], "was added without the device's signed head")
        if number and (not known or known[0].hash != digest):
            self._broken(number, "was removed or changed")
        return number, digest

    def _read_checked(self, cursor: Cursor, known: list[Entry]) -> list[Entry]:
        """Return all entries, checking those that are not known yet, and the head."""
        number, digest = self._head(cursor)
        found = list(known)
        for row in _rows(cursor, self.name, len(found) or _BEFORE_ALL):
            expected = len(found) + 1
            if expected > number:
                self._broken(expected, "was added without the device's signed head")
            found.append(self._checked(row, expected, found[-1].hash if found else _START))
        if len(found) < number:
            self._broken(len(found) + 1, "was removed")
        if (found[-1].hash if found else _START) != digest:
            self._broken(max(1, number), "is not what the signed head says")
        return found

    def _checked(self, row: tuple[Any, ...], expected: int, before: bytes) -> Entry:
        number, at, body, digest, signature = row
        if number != expected:
            self._broken(expected, "was removed" if number > expected else "was moved")
        if type(at) is not int or not isinstance(body, str):
            self._broken(number, "was changed")
        try:
            found = _parsed(body)
            same = _canonical(found) == body
        except ValueError:
            found, same = {}, False
        if not same or digest != _hash(before, self.name, number, at, body):
            self._broken(number, "was changed, or one before it was removed or moved")
        if not _signed(self._public, signature, _entry_words, self.name, number, digest):
            self._broken(number, "is not signed by this device")
        return Entry(number, at, found, bytes(digest))

    def _broken(self, number: int, problem: str) -> NoReturn:
        raise ChainBroken(self.name, number, problem)


def _rows(cursor: Cursor, name: str, after: int) -> Iterator[tuple[Any, ...]]:
    query = f"SELECT {_COLUMNS} FROM chain WHERE name = ? AND number > ? ORDER BY number"  # noqa: S608 - constant
    rows: Iterator[tuple[Any, ...]] = cursor.execute(query, (name, after))
    return rows


def _seed(cursor: Cursor) -> bytes | None:
    row = cursor.execute("SELECT value FROM settings WHERE name = ?", (_KEY,)).fetchone()
    return None if row is None else bytes(row[0])


def _write_head(cursor: Cursor, name: str, number: int, digest: bytes, key: Ed25519PrivateKey, how: str) -> None:
    signature = key.sign(_head_words(name, number, digest))
    cursor.execute(
        f"{how} INTO chain_head (name, number, hash, signature) VALUES (?, ?, ?, ?)", (name, number, digest, signature)
    )


def _canonical(body: Mapping[str, Any]) -> str:
    """Return the body as JSON with sorted keys, no spaces, ASCII."""
    try:
        text = json.dumps(body, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, RecursionError) as error:
        raise ValueError(f"an entry of a chain is plain JSON: {error}") from None
    if not isinstance(body, dict) or _parsed(text) != body:  # tuples, keys that are no text
        raise ValueError("an entry of a chain is an object of plain JSON")
    return text


def _parsed(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(found, dict):
        raise ValueError("not an object")
    return found


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _readable(body: Any) -> Any:
    try:
        return _parsed(body)
    except (ValueError, TypeError):
        return _hex(body)


def _hex(value: Any) -> Any:
    return value.hex() if isinstance(value, bytes) else value


def _hash(before: bytes, name: str, number: int, at: int, text: str) -> bytes:
    """SHA-256 of the hash before it ‖ name ‖ number ‖ time ‖ body, every part of known length."""
    named, body = name.encode(), text.encode("utf-8", "surrogatepass")
    parts = (
        before,
        len(named).to_bytes(2, "big"),
        named,
        number.to_bytes(8, "big"),
        at.to_bytes(8, "big", signed=True),
    )
    return hashlib.sha256(b"".join((*parts, body))).digest()


def _entry_words(name: str, number: int, digest: bytes) -> bytes:
    return b"fedpersona chain entry 1\n" + name.encode() + b"\n" + number.to_bytes(8, "big") + digest


def _head_words(name: str, number: int, digest: bytes) -> bytes:
    return b"fedpersona chain head 1\n" + name.encode() + b"\n" + number.to_bytes(8, "big") + digest


def _signed(key: Ed25519PublicKey, signature: object, words: Any, name: str, number: int, digest: object) -> bool:
    """Tell whether the key signed this; values of another type than were written are not signed by anyone."""
    if not isinstance(signature, bytes) or not isinstance(digest, bytes) or not 0 <= number <= _LARGEST:
        return False
    try:
        key.verify(signature, words(name, number, digest))
    except InvalidSignature:
        return False
    return True
