"""What devices sent is gone from the server's disk once a round is over, also after a crash.

A SuperLink deletes a message when it was taken, but a deleted row leaves its bytes in the file of the database and in
the write-ahead log beside it, until something is written over them; and what was never taken stays. So all messages
are deleted, and both files are written anew: whenever an attempt at a round ends, when a coordinator was found dead,
and before a SuperLink starts.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from fedpersona.errors import ServerError

__all__ = ["erase_messages"]

_TABLES = ("message_ins", "message_res", "object_push_sessions", "objects")
"""Flower's: questions, answers, and what both carry; the rest of them goes with these."""

_PATIENCE = 20.0  # seconds to wait for the SuperLink's own writing


def erase_messages(file: Path) -> int | None:
    """Delete every message from a SuperLink's database, and the bytes of those that were deleted before.

    It may run meanwhile: a question that is out can be answered no more, and no round may be under way.

    Args:
        file: the database; nothing is done where there is none.

    Returns:
        how many answers were there that nobody had taken; None where there is no database.

    Raises:
        ServerError: the database cannot be written, or somebody reads in it all the time.
    """
    if not file.is_file():
        return None
    try:
        with closing(sqlite3.connect(file, timeout=_PATIENCE, isolation_level=None)) as connection:
            return _erase(connection)
    except sqlite3.Error as error:
        raise ServerError(f"{file}: what devices sent could not be erased ({error})") from None


def _erase(connection: sqlite3.Connection) -> int:
    connection.execute("PRAGMA foreign_keys = ON")
    there = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    late = 0
    connection.execute("BEGIN IMMEDIATE")
    if "message_res" in there:
        ((late,),) = connection.execute("SELECT count(*) FROM message_res WHERE delivered_at = ''")
    for table in _TABLES:
        if table in there:
            connection.execute(f"DELETE FROM {table}")  # noqa: S608 - a name from the list above
    connection.execute("COMMIT")
    connection.execute("VACUUM")  # writes what is left anew, and nothing else: deleted bytes are in no page then
    ((busy, _, _),) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # the log begins anew, at no bytes
    if busy:
        raise sqlite3.OperationalError("its log is being read")
    return int(late)
