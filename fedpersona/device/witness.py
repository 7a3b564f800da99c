"""Notices that an older copy of the vault was put back: how far it had come is also kept outside of it.

The number and hash of the last entry of each chain, and what taking part had cost until then, are in a file beside the
vault and, where a keyring has the key, in the keyring too; sealed with the vault's key, and counted up with every
writing. They are written before anything is sent. So a vault that lacks an entry which was there when something left,
or that has another in its place, shows, and nothing is sent until its owner has said that they know.

What this cannot show: that vault, file and keyring were all put back together, as by restoring a whole machine. No
number that is kept on the machine can: it would take a server, or a part of the hardware that only counts up.
"""

from __future__ import annotations

import base64
import hmac
import json
import os
import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from fedpersona.device.chain import Chain
from fedpersona.device.folder import WITNESS, sync_folder
from fedpersona.device.keys import Key
from fedpersona.device.spending import Spent
from fedpersona.device.store import Cursor, Store
from fedpersona.errors import DiskFull, OutputError, RolledBack

__all__ = ["Witness"]

_ROW = "witness"
_LABEL = b"fedpersona witness 1"
_LARGEST = 1000  # letters: what a keyring takes
_NO_ROOM = (28, 122, 27)  # ENOSPC, EDQUOT, EFBIG
_RECORDS: Mapping[str, str] = {"ledger": "ledger", "consent": "consent records"}
_ADVICE = (
    "what left meanwhile is not in it, so nothing is sent until you say that you know: in the app, or with 'fedpersona "
    "device ledger acknowledge'"
)


@dataclass(frozen=True)
class _Sighting:
    """How far the vault had come."""

    count: int
    """How often that was written down."""
    ends: Mapping[str, tuple[int, str]]
    """Number and hash of the last entry, by chain."""
    spent: Spent
    """Over the device's life."""


class Witness:
    """How far a device's vault had come, kept outside of it.

    Args:
        folder: the device's.
        key: of the vault.
        store: the vault.
        chains: what must not go back.
    """

    def __init__(self, folder: Path, key: Key, store: Store, chains: Sequence[Chain]) -> None:
        self._path = folder / WITNESS
        self._key = key
        self._store = store
        self._chains = tuple(chains)
        self._known: _Sighting | None = None
        self._asked = False

    def check(self) -> None:
        """Go on only with the vault that was there before.

        Raises:
            RolledBack: it is an older copy, or another; says which.
            ChainBroken: a chain's head is not what this device signed.
        """
        with self._store.reading() as cursor:
            self._check(cursor)

    def problem(self) -> str | None:
        """Return what is wrong, None where the vault is the one that was there before.

        Raises:
            ChainBroken: a chain's head is not what this device signed.
        """
        with self._store.reading() as cursor:
            return self._problem(cursor)

    def behind(self, chain: str) -> bool:
        """Tell whether entries of this chain are missing, or may be."""
        with self._store.reading() as cursor:
            if self._problem(cursor) is None:
                return False
            known = self._sighting()
            if known is None:
                return True
            return any(
                one.name == chain and self._differs(cursor, one, *known.ends.get(chain, (0, "")))
                for one in self._chains
            )

    def lost(self, spent: Spent) -> Spent:
        """Return what was spent and is not in the vault any more.

        Args:
            spent: what the vault knows of, over the device's life.

        Returns:
            Nothing where the vault is the one that was there before. Where nobody can tell, as much as one round
            without noise: the worst case.
        """
        with self._store.reading() as cursor:
            if self._problem(cursor) is None:
                return Spent()
        known = self._sighting()
        return Spent(noiseless=1) if known is None else known.spent.beyond(spent)

    def advance(self, spent: Spent | None = None) -> None:
        """Write down how far the vault has come, on disk. Never inside a transaction of the caller's.

        Args:
            spent: over the device's life; None leaves it as it was.

        Raises:
            RolledBack: the vault is not the one that was there before; nothing was written.
            DiskFull: there is no room.
            OutputError: it cannot be written.
        """
        with self._store.writing() as cursor:
            self._check(cursor)
            self._write(cursor, spent or Spent())

    def begin_again(self, spent: Spent) -> None:
        """Take the vault as it is from now on, because its owner said so.

        Args:
            spent: over the device's life, with what the vault had lost.

        Raises:
            DiskFull, OutputError: as :meth:`advance` does.
        """
        with self._store.writing() as cursor:
            self._write(cursor, spent)

    # -- inner workings --

    def _check(self, cursor: Cursor) -> None:
        problem = self._problem(cursor)
        if problem is not None:
            raise RolledBack(f"{problem}; {_ADVICE}")

    def _problem(self, cursor: Cursor) -> str | None:
        known = self._sighting()
        if known is None:
            if cursor.execute("SELECT 1 FROM settings WHERE name = ?", (_ROW,)).fetchone() is None:
                return None  # it was never written
            return (
                f"the file '{self._path.name}', which tells how far this vault had come, is missing or damaged, so "
                "that this may be an older copy of it"
            )
        for chain in self._chains:
            number, digest = known.ends.get(chain.name, (0, ""))
            if self._differs(cursor, chain, number, digest):
                here, _ = chain.end(cursor)
                how = (
                    f"it has {here:,} of the {number:,} entries of its {_RECORDS[chain.name]}"
                    if here < number
                    else f"entry {number:,} of its {_RECORDS[chain.name]} is another"
                )
                return f"another copy of this vault, such as an older one, was put in its place ({how})"
        return None

    def _differs(self, cursor: Cursor, chain: Chain, number: int, digest: str) -> bool:
        return chain.end(cursor)[0] < number or not chain.holds(cursor, number, digest)

    def _sighting(self) -> _Sighting | None:
        """Return the latest that is known: by the file, the keyring, or this process. The keyring is asked once."""
        found = [self._known, self._opened(self._read())]
        if not self._asked:
            self._asked = True
            found.append(self._opened(self._key.remembered()))
        self._known = max((one for one in found if one is not None), key=lambda one: one.count, default=None)
        return self._known

    def _read(self) -> str | None:
        try:
            with self._path.open("r", encoding="ascii", errors="replace") as file:
                return file.read(_LARGEST + 1)
        except OSError:
            return None

    def _write(self, cursor: Cursor, spent: Spent) -> None:
        known = self._sighting()
        before = Spent() if known is None else known.spent
        ends: dict[str, tuple[int, str]] = {chain.name: chain.end(cursor) for chain in self._chains}
        new = _Sighting(1 + (0 if known is None else known.count), ends, spent.at_least(before))
        text = self._sealed(new)
        self._replace(text)
        self._key.remember(text)
        cursor.execute("INSERT OR IGNORE INTO settings (name, value) VALUES (?, ?)", (_ROW, b"written"))
        self._known = new

    def _replace(self, text: str) -> None:
        """Put the new file in the old one's place: one of both is there, whole, whatever happens."""
        new = self._path.with_name(f"{WITNESS}.new")
        try:
            new.unlink(missing_ok=True)
            with os.fdopen(os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            new.replace(self._path)
            sync_folder(self._path.parent)
        except OSError as error:
            with suppress(OSError):
                new.unlink(missing_ok=True)
            if error.errno in _NO_ROOM:
                raise DiskFull(f"{self._path}: the disk is full: make room; nothing was sent") from None
            raise OutputError(
                f"{self._path}: cannot be written ({error.strerror}), so nothing is sent: look at its folder's rights"
            ) from None

    def _sealed(self, sighting: _Sighting) -> str:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        body = {"count": sighting.count, "ends": sighting.ends, **sighting.spent.told()}
        nonce = secrets.token_bytes(12)
        sealed = AESGCM(self._secret()).encrypt(nonce, json.dumps(body).encode(), _LABEL)
        return base64.b64encode(nonce + sealed).decode("ascii")

    def _opened(self, text: str | None) -> _Sighting | None:
        """Return what was sealed with this vault's key, None for anything else."""
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        try:
            data = base64.b64decode(text or "", validate=True)
            body = json.loads(AESGCM(self._secret()).decrypt(data[:12], data[12:], _LABEL))
            ends = {name: (int(number), str(digest)) for name, (number, digest) in body["ends"].items()}
            return _Sighting(int(body["count"]), ends, Spent.read(body))
        except (ValueError, InvalidTag):
            return None

    def _secret(self) -> bytes:
        return hmac.digest(self._key.secret, _LABEL, "sha256")
