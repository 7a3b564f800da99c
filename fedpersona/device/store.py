"""The encrypted store of a device: one SQLCipher database that the vault, the consents and the ledger share."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

from sqlcipher3 import dbapi2 as sqlite

from fedpersona.device.schema import STEPS, VERSION
from fedpersona.errors import DeviceClosed, DeviceError, DiskFull, VaultBusy, VaultDamaged, VaultTooNew

__all__ = ["Cursor", "Store"]

Cursor: TypeAlias = sqlite.Cursor

_BUSY_SECONDS = 10


class Store:
    """Opens the database, keeps its schema, and gives transactions that are on disk when they end.

    Args:
        path: the database file; made where it is missing.
        key: 32 random bytes.
    """

    def __init__(self, path: Path, key: bytes) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._connection: sqlite.Connection | None = None
        with self._named():
            connection = sqlite.connect(str(path), timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
            connection.execute(f"PRAGMA key = \"x'{key.hex()}'\"")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA secure_delete = ON")
            self._connection = connection
        self._migrate()

    def _migrate(self) -> None:
        with self.writing() as cursor:
            (found,) = cursor.execute("PRAGMA user_version").fetchone()
            if found > VERSION:
                raise VaultTooNew(f"{self.path}: written by a newer fedpersona (schema {found}): update this one")
            for step in STEPS[found:]:
                for statement in _statements(step):
                    cursor.execute(statement)
            if found < VERSION:
                cursor.execute(f"PRAGMA user_version = {VERSION}")

    @contextmanager
    def reading(self) -> Iterator[Cursor]:
        """Give a cursor to read with."""
        with self._lock, self._named():
            yield self._open.cursor()

    @contextmanager
    def writing(self) -> Iterator[Cursor]:
        """Give a cursor in a transaction of its own: committed and fsynced at the end, undone on any error."""
        with self._lock, self._named():
            cursor = self._open.cursor()
            cursor.execute("BEGIN IMMEDIATE")
            try:
                yield cursor
                cursor.execute("COMMIT")
            except BaseException:
                if self._open.in_transaction:
                    cursor.execute("ROLLBACK")
                raise

    def close(self) -> None:
        """Close the database; nothing can be read or written afterwards."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    @property
    def _open(self) -> sqlite.Connection:
        if self._connection is None:
            raise DeviceClosed(f"{self.path.parent}: this device was closed or forgotten; open it again")
        return self._connection

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Turn the database's errors into ours."""
        try:
            yield
        except sqlite.DatabaseError as error:
            message = str(error)
            if "full" in message:
                raise DiskFull(f"{self.path}: the disk is full; nothing that was kept before is lost") from None
            if "locked" in message or "busy" in message:
                raise VaultBusy(f"{self.path}: another process is writing; try again when it has ended") from None
            if "not a database" in message or "malformed" in message or "disk image" in message:
                raise VaultDamaged(f"{self.path}: bytes on disk are not those that were written") from None
            raise DeviceError(f"{self.path}: {message}") from None


def _statements(script: str) -> Iterator[str]:
    statement = ""
    for part in script.split(";"):
        statement += part + ";"
        if sqlite.complete_statement(statement):
            if statement.strip(" ;\n"):
                yield statement
            statement = ""
