"""The file of a budget's account: held by one process at a time, appended to, never written over.

What an append leaves behind when it is cut off is a line without an end. It is completed where its signature shows that
it was whole, and else removed: what it stood for was not released. Everything else that does not fit is damage.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from fedpersona.aggregation.budget_entries import FIRST, Changed, Entry, Opened, Spent, read_entry
from fedpersona.aggregation.shelf import sync_folder
from fedpersona.errors import BudgetDamaged, DiskFull, OutputError, ServerRunning

__all__ = ["BudgetFile", "Mark", "check_mark", "held_file", "read_file"]

_LOOK = 0.05  # seconds between two looks whether it is free
_LARGEST = 1 << 28  # bytes; an entry has some six hundred


@dataclass(frozen=True)
class Mark:
    """A place that an account has reached: from there on it is only added to."""

    account: str
    number: int
    """Of the last entry."""
    head: str
    """Its hash."""

    @classmethod
    def of(cls, entry: Entry) -> Mark:
        """Return the place of an entry."""
        return cls(entry.account, entry.number, entry.hash)


class BudgetFile:
    """The file while this process holds it; :func:`held_file` gives it.

    Args:
        path: the file.
        handle: of the file, open and locked.
        operator: the operator's public key.
        marks: places that the account has reached.

    Raises:
        BudgetDamaged: it is not what was written; nothing is changed then.
    """

    def __init__(self, path: Path, handle: int, operator: bytes, marks: Sequence[Mark] = ()) -> None:
        self.path = path
        self._handle = handle
        data = _bytes_of(path, handle)
        self.entries, whole = _entries_of(path, data, operator)
        for mark in marks:
            check_mark(path, self.entries, mark)
        self._size = sum(len(entry.line) for entry in self.entries)
        self._trusted = True
        if whole != len(data):
            self._mend(data)

    def append(self, entry: Entry) -> None:
        """Add an entry. It is on the disk when this returns.

        Where it raises, the entry may be there or not, so that nothing more is added from here.

        Raises:
            DiskFull: there is no room; nothing was added.
            OutputError: the file cannot be written.
        """
        if not self._trusted:
            raise OutputError(f"{self.path}: could not be written before: end this process, and look at the disk")
        self._trusted = False
        try:
            self._write(entry.line)
        except OSError as error:
            self._cut()
            raise _named(error, self.path) from None
        try:
            os.fsync(self._handle)
            if not self.entries:
                sync_folder(self.path.parent)
        except OSError as error:
            raise _named(error, self.path) from None
        self.entries.append(entry)
        self._size += len(entry.line)
        self._trusted = True

    def _write(self, data: bytes) -> None:
        place = self._size
        while data:
            written = os.pwrite(self._handle, data, place)
            data, place = data[written:], place + written

    def _cut(self) -> None:
        """Take back what was written of a line that did not come to its end."""
        try:
            os.ftruncate(self._handle, self._size)
        except OSError:
            return  # it has no end: whoever opens the file next removes it
        self._trusted = True

    def _mend(self, data: bytes) -> None:
        """Bring the last line to its end, or remove it."""
        try:
            if len(data) < self._size:  # only its line feed is missing
                os.pwrite(self._handle, b"\n", len(data))
            else:
                os.ftruncate(self._handle, self._size)
            os.fsync(self._handle)
        except OSError as error:
            raise _named(error, self.path) from None


@contextmanager
def held_file(path: Path, operator: bytes, marks: Sequence[Mark] = (), *, wait: float = 0.0) -> Iterator[BudgetFile]:
    """Hold an account as long as the context lasts; it is made, empty, where nobody has seen one.

    The lock is on the file itself, by whatever path it is reached.

    Args:
        path: the file.
        operator: the operator's public key, 32 bytes.
        marks: places that the account has reached, as others remember.
        wait: seconds to wait for another process.

    Raises:
        ServerRunning: another process holds it.
        BudgetDamaged: it is missing, or not what was written.
        OutputError: it cannot be opened or written.
    """
    if marks and not path.exists():
        raise _missing(path)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _named(error, path) from None
    try:
        _lock(path, handle, wait)
        yield BudgetFile(path, handle, operator, marks)
    finally:
        os.close(handle)


def read_file(path: Path, operator: bytes, marks: Sequence[Mark] = ()) -> list[Entry]:
    """Return the entries of an account without holding it; none where there is no file and nobody has seen one.

    Read the marks first: an account may go on meanwhile.

    Raises:
        BudgetDamaged: it is missing, or not what was written.
        OutputError: it cannot be read.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        if marks:
            raise _missing(path) from None
        return []
    except OSError as error:
        raise OutputError(f"{path}: cannot be read ({error.strerror}); look at its rights") from None
    entries, _ = _entries_of(path, data, operator)
    for mark in marks:
        check_mark(path, entries, mark)
    return entries


def check_mark(path: Path, entries: Sequence[Entry], mark: Mark) -> None:
    """Check that an account goes on from a place that it has reached.

    Raises:
        BudgetDamaged: it is another account, an older one, or one with another past.
    """
    if entries and entries[0].account != mark.account:
        raise _damaged(path, "is the account of another budget")
    if len(entries) < mark.number:
        raise _damaged(path, f"ends at entry {len(entries)}, and {mark.number} were written: it was cut off, or is old")
    if entries[mark.number - 1].hash != mark.head:
        raise _damaged(path, f"entry {mark.number} is not the one that was written")


def _lock(path: Path, handle: int, wait: float) -> None:
    deadline = time.monotonic() + wait
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise _named(error, path) from None
        else:
            break
        if time.monotonic() >= deadline:
            raise ServerRunning(
                f"{path}: another process works with this budget: let its training end, or stop its server"
            )
        time.sleep(_LOOK)
    try:
        same = os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        same = False
    if not same:  # a lock on a file that nobody else will open is none
        raise ServerRunning(f"{path}: was replaced while it was being opened: let whoever does that end, and try again")


def _bytes_of(path: Path, handle: int) -> bytes:
    try:
        size = os.fstat(handle).st_size
        if size > _LARGEST:
            raise _damaged(path, "is too long for an account")
        pieces, place = [], 0
        while piece := os.pread(handle, 1 << 20, place):
            pieces.append(piece)
            place += len(piece)
    except OSError as error:
        raise OutputError(f"{path}: cannot be read ({error.strerror}); look at the disk") from None
    return b"".join(pieces)


def _entries_of(path: Path, data: bytes, operator: bytes) -> tuple[list[Entry], int]:
    """Return the entries, and how many bytes of the data their lines are when all is in order.

    The last line may lack its line feed: it counts where it is whole, and is passed over where it is not.
    """
    *lines, rest = data.split(b"\n")
    account = _Account()
    for number, line in enumerate(lines, 1):
        try:
            account.add(read_entry(line + b"\n", operator))
        except ValueError as error:
            raise _damaged(path, f"entry {number} {error}") from None
    whole = len(data) - len(rest)
    if rest:
        with suppress(ValueError):
            account.add(read_entry(rest + b"\n", operator))
    return account.entries, whole


class _Account:
    """Entries that follow each other."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self._limit = 0.0
        self._serials: set[int] = set()

    def add(self, entry: Entry) -> None:
        """Add the next entry.

        Raises:
            ValueError: it is not; in words to follow "entry 3".
        """
        last = self.entries[-1] if self.entries else None
        if entry.number != len(self.entries) + 1 or entry.previous != (FIRST if last is None else last.hash):
            raise ValueError("does not follow the one before: some were removed, moved or put in")
        if last is not None and entry.account != last.account:
            raise ValueError("is of another account")
        said = entry.said
        if isinstance(said, Opened) != (last is None):
            raise ValueError("opens the account, which the first entry does and no other")
        if isinstance(said, Changed) and said.before != self._limit:
            raise ValueError(f"changes a limit of {said.before:g}, and it was {self._limit:g}")
        if isinstance(said, Spent):
            if said.serial in self._serials:
                raise ValueError(f"spends for the plan {said.serial} a second time")
            self._serials.add(said.serial)
        else:
            self._limit = said.limit
        self.entries.append(entry)


def _damaged(path: Path, what: str) -> BudgetDamaged:
    return BudgetDamaged(
        f"{path}: {what}; no training is held on an account that cannot be trusted: put the newest copy back, "
        "as docs/server.md says"
    )


def _missing(path: Path) -> BudgetDamaged:
    return _damaged(path, "is missing, and this server has spent by it")


def _named(error: OSError, path: Path) -> DiskFull | OutputError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull(f"{path}: the disk is full; nothing was released. Make room and go on")
    return OutputError(f"{path}: cannot be written ({error.strerror or error}); look at the disk and its rights")
