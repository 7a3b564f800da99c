"""The server's database: one SQLite file that the supervisor, the front and the coordinator open at the same time.

It is in WAL mode with ``synchronous = FULL``: what a transaction wrote is on disk when it ends, a kill leaves the last
whole transaction, and readers never wait. A writing transaction takes the one write lock as it begins, so that what
it read cannot change before it writes. Times are whole Unix seconds.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import (
    JSON,
    URL,
    Boolean,
    Column,
    Connection,
    Engine,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    create_engine,
    event,
    inspect,
    select,
)
from sqlalchemy.exc import DBAPIError

from fedpersona.errors import DiskFull, OutputError, ServerError, StateDamaged

__all__ = [
    "Database",
    "budget",
    "checkpoints",
    "condition",
    "counters",
    "devices",
    "events",
    "releases",
    "rounds",
    "serials",
    "tokens",
    "trainings",
    "versions",
]

SCHEMA = 2
_BUSY_SECONDS = 10.0

_tables = MetaData()

schema_version = Table(
    "schema_version", _tables, Column("id", Integer, primary_key=True), Column("version", Integer, nullable=False)
)
serials = Table("serials", _tables, Column("id", Integer, primary_key=True), Column("last", Integer, nullable=False))
devices = Table(
    "devices",
    _tables,
    Column("number", Integer, primary_key=True),
    Column("flower_key", LargeBinary, nullable=False, unique=True),
    Column("signing_key", LargeBinary, nullable=False, unique=True),
    Column("node_id", String, unique=True),  # Flower counts them to 2^64, SQLite's integers end at 2^63
    Column("enrolled_at", Integer, nullable=False),
    Column("revoked_at", Integer),
    sqlite_autoincrement=True,  # a number is never given twice
)
tokens = Table(
    "tokens",
    _tables,
    Column("number", Integer, primary_key=True),
    Column("hash", String, nullable=False, unique=True),
    Column("note", String, nullable=False),
    Column("issued_at", Integer, nullable=False),
    Column("expires_at", Integer, nullable=False),
    Column("taken_back_at", Integer),
    Column("used_by", Integer, ForeignKey("devices.number")),
    sqlite_autoincrement=True,
)
trainings = Table(
    "trainings",
    _tables,
    Column("id", Integer, primary_key=True),
    Column("model", String, nullable=False),
    Column("settings", JSON, nullable=False),
    Column("catalogue", String, nullable=False),
    Column("seed", Integer, nullable=False),
    Column("newest_device", Integer),  # the last that was enrolled when it ended: no clock tells that as surely
    Column("began_at", Integer, nullable=False),
    Column("ended_at", Integer),
    Column("outcome", String),
    Column("privacy", JSON),  # what it promises; absent where it promises nothing
    sqlite_autoincrement=True,
)
Index(
    "one_training_at_a_time", trainings.c.ended_at.is_(None), unique=True, sqlite_where=trainings.c.ended_at.is_(None)
)
checkpoints = Table(
    "checkpoints",
    _tables,
    Column("training", Integer, ForeignKey("trainings.id"), primary_key=True),
    Column("round_number", Integer, primary_key=True),
    Column("hash", String, nullable=False),
    Column("answered", Integer, nullable=False),
    Column("at", Integer, nullable=False),
)
versions = Table(
    "versions",
    _tables,
    Column("number", Integer, primary_key=True),
    Column("hash", String, nullable=False),
    Column("model", String, nullable=False),
    Column("settings", JSON, nullable=False),
    Column("catalogue", String, nullable=False),
    Column("round_number", Integer, nullable=False),
    Column("devices", Integer, nullable=False),
    Column("metrics", JSON, nullable=False),
    Column("training", Integer, nullable=False),
    Column("registered_at", Integer, nullable=False),
    Column("pruned_at", Integer),
    sqlite_autoincrement=True,
)
releases = Table(
    "releases",
    _tables,
    Column("id", Integer, primary_key=True),
    Column("version", Integer, ForeignKey("versions.number"), nullable=False),
    Column("issued", Integer, nullable=False, unique=True),
    Column("back", Boolean, nullable=False),
    Column("digest", String, nullable=False),
    sqlite_autoincrement=True,
)
rounds = Table(
    "rounds",
    _tables,
    Column("id", Integer, primary_key=True),
    Column("training", Integer, nullable=False),
    Column("round_number", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("serial", Integer, nullable=False),
    Column("invited", Integer, nullable=False),
    Column("phase", String, nullable=False),
    Column("began_at", Integer, nullable=False),
    Column("ended_at", Integer, index=True),
    Column("outcome", String),
    Column("answered", Integer, nullable=False, default=0),
    Column("refused", JSON, nullable=False, default=dict),
    Column("dropped", Integer, nullable=False, default=0),
    Column("late", Integer, nullable=False, default=0),
    Column("bytes_up", Integer, nullable=False, default=0),
    Column("bytes_down", Integer, nullable=False, default=0),
    Column("seconds", JSON, nullable=False, default=dict),
    sqlite_autoincrement=True,
)
counters = Table(
    "counters",
    _tables,
    Column("name", String, primary_key=True),
    Column("labels", String, primary_key=True),
    Column("value", Float, nullable=False),
)
events = Table(
    "events",
    _tables,
    Column("id", Integer, primary_key=True),
    Column("at", Integer, nullable=False),
    Column("kind", String, nullable=False),
    Column("words", String, nullable=False),
    sqlite_autoincrement=True,
)
condition = Table(
    "condition",
    _tables,
    Column("id", Integer, primary_key=True),
    Column("state", String, nullable=False),
    Column("words", String, nullable=False),
    Column("since", Integer, nullable=False),
    Column("bell", Integer, nullable=False),
)
budget = Table(
    "budget",
    _tables,
    Column("id", Integer, primary_key=True),
    Column("account", String, nullable=False),
    Column("number", Integer, nullable=False),
    Column("head", String, nullable=False),
    Column("halted", String),
)


class Database:
    """Gives transactions. One object may be used by several threads at once; each process opens its own.

    Args:
        path: the file; made where it is missing, readable by its owner only, in a folder of its owner only.

    Raises:
        StateDamaged: the file is no database of fedpersona's, is damaged, or a newer version wrote it.
        OutputError: it cannot be made or opened.
        DiskFull: there is no room.
        ServerError: another process held the write lock for more than 10 seconds, or the disk failed.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._closed = False
        _prepare(self.path)
        self._engine = _engine(self.path)
        self._write_engine = self._engine.execution_options(begin="BEGIN IMMEDIATE")
        try:
            with self._named():
                _use_wal(self._engine)
            self._create()
        except BaseException:
            self.close()
            raise

    @classmethod
    def open(cls, path: Path | str) -> Database:
        """Open the database, making it where it is missing: the same as the constructor."""
        return cls(path)

    def __repr__(self) -> str:
        return f"Database({str(self.path)!r})"

    def __enter__(self) -> Database:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file. Closing twice is harmless."""
        self._closed = True
        self._engine.dispose()

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Give a connection in a transaction that is on disk when the context ends, and undone if it raises.

        No other process or thread writes meanwhile: keep it short, and do not open another inside it.
        """
        with self._named(), self._open(self._write_engine).begin() as connection:
            yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Give a connection to read with: all it reads is of one moment."""
        with self._named(), self._open(self._engine).begin() as connection:
            yield connection

    def _open(self, engine: Engine) -> Engine:
        if self._closed:
            raise ServerError(f"{self.path}: was closed by this process; open it again")
        return engine

    def _create(self) -> None:
        with self.reading() as connection:
            if self._whole(connection):
                return
        with self.writing() as connection:
            if self._whole(connection):  # another process was quicker
                return
            if self._is_of(connection, 1):
                self._bring_up(connection)
                return
            _tables.create_all(connection)
            connection.execute(schema_version.insert().values(id=1, version=SCHEMA))
            connection.execute(serials.insert().values(id=1, last=0))
            now = int(time.time())
            connection.execute(condition.insert().values(id=1, state="idle", words="", since=now, bell=0))

    def _whole(self, connection: Connection) -> bool:
        """Tell whether the tables are there; if not, nothing is, or the tables of version 1. All else is damage."""
        if connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one() != "ok":
            raise self._damaged("is damaged")
        found = set(inspect(connection).get_table_names())
        if not found:
            return False
        if schema_version.name not in found:
            raise self._damaged("is a database of another program")
        version = connection.scalar(select(schema_version.c.version))
        if isinstance(version, int) and version > SCHEMA:
            raise StateDamaged(f"{self.path}: was written by a newer version of fedpersona: update this one")
        if version == 1 and found.issuperset(set(_tables.tables) - {budget.name}):
            return False
        if version != SCHEMA or not found.issuperset(_tables.tables):
            raise self._damaged("lacks tables that fedpersona wrote")
        return True

    @staticmethod
    def _is_of(connection: Connection, version: int) -> bool:
        there = schema_version.name in inspect(connection).get_table_names()
        return there and connection.scalar(select(schema_version.c.version)) == version

    @staticmethod
    def _bring_up(connection: Connection) -> None:
        """Make a database of version 1, which knew of no budget, one of version 2."""
        connection.exec_driver_sql("ALTER TABLE trainings ADD COLUMN privacy JSON")
        budget.create(connection)
        connection.execute(schema_version.update().values(version=SCHEMA))

    def _damaged(self, what: str) -> StateDamaged:
        return StateDamaged(f"{self.path}: {what}; put back a copy from your backup, or move it away to begin anew")

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Turn SQLite's errors into ours, those that an operator can mend."""
        try:
            yield
        except DBAPIError as error:
            named = self._name(error.orig)
            if named is None:
                raise
            raise named from None
        except sqlite3.Error as error:  # from a pragma as a connection opens
            raise self._name(error) or error from None

    def _name(self, error: BaseException | None) -> Exception | None:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_FULL:
            return DiskFull(f"{self.path}: the disk is full; what was written before is whole. Make room and go on")
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            return self._damaged("is damaged")
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return ServerError(f"{self.path}: another process held it for over {_BUSY_SECONDS:.0f} s; try again")
        if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
            return OutputError(f"{self.path}: cannot be opened to write; look at its rights and its folder's")
        if code == sqlite3.SQLITE_IOERR:
            return ServerError(f"{self.path}: the disk failed to read or write it; look at the disk and its room")
        return None


def _prepare(path: Path) -> None:
    """Make the file and its folder for their owner only; SQLite gives its other files the same rights."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
        path.chmod(0o600)
    except OSError as error:
        raise OutputError(f"{path}: cannot be made or opened ({error.strerror}); look at its folder") from None


def _engine(path: Path) -> Engine:
    engine = create_engine(
        URL.create("sqlite+pysqlite", database=str(path)),
        connect_args={"timeout": _BUSY_SECONDS, "check_same_thread": False},
        max_overflow=-1,  # as many connections as there are threads: none waits for another's
        hide_parameters=True,  # an error must not print a key
    )

    @event.listens_for(engine, "connect")
    def connected(connection: Any, _: object) -> None:
        connection.isolation_level = None  # sqlite3 begins no transactions of its own: 'begun' does
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA fullfsync = ON")  # macOS: fsync alone leaves it in the drive's cache
        connection.execute("PRAGMA checkpoint_fullfsync = ON")
        connection.execute("PRAGMA foreign_keys = ON")

    @event.listens_for(engine, "begin")
    def begun(connection: Connection) -> None:
        connection.exec_driver_sql(connection.get_execution_options().get("begin", "BEGIN"))

    return engine


def _use_wal(engine: Engine) -> None:
    """Switch to WAL, which the file remembers; SQLite does not wait by itself when several processes do so at once."""
    until = time.monotonic() + _BUSY_SECONDS
    connection = engine.raw_connection()
    try:
        while True:
            try:
                connection.cursor().execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
                if not busy or time.monotonic() > until:
                    raise
                time.sleep(0.02)
    finally:
        connection.close()
