"""Tells whether a database is open, here or in another process, and whether a file is still the one it was."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["identity", "open_here", "open_here_lock", "unused"]

open_here: Counter[str] = Counter()
"""By real path: how often this process has a database open."""
open_here_lock = threading.Lock()
_SHARED_FIRST, _SHARED_SIZE = 0x40000002, 510  # the bytes of a database file that SQLite's processes lock


@contextmanager
def unused(path: Path) -> Iterator[bool]:
    """Tell whether nobody, here or in another process, has the database open; if so, nobody can open it meanwhile.

    False where it cannot be told.
    """
    with open_here_lock:
        handle = None if open_here[os.path.realpath(path)] else _locked_for_oneself(path)
        try:
            yield handle is not None
        finally:
            if handle is not None:
                os.close(handle)


def _locked_for_oneself(path: Path) -> int | None:
    """Take the lock that every SQLite process shares while it has a database with a log open.

    Never while this process has it open: closing the file would drop the process's own locks.
    https://sqlite.org/lockingv3.html
    """
    if os.name == "nt":
        return None
    import fcntl

    try:
        handle = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB, _SHARED_SIZE, _SHARED_FIRST)
    except OSError:
        os.close(handle)
        return None
    return handle


def identity(path: str) -> tuple[int, int] | None:
    """Return what tells this file from another of the same name, None where none can be found."""
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
