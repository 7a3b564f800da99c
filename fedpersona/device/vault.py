"""The owner's listening history: what was played and when, in the device's encrypted store and nowhere else."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, tzinfo
from itertools import islice
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fedpersona.catalogue import Catalogue
from fedpersona.device.listens import insert
from fedpersona.device.matching import Matcher
from fedpersona.device.retention import Retention, Time
from fedpersona.device.store import Store
from fedpersona.plays import Plays
from fedpersona.sources.listen import Listen

__all__ = ["Added", "Finds", "Known", "TrackPlays", "Vault"]

_BATCH = 20_000  # listens a transaction: about 20 MB of memory and under a second
_PAGE = 10_000
_DAY = 86_400
_LATEST = 4_102_444_800  # 2100-01-01


_Name: TypeAlias = tuple[int, str, str, str]  # of a track: its number, artist, title and ids


class Finds(Protocol):
    """What finds a track in a catalogue: :class:`fedpersona.device.matching.Matcher`, or another."""

    def row(self, artist: str, title: str, ids: tuple[str, ...]) -> int | None:
        """Return the catalogue row of a track, None where the catalogue does not have it."""
        ...


@dataclass
class Added:
    """What came of adding listens, in numbers."""

    read: int = 0
    """Listens that were given."""
    new: int = 0
    """Kept, and not there before."""
    already: int = 0
    """There before, or the same play as another source has it."""
    expired: int = 0
    """Older than listens are kept, and so not kept."""
    future: int = 0
    """More than a day ahead of this device's clock, and so not kept."""
    unusable: int = 0
    """Without artist or title, or with a time that is none, and so not kept."""

    def to_dict(self) -> dict[str, int]:
        """Return the numbers, JSON-native."""
        return asdict(self)

    def __str__(self) -> str:
        parts = [f"{self.new:,} new listens", f"{self.already:,} here already"]
        if self.expired:
            parts.append(f"{self.expired:,} older than listens are kept")
        if self.future:
            parts.append(f"{self.future:,} from the future (look at this device's clock)")
        if self.unusable:
            parts.append(f"{self.unusable:,} without a name or a time")
        return f"{self.read:,} read: {', '.join(parts)}"


@dataclass(frozen=True)
class Known:
    """How much of the history a catalogue knows, in numbers."""

    tracks: int
    known_tracks: int
    plays: int
    known_plays: int

    def to_dict(self) -> dict[str, int]:
        """Return the numbers, JSON-native."""
        return asdict(self)

    def __str__(self) -> str:
        if not self.plays:
            return "nothing is kept yet"
        return (
            f"the catalogue knows {self.known_tracks:,} of {self.tracks:,} tracks, "
            f"{self.known_plays / self.plays:.0%} of the listens"
        )


class TrackPlays(NamedTuple):
    """One track of the history. Its ``repr`` shows nothing of it."""

    track: int
    """The track's number, which means this track for ever."""
    artist: str
    title: str
    ids: tuple[str, ...]
    plays: int
    last_played: int
    """Unix seconds, UTC."""

    def __repr__(self) -> str:
        return "TrackPlays(…)"


class Vault:
    """The history in a store. What is too old is deleted here, when it is opened and when listens are added.

    Args:
        store: the device's store.
        clock: gives the time; one that leaps deletes nothing (see ``device/retention.py``).
    """

    def __init__(self, store: Store, clock: Time) -> None:
        self._store = store
        self._clock = clock
        self._retention = Retention(store, clock)
        self._lock = threading.Lock()
        self._version = ""
        self._matcher: Finds | None = None
        self._rows: dict[tuple[int, str], int] = {}
        self._last: tuple[tuple[str, int, int], Plays] | None = None
        self._retention.expire_if_possible()

    def __repr__(self) -> str:
        return "Vault(…)"

    def add(self, listens: Iterable[Listen]) -> Added:
        """Add listens, each play once, however often and from however many exports it is given.

        They are read one by one and committed every 20,000: what an error stops half-way is kept up to there, and
        giving the same again adds the rest.

        Raises:
            DiskFull: there is no room. What was committed is kept.
            VaultBusy: another process held the store for too long.
        """
        self._retention.expire()
        added = Added()
        rest = iter(listens)
        while batch := list(islice(rest, _BATCH)):
            self._add_batch(batch, added)
        return added

    def _add_batch(self, batch: list[Listen], added: Added) -> None:
        now = self._clock.now()
        usable = [one for one in batch if _usable(one)]
        timely = [one for one in usable if one.played_at <= now + _DAY]
        with self._store.writing() as cursor:
            cutoff = self._retention.cutoff(cursor, now)
            kept = [one for one in timely if one.played_at >= cutoff]
            new = insert(cursor, kept) if kept else 0
        added.read += len(batch)
        added.unusable += len(batch) - len(usable)
        added.future += len(usable) - len(timely)
        added.expired += len(timely) - len(kept)
        added.already += len(kept) - new
        added.new += new

    def expire(self) -> int:
        """Delete what is too old and return how many listens that was. An app that runs for weeks calls it daily."""
        return self._retention.expire()

    @property
    def retention_days(self) -> int:
        """How many days listens are kept; assign another number to change it: what is older is deleted at once."""
        return self._retention.days

    @retention_days.setter
    def retention_days(self, days: int) -> None:
        self._retention.set_days(days)

    def count(self) -> int:
        """Return how many listens are kept."""
        with self._store.reading() as cursor:
            (count,) = cursor.execute("SELECT count(*) FROM listens").fetchone()
        return int(count)

    def span(self) -> tuple[int, int] | None:
        """Return the times of the first and the last listen in Unix seconds, None where there is none."""
        with self._store.reading() as cursor:
            # Each by itself comes from the index's ends; both in one query would read all of it.
            (first,) = cursor.execute("SELECT min(played_at) FROM listens").fetchone()
            (last,) = cursor.execute("SELECT max(played_at) FROM listens").fetchone()
        return None if first is None or last is None else (first, last)

    def by_month(self, zone: tzinfo | None = None) -> list[tuple[str, int]]:
        """Return the number of listens of each month, from the first to the last, those without any as well.

        Args:
            zone: the time zone in which months begin; by default the system's.
        """
        with self._store.snapshot() as cursor:
            (first,) = cursor.execute("SELECT min(played_at) FROM listens").fetchone()
            (last,) = cursor.execute("SELECT max(played_at) FROM listens").fetchone()
            if first is None:
                return []
            begin = datetime.fromtimestamp(first, zone)
            months = []
            year, month, start = begin.year, begin.month, first
            while start <= last:
                following = (year + month // 12, month % 12 + 1)
                end = int(datetime(*following, 1, tzinfo=zone).timestamp())
                query = "SELECT count(*) FROM listens WHERE played_at >= ? AND played_at < ?"
                (count,) = cursor.execute(query, (start, end)).fetchone()
                months.append((f"{year:04}-{month:02}", int(count)))
                (year, month), start = following, end
            return months

    def tracks(self) -> Iterator[TrackPlays]:
        """Yield every track that was played, with how often and when last, in the order of its number."""
        for (track, artist, title, ids), (_, plays, last) in zip(*self._read(), strict=True):
            yield TrackPlays(track, artist, title, tuple(ids.split()), plays, last)

    def _read(self) -> tuple[list[_Name], list[tuple[int, int, int]]]:
        """Return the names of every track that was played, and its number, plays and last time, in the same order."""
        with self._store.snapshot() as cursor:
            # Two passes and no join: each reads its table from one end to the other, which takes half the time.
            names = cursor.execute("SELECT id, artist, title, ids FROM tracks ORDER BY id").fetchall()
            played = cursor.execute(
                "SELECT track, count(*), max(played_at) FROM listens GROUP BY track ORDER BY track"
            ).fetchall()
        if len(names) != len(played):
            numbers = {track for track, _, _ in played}
            names = [one for one in names if one[0] in numbers]
        return names, played

    def top_artists(self, n: int = 10) -> list[tuple[str, int]]:
        """Return the artists that were played most, with the number of plays, most first."""
        return sorted(self.artist_plays().items(), key=lambda one: (-one[1], one[0]))[: max(0, n)]

    def artist_plays(self, catalogue: Catalogue | None = None) -> dict[str, int]:
        """Return the number of plays by artist, in the spelling that came first.

        Args:
            catalogue: leave out the tracks that it has; None leaves none out.
        """
        names, played = self._read()
        rows = [-1] * len(names) if catalogue is None else self._matched(names, catalogue).tolist()
        spelling: dict[str, str] = {}
        plays: Counter[str] = Counter()
        for (_, artist, _, _), (_, count, _), row in zip(names, played, rows, strict=True):
            if row < 0:
                plays[spelling.setdefault(artist.casefold(), artist)] += count
        return dict(plays)

    def plays(self, catalogue: Catalogue, match: Finds | None = None) -> Plays:
        """Return the history as a taste model takes it: what the catalogue does not have is left out.

        Args:
            catalogue: the catalogue, public; nothing of the history goes into it.
            match: finds tracks in it; by default by id, else by normalised names.
        """
        if match is not None:
            return self._plays(catalogue, match)
        state = (catalogue.version, *self._store.changes())
        if self._last is None or self._last[0] != state:
            self._last = (state, self._plays(catalogue, None))
        return self._last[1]

    def _plays(self, catalogue: Catalogue, match: Finds | None) -> Plays:
        names, played = self._read()
        rows = self._matched(names, catalogue, match)
        known = rows >= 0
        _, counts, times = np.array(played, np.int64).reshape(-1, 3)[known].T
        items, place = np.unique(rows[known], return_inverse=True)
        weights = np.bincount(place, counts, minlength=items.size)
        last = np.full(items.size, np.iinfo(np.int64).min)
        np.maximum.at(last, place, times)
        arrays = items.astype(np.int32), weights.astype(np.float32), last
        for array in arrays:
            array.setflags(write=False)  # they are given out again while nothing has changed
        return Plays(*arrays)

    def matched(self, catalogue: Catalogue) -> Known:
        """Return how much of the history the catalogue knows."""
        names, played = self._read()
        known = self._matched(names, catalogue) >= 0
        plays = np.array(played, np.int64).reshape(-1, 3)[:, 1]
        return Known(len(names), int(known.sum()), int(plays.sum()), int(plays[known].sum()))

    def _matched(self, names: list[_Name], catalogue: Catalogue, match: Finds | None = None) -> NDArray[np.int32]:
        """Return the catalogue row of each track, -1 where it has none; remembered for one version of a catalogue."""
        if match is not None:
            return np.array([_row(match, one) for one in names], np.int32)
        with self._lock:
            if self._matcher is None or self._version != catalogue.version:
                self._matcher, self._version, self._rows = Matcher(catalogue), catalogue.version, {}
            before, matcher = self._rows, self._matcher
            now = {}
            for one in names:
                key = (one[0], one[3])  # a number means one artist and title for ever; its ids may grow
                row = before.get(key)
                now[key] = _row(matcher, one) if row is None else row
            self._rows = now
            return np.fromiter(now.values(), np.int32, len(now))

    def export(self) -> Iterator[dict[str, Any]]:
        """Yield every listen as JSON-native values, in the order of time."""
        after = (-1, -1)
        while True:
            with self._store.reading() as cursor:
                page = cursor.execute(
                    "SELECT played_at, track, artist, title, ids, seconds FROM listens JOIN tracks ON id = track "
                    "WHERE (played_at, track) > (?, ?) ORDER BY played_at, track LIMIT ?",
                    (*after, _PAGE),
                ).fetchall()
            for at, _, artist, title, ids, seconds in page:
                yield {"played_at": at, "artist": artist, "title": title, "ids": ids.split(), "seconds": seconds}
            if len(page) < _PAGE:
                return
            after = page[-1][:2]


def _usable(one: Listen) -> bool:
    named = bool(one.artist.strip()) and bool(one.title.strip())
    return named and isinstance(one.played_at, int) and 0 <= one.played_at < _LATEST


def _row(match: Finds, name: _Name) -> int:
    _, artist, title, ids = name
    row = match.row(artist, title, tuple(ids.split()))
    return -1 if row is None else row
