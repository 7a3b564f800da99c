"""The encrypted store of a device: one SQLCipher database that the vault, the consents and the ledger share.

Every page is encrypted and carries an HMAC, so that a flipped bit is found when it is read; :meth:`Store.check` reads
all of them.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeAlias

from sqlcipher3 import dbapi2 as sqlite

from fedpersona.device import schema
from fedpersona.device.in_use import identity, open_here, open_here_lock
from fedpersona.device.journal import lost_changes
from fedpersona.errors import (
    DeviceClosed,
    DeviceError,
    DiskFull,
    OutputError,
    VaultBusy,
    VaultDamaged,
    VaultTooNew,
)

__all__ = ["Cursor", "Store"]

Cursor: TypeAlias = sqlite.Cursor

_BUSY_SECONDS = 10
_SETTINGS = (
    "PRAGMA temp_store = MEMORY",  # no sorted history in a file of its own
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA fullfsync = ON",  # macOS: fsync alone leaves it in the drive's cache
    "PRAGMA checkpoint_fullfsync = ON",
    "PRAGMA secure_delete = ON",
    "PRAGMA cache_size = -16000",
)
_WORTH_PACKING = 64  # free pages, of 4 KiB

_inherited: list[sqlite.Connection] = []  # a forked child's: closing them would take part in the parent's


class Store:
    """Opens the database, keeps its schema, and gives transactions that are on disk when they end.

    One object may be used by several threads, one after another; after a fork the child opens its own.

    Args:
        path: the database file; made where it is missing, readable by its owner only.
        key: 32 random bytes.

    Raises:
        VaultDamaged: bytes on disk are not those that were written. (Or the key is another: see ``device/keys.py``.)
        VaultTooNew: a newer fedpersona wrote it.
        VaultBusy: another process held it for more than 10 seconds.
        DiskFull: there is no room.
        OutputError: the file cannot be made or opened.
    """

    def __init__(self, path: Path, key: bytes) -> None:
        if len(key) != 32:
            raise ValueError("the key must be 32 bytes")
        self.path = path
        self._lock = threading.RLock()
        self._depth = 0
        self._process = os.getpid()
        self._name = os.path.realpath(path)
        self._connection: sqlite.Connection | None = None
        with open_here_lock:
            self._prepare_file()
            self._file = identity(self._name)
            with self._named():
                self._connection = self._connect(key)
            open_here[self._name] += 1
        try:
            self._migrate()
        except BaseException:
            self.close()
            raise

    def __repr__(self) -> str:
        return f"Store({str(self.path)!r})"

    def _prepare_file(self) -> None:
        """Make the file for its owner only; look at the log before SQLite does, unless it is in use here."""
        if self.path.is_symlink() or self.path.is_dir():
            raise OutputError(f"{self.path}: is a link or a folder where a file of fedpersona's belongs: move it away")
        try:
            if self.path.exists():
                self.path.chmod(0o600)
            else:
                os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except FileExistsError:  # another process was quicker
            pass
        except OSError as error:
            raise OutputError(f"{self.path}: cannot be made or opened ({error.strerror}); look at its folder") from None
        if not open_here[self._name] and lost_changes(self.path):
            raise VaultDamaged(
                f"{self.path}-wal: the last changes before a crash were in it, and it was removed or changed: put it "
                f"back from a copy, or delete it and {self.path.name}-shm to go on without them"
            )

    def _connect(self, key: bytes) -> sqlite.Connection:
        connection = sqlite.connect(
            str(self.path), timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            connection.execute("PRAGMA cipher_log_level = NONE")  # else SQLCipher writes to the app's stderr
            connection.execute(f"PRAGMA key = \"x'{key.hex()}'\"")
            for setting in _SETTINGS:
                connection.execute(setting)
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except BaseException:
            connection.close()
            raise
        return connection

    def _migrate(self) -> None:
        with self.reading() as cursor:
            found = _version(cursor)
        if found == len(schema.STEPS):
            return
        with self.writing() as cursor:
            found = _version(cursor)  # another process may have been quicker
            if found > len(schema.STEPS):
                raise VaultTooNew(f"{self.path}: written by a newer fedpersona (schema {found}): update this one")
            for step in schema.STEPS[found:]:
                for statement in _statements(step):
                    cursor.execute(statement)
            cursor.execute(f"PRAGMA user_version = {len(schema.STEPS)}")

    @contextmanager
    def reading(self) -> Iterator[Cursor]:
        """Give a cursor to read with. Inside :meth:`writing` it reads in that transaction."""
        with self._lock, self._named(), self._cursor() as cursor:
            yield cursor

    @contextmanager
    def snapshot(self) -> Iterator[Cursor]:
        """Give a cursor to read with: all it reads is of one moment, whatever other processes write meanwhile.

        Nothing can be written until it ends.
        """
        with self._lock, self._named(), self._cursor() as cursor:
            if self._open.in_transaction:
                yield cursor
                return
            cursor.execute("BEGIN")
            try:
                yield cursor
            finally:
                if self._connection is not None and self._connection.in_transaction:
                    cursor.execute("ROLLBACK")

    @contextmanager
    def writing(self) -> Iterator[Cursor]:
        """Give a cursor in a transaction of its own: committed and fsynced at the end, undone on any error.

        Inside another :meth:`writing` it is a part of that one: undone by itself on an error, committed with it.
        """
        with self._lock, self._named(), self._cursor() as cursor:
            nested = self._depth > 0
            if not nested and self._open.in_transaction:
                raise RuntimeError("writing() inside snapshot(): end the snapshot first")
            name = f"part_{self._depth}"
            cursor.execute(f"SAVEPOINT {name}" if nested else "BEGIN IMMEDIATE")
            self._depth += 1
            try:
                yield cursor
                cursor.execute(f"RELEASE {name}" if nested else "COMMIT")
            except BaseException:
                if self._connection is not None and self._connection.in_transaction:
                    cursor.execute(f"ROLLBACK TO {name}" if nested else "ROLLBACK")
                raise
            finally:
                self._depth -= 1

    def changes(self) -> tuple[int, int]:
        """Return two numbers that stay the same as long as nobody, here or in another process, has written."""
        with self._lock, self._named():
            (others,) = self._open.execute("PRAGMA data_version").fetchone()
            return others, self._open.total_changes

    def check(self) -> None:
        """Read every page and check it.

        Raises:
            VaultDamaged: a page is not what was written, or pages do not fit each other.
        """
        with self._lock, self._named():
            connection = self._open
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            damaged = len(connection.execute("PRAGMA cipher_integrity_check").fetchall())
            if damaged:
                raise self._damaged(f"{damaged} {'page is' if damaged == 1 else 'pages are'} not what was written")
            ((answer,), *_) = connection.execute("PRAGMA integrity_check(1)").fetchall()
            if answer != "ok":
                raise self._damaged("its tables do not fit each other")

    def erase_deleted(self) -> None:
        """Make sure that nothing of what was deleted is left: empty the log, give free pages back to the disk.

        What another process reads at the same time may delay it; it is made up for at the next time.
        """
        with self._lock, self._named():
            connection = self._open
            (free,) = connection.execute("PRAGMA freelist_count").fetchone()
            (pages,) = connection.execute("PRAGMA page_count").fetchone()
            if free > max(_WORTH_PACKING, pages // 8):
                with suppress(sqlite.OperationalError):  # busy, or no room for the copy: free pages are zeroed as it is
                    connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def close(self) -> None:
        """Close the database; nothing can be read or written afterwards. Once more does nothing."""
        with self._lock:
            connection, self._connection = self._connection, None
            if connection is None:
                return
            if os.getpid() != self._process:
                _inherited.append(connection)
                return
            with open_here_lock:
                open_here[self._name] -= 1
                with suppress(sqlite.OperationalError):  # no room to fold the log in: it is kept, and read next time
                    connection.close()

    @property
    def _open(self) -> sqlite.Connection:
        if self._connection is None:
            raise DeviceClosed(f"{self.path.parent}: this device was closed or forgotten; open it again")
        if os.getpid() != self._process:
            raise DeviceClosed(f"{self.path.parent}: was opened before a fork; open it again in the new process")
        if self._file is None or identity(self._name) != self._file:  # SQLite would go on, in files without a name
            raise DeviceClosed(f"{self.path.parent}: was forgotten, moved or replaced meanwhile; open it again")
        return self._connection

    @contextmanager
    def _cursor(self) -> Iterator[Cursor]:
        cursor = self._open.cursor()
        try:
            yield cursor
        finally:
            with suppress(sqlite.Error):
                cursor.close()

    def _damaged(self, how: str) -> VaultDamaged:
        return VaultDamaged(
            f"{self.path}: {how}: save what can be read with 'export', put a copy back, or 'forget' and import again"
        )

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Turn the database's errors into ours; none of its words can hold a listen."""
        try:
            yield
        except sqlite.Error as error:
            raise self._ours(error) from None

    def _ours(self, error: sqlite.Error) -> Exception:
        code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
        if code == sqlite.SQLITE_FULL:
            return DiskFull(f"{self.path}: the disk is full: make room; nothing that was kept before is lost")
        if code == sqlite.SQLITE_IOERR:
            return DiskFull(
                f"{self.path}: the disk took or gave no more (full, over a quota, or failing): make room and try "
                "again; nothing that was kept before is lost"
            )
        if code in (sqlite.SQLITE_BUSY, sqlite.SQLITE_LOCKED):
            return VaultBusy(f"{self.path}: another process is using it; try again when that has ended")
        if code in (sqlite.SQLITE_NOTADB, sqlite.SQLITE_CORRUPT):
            return self._damaged("bytes on disk are not those that were written")
        if code in (sqlite.SQLITE_CANTOPEN, sqlite.SQLITE_READONLY, sqlite.SQLITE_PERM):
            return OutputError(
                f"{self.path}: cannot be opened or written: look at the rights of the file and its folder"
            )
        return DeviceError(
            f"{self.path}: the database refused ({getattr(error, 'sqlite_errorname', 'no reason given')})"
        )


def _version(cursor: Cursor) -> int:
    (found,) = cursor.execute("PRAGMA user_version").fetchone()
    return int(found)


def _statements(script: str) -> Iterator[str]:
    statement = ""
    for part in script.split(";"):
        statement += part + ";"
        if sqlite.complete_statement(statement):
            if statement.strip(" ;\n"):
                yield statement
            statement = ""
