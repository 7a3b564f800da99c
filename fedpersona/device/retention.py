"""How long listens are kept, by a clock that is believed only when it was seen twice."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Protocol

from fedpersona.device.store import Cursor, Store
from fedpersona.errors import ConfigError, DiskFull, VaultBusy

__all__ = ["DEFAULT_DAYS", "Retention", "Time"]

DEFAULT_DAYS = 730
_MOST_DAYS = 36_500
_DAY = 86_400
_LONGEST_GAP = 60 * _DAY  # between two sightings of one clock that runs
_DAYS_ROW, _SEEN_ROW = "retention days", "retention clock"


class Time(Protocol):
    """What is asked of the device's clock."""

    def now(self) -> int:
        """Return Unix seconds, never fewer than before."""
        ...

    def wall(self) -> int:
        """Return Unix seconds as the system gives them, 0 where they make no sense."""
        ...


@dataclass(frozen=True)
class _Sightings:
    """What is known of the clock. Deletion goes by ``believed`` only."""

    seen: int
    """The clock when it was last taken note of; at most once a day, or when it had gone back."""
    believed: int | None
    """The latest sighting that the next one, 1 to 60 days on, has confirmed."""

    def after(self, now: int) -> _Sightings:
        if now < self.seen:  # what was seen was a mistake, or this is: neither deletes anything
            return _Sightings(now, self._not_after(now))
        if now > self.seen + _LONGEST_GAP:  # the clock leapt, or nobody was here: that it is so late is yet to confirm
            return _Sightings(now, self.believed)
        if now >= self.seen + _DAY:
            return _Sightings(now, self.seen)
        return self

    def _not_after(self, now: int) -> int | None:
        """Return what is believed, but no time of a future from which the clock came back."""
        if self.believed is None or self.believed <= now + _DAY:  # a clock is corrected by less
            return self.believed
        return None

    def latest(self, now: int) -> int | None:
        return None if self.believed is None else min(self.believed, now)


class Retention:
    """Deletes listens that are older than the owner wants them kept.

    A clock that leaps ahead must not delete a history. So a time counts only once the clock was seen there, and the
    next time 1 to 60 days later: after leaps and back nothing is lost, and deletion lags by the time between two
    openings. Who was away for more than 60 days opens the device on two days until what is too old is deleted.
    """

    def __init__(self, store: Store, clock: Time) -> None:
        self._store = store
        self._clock = clock

    @property
    def days(self) -> int:
        """How long listens are kept."""
        with self._store.reading() as cursor:
            return _days(cursor)

    def set_days(self, days: int) -> None:
        """Keep listens so many days from now on; older ones are deleted at once.

        Raises:
            ConfigError: not a whole number from 1 to 36,500.
        """
        if isinstance(days, bool) or not isinstance(days, int) or not 1 <= days <= _MOST_DAYS:
            raise ConfigError(f"listens are kept for 1 to {_MOST_DAYS:,} whole days: choose a number in that range")
        with self._store.writing() as cursor:
            _put(cursor, _DAYS_ROW, str(days))
        self.expire()

    def cutoff(self, cursor: Cursor, now: int) -> int:
        """Return the time before which listens are not kept, in Unix seconds; 0 where no time is believed yet."""
        latest = (_sightings(cursor) or _first(cursor, now)).latest(now)
        return 0 if latest is None else max(0, latest - _days(cursor) * _DAY)

    def expire(self) -> int:
        """Take note of the clock, delete what is too old, and return how many listens that was.

        Nothing of them is left: tracks without listens go with them, and the log is emptied.
        """
        now = self._clock.wall()  # not the clock that never goes back: that it went back is what tells a leap
        with self._store.reading() as cursor:
            if not self._anything_to_do(cursor, now):
                return 0
        with self._store.writing() as cursor:
            _put_sightings(cursor, (_sightings(cursor) or _first(cursor, now)).after(now))
            deleted = _delete_before(cursor, self.cutoff(cursor, now))
        if deleted:
            self._store.erase_deleted()
        return deleted

    def expire_if_possible(self) -> int:
        """Do the same, but another time where the disk is full or the store is busy."""
        try:
            return self.expire()
        except (DiskFull, VaultBusy):
            return 0

    def _anything_to_do(self, cursor: Cursor, now: int) -> bool:
        """Look without writing: opening a device should cost no write."""
        known = _sightings(cursor)
        if known is None or known.after(now) != known:
            return True
        old = "SELECT 1 FROM listens WHERE played_at < ? LIMIT 1"
        return cursor.execute(old, (self.cutoff(cursor, now),)).fetchone() is not None


def _delete_before(cursor: Cursor, cutoff: int) -> int:
    cursor.execute("DELETE FROM listens WHERE played_at < ?", (cutoff,))
    deleted = int(cursor.rowcount)
    if deleted:
        cursor.execute("DELETE FROM tracks WHERE NOT EXISTS (SELECT 1 FROM listens WHERE track = tracks.id)")
    return deleted


def _first(cursor: Cursor, now: int) -> _Sightings:
    """Believe the first clock of an empty vault: there is nothing to lose. With listens there, wait for a second."""
    empty = cursor.execute("SELECT 1 FROM listens LIMIT 1").fetchone() is None
    return _Sightings(now, now if empty else None)


def _days(cursor: Cursor) -> int:
    value = _get(cursor, _DAYS_ROW)
    return int(value) if value is not None else DEFAULT_DAYS


def _sightings(cursor: Cursor) -> _Sightings | None:
    value = _get(cursor, _SEEN_ROW)
    return _Sightings(**json.loads(value)) if value is not None else None


def _put_sightings(cursor: Cursor, sightings: _Sightings) -> None:
    _put(cursor, _SEEN_ROW, json.dumps({"seen": sightings.seen, "believed": sightings.believed}))


def _get(cursor: Cursor, name: str) -> str | None:
    row = cursor.execute("SELECT value FROM settings WHERE name = ?", (name,)).fetchone()
    return None if row is None else bytes(row[0]).decode()


def _put(cursor: Cursor, name: str, value: str) -> None:
    cursor.execute("INSERT OR REPLACE INTO settings (name, value) VALUES (?, ?)", (name, value.encode()))
