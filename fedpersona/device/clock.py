"""The device's clock: what time it is, never earlier than it was, and whether that can be relied on.

Consents end and contributions are spaced by this clock, so a clock that is set back must neither revive the one nor
shorten the other. The latest time seen is kept on disk; time stands still until the system's clock has caught up.
"""

from __future__ import annotations

import json
import math
import time as system_time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace

from fedpersona.device.store import Cursor, Store
from fedpersona.errors import ClockUnsure, DiskFull, VaultBusy, VaultDamaged

__all__ = ["Clock"]

_ROW = "clock"
_TOLERANCE = 600  # seconds that a clock may be set back without a word: networks correct clocks by less
_KEEP_EVERY = 300
_SETTLED_DAYS = 7
_NEXT_DAY = 20 * 3600
_EARLIEST, _LATEST = 946_684_800, 4_102_444_800  # 2000 and 2100: a clock that is not between them says nothing
_LAST_DATE = 253_402_300_799  # the end of the year 9999: earlier versions took note of times up to there


@dataclass(frozen=True)
class _Sightings:
    """What is kept on disk, in Unix seconds."""

    high: int = 0
    """The latest time seen."""
    era: int = 0
    """How often the clock was set back for good."""
    settled: int = 0
    """When that last happened, by the clock that was then believed."""
    days: int = 0
    """On how many days the clock was seen behind, and running forward."""
    day: int = 0
    """When the last of these days was counted."""
    seen: int = 0
    """The last time seen while behind."""


class Clock:
    """Gives the time in whole Unix seconds.

    Args:
        store: where the latest time seen is kept.
        time: gives Unix seconds; another one is for tests.
    """

    def __init__(self, store: Store, time: Callable[[], float] = system_time.time) -> None:
        self._store = store
        self._time = time
        self._known = _Sightings()

    def now(self) -> int:
        """Return the time, never before the latest that was seen on this device.

        The latest time is kept on disk at most every five minutes, and not inside a transaction of the caller's:
        those keep it themselves with :meth:`keep`. A full disk or a busy store does not stop the clock.
        """
        with self._store.reading() as cursor:
            before, after = self._look(cursor)
            due = (after.era, after.days) != (before.era, before.days)
            due = due or max(after.high - before.high, after.seen - before.seen) >= _KEEP_EVERY
            if due and not cursor.connection.in_transaction:
                with suppress(VaultBusy, DiskFull):
                    self._keep_soon(after)
        return after.high

    def keep(self, cursor: Cursor) -> int:
        """Return the time, and keep it in the caller's transaction."""
        _, after = self._look(cursor)
        _write(cursor, after)
        return after.high

    def wall(self) -> int:
        """Return the system's time as it is, in Unix seconds, also when it went back; 0 where it makes no sense."""
        value = self._time()
        return int(value) if math.isfinite(value) and _EARLIEST <= value < _LATEST else 0

    def trusted(self) -> int:
        """Return the time where it can be relied on.

        Raises:
            ClockUnsure: the clock is more than ten minutes behind the latest time seen, or not in this century.
        """
        now, wall = self.now(), self.wall()
        if not wall:
            raise ClockUnsure(
                "the clock is not between the years 2000 and 2100, so nothing is sent: set the date of this device"
            )
        behind = now - wall
        if behind > _TOLERANCE:
            raise ClockUnsure(
                f"the clock was set back by {_words(behind)}: nothing is sent until it has caught up, or has run on "
                f"for {_SETTLED_DAYS} days of use; look whether the date of this device is right"
            )
        return now

    @property
    def era(self) -> int:
        """How often the clock was set back for good. Times of different eras cannot be compared."""
        with self._store.reading() as cursor:
            return self._look(cursor)[1].era

    def age(self, at: int) -> int:
        """Return how many seconds ago ``at`` was, at least.

        A time from a clock that ran ahead and was set back for good counts from when that was settled.
        """
        return self.ages((at,))[0]

    def ages(self, times: Iterable[int]) -> list[int]:
        """Return the age of each time, all at one look at the clock."""
        with self._store.reading() as cursor:
            found = self._look(cursor)[1]
        return [max(0, found.high - (at if at <= found.high else found.settled)) for at in times]

    def _look(self, cursor: Cursor) -> tuple[_Sightings, _Sightings]:
        """Return what is kept on disk, and what it becomes by looking at the clock now."""
        kept, wall = _read(cursor), self.wall()
        if kept.high >= _LATEST:  # an earlier version believed that: set it back for good
            kept = _Sightings(era=kept.era + 1, settled=wall)
        before = self._known if (self._known.era, self._known.high) > (kept.era, kept.high) else kept
        self._known = _seen(before, wall)
        return kept, self._known

    def _keep_soon(self, sightings: _Sightings) -> None:
        """Write without waiting for another process: there will be a next time."""
        with self._store.reading() as cursor:
            (patience,) = cursor.execute("PRAGMA busy_timeout").fetchone()
            cursor.execute("PRAGMA busy_timeout = 0")
            try:
                with self._store.writing() as own:
                    _write(own, sightings)
            finally:
                cursor.execute(f"PRAGMA busy_timeout = {int(patience)}")


def _seen(before: _Sightings, wall: int) -> _Sightings:
    """Return the sightings after one more look."""
    if wall >= before.high - _TOLERANCE:
        return replace(before, high=max(wall, before.high), days=0, day=0, seen=0)
    if not before.days or wall < before.seen - _TOLERANCE:  # set back, or set back again: count anew
        return replace(before, days=1, day=wall, seen=wall)
    behind = replace(before, seen=max(wall, before.seen))
    if wall >= before.day + _NEXT_DAY:
        behind = replace(behind, days=before.days + 1, day=wall)
    if behind.days > _SETTLED_DAYS:
        return _Sightings(high=wall, era=before.era + 1, settled=wall)
    return behind


def _read(cursor: Cursor) -> _Sightings:
    row = cursor.execute("SELECT value FROM settings WHERE name = ?", (_ROW,)).fetchone()
    if row is None:
        return _Sightings()
    try:
        found = json.loads(row[0])
        if set(found) != {field.name for field in fields(_Sightings)}:
            raise ValueError
        if not all(type(value) is int and 0 <= value <= _LAST_DATE for value in found.values()):
            raise ValueError
        return _Sightings(**found)
    except (ValueError, TypeError):
        raise VaultDamaged(
            "the latest time seen cannot be read, so nothing that counts time can be relied on: "
            "keep a copy with 'export', then 'forget' to begin anew"
        ) from None


def _write(cursor: Cursor, sightings: _Sightings) -> None:
    value = json.dumps(asdict(sightings)).encode()
    cursor.execute("INSERT OR REPLACE INTO settings (name, value) VALUES (?, ?)", (_ROW, value))


def _words(seconds: int) -> str:
    for size, name in ((86_400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size:
            count = seconds // size
            return f"{count:,} {name}{'' if count == 1 else 's'}"
    return f"{seconds} seconds"
