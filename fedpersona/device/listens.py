"""How listens get into the store: each track once, each play once, whichever exports they come from."""

from __future__ import annotations

import hashlib
import unicodedata
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Sequence

from fedpersona.device.store import Cursor
from fedpersona.sources.listen import Listen

__all__ = ["insert"]

_APART = 120  # seconds between the starts of two plays; the same play has less between what two sources say
_LEAST_APART = 30
_MOST_IDS = 16  # a track's; more are other editions' of what is known by 16 already
_MOST_SECONDS = 86_400


def insert(cursor: Cursor, listens: Sequence[Listen]) -> int:
    """Insert what is not there yet, and return how many that were.

    A track is its artist and title, whatever their case and Unicode form; the ids that sources give it are gathered.
    A listen is there already if one of the same track began at the same time, or so near that it is the same play as
    another source has it: nearer than the earlier of the two was played, and than two minutes. (A play of less than
    a minute in a Spotify basic export, which knows whole minutes only, may so count twice.)
    """
    times: dict[int, dict[int, int | None]] = defaultdict(dict)
    for track, one in _with_tracks(cursor, listens):
        times[track].setdefault(one.played_at, _seconds(one))
    rows = [
        (track, at, seconds)
        for track in sorted(times)
        for at, seconds in _new_ones(cursor, track, sorted(times[track].items()))
    ]
    cursor.executemany("INSERT INTO listens (track, played_at, seconds) VALUES (?, ?, ?)", rows)
    return len(rows)


def _with_tracks(cursor: Cursor, listens: Sequence[Listen]) -> Iterable[tuple[int, Listen]]:
    """Pair every listen with its track's number, making tracks that are new."""
    grouped: dict[tuple[str, str], list[Listen]] = defaultdict(list)
    for one in listens:
        grouped[_writable(one.artist), _writable(one.title)].append(one)
    for (artist, title), ones in grouped.items():
        ids = dict.fromkeys(name for one in ones for name in one.ids if name.split() == [name])
        track = _track(cursor, artist, title, list(ids))
        for one in ones:
            yield track, one


def _writable(text: str) -> str:
    """Return the text with a question mark for each half of a sign that an export cut in two."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _track(cursor: Cursor, artist: str, title: str, ids: list[str]) -> int:
    name = _name(artist, title)
    row = cursor.execute("SELECT id, ids FROM tracks WHERE name = ?", (name,)).fetchone()
    if row is None:
        cursor.execute(
            "INSERT INTO tracks (name, artist, title, ids) VALUES (?, ?, ?, ?)",
            (name, artist, title, " ".join(ids[:_MOST_IDS])),
        )
        return int(cursor.lastrowid)
    known = row[1].split()
    if len(known) < _MOST_IDS and not set(ids).issubset(known):
        gathered = list(dict.fromkeys(known + ids))[:_MOST_IDS]
        cursor.execute("UPDATE tracks SET ids = ? WHERE id = ?", (" ".join(gathered), row[0]))
    return int(row[0])


def _name(artist: str, title: str) -> bytes:
    """Return 16 bytes by which two spellings of a track are one: without case, runs of spaces and Unicode forms."""
    folded = (" ".join(unicodedata.normalize("NFKC", text).casefold().split()) for text in (artist, title))
    return hashlib.blake2b("\x1f".join(folded).encode(), digest_size=16).digest()


def _new_ones(cursor: Cursor, track: int, found: Sequence[tuple[int, int | None]]) -> Iterable[tuple[int, int | None]]:
    """Yield the plays that are not there yet of one track's, which are in order of time."""
    kept = cursor.execute(
        "SELECT played_at, seconds FROM listens WHERE track = ? AND played_at BETWEEN ? AND ? ORDER BY played_at",
        (track, found[0][0] - _APART, found[-1][0] + _APART),
    ).fetchall()
    for at, seconds in found:
        # Two that are kept are always far enough apart, so that the neighbours are enough to look at.
        place = bisect_left(kept, at, key=lambda row: row[0])
        before = place > 0 and at - kept[place - 1][0] < _apart(kept[place - 1][1])
        after = place < len(kept) and kept[place][0] - at < _apart(seconds)
        if not before and not after:
            kept.insert(place, (at, seconds))
            yield at, seconds


def _apart(seconds: int | None) -> int:
    """Return how far apart the starts of a play and the next must be, to be two."""
    return _APART if seconds is None else min(_APART, max(_LEAST_APART, seconds))


def _seconds(one: Listen) -> int | None:
    return one.seconds if one.seconds is not None and 0 < one.seconds <= _MOST_SECONDS else None
