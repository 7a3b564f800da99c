"""Apple's ``Apple Music Play Activity.csv`` (privacy.apple.com, "Apple Media Services information").

A row is an event of a player; a play is a ``PLAY_END``. The columns changed over the years and are found by name.
``Artist Name`` is missing from most exports: ``Container Artist Name`` is the artist of the album it was played from,
and where that is empty too, the play cannot be kept. Times are UTC where they name no offset. The address, the place,
the network and the devices that Apple wrote beside each play are dropped with their row.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import BinaryIO

from fedpersona.sources.fields import iso_time, number
from fedpersona.sources.format import MINIMUM_SECONDS, Skipped
from fedpersona.sources.listen import Listen
from fedpersona.sources.record import Clock, checked
from fedpersona.sources.text import first_rows, rows

__all__ = ["AppleMusic"]

_ARTISTS = ("artist name", "container artist name")
_TITLES = ("song name", "content name")
_START, _END, _PLAYED = "event start timestamp", "event end timestamp", "play duration milliseconds"
_TYPE, _MEDIA, _CONTAINER = "event type", "media type", "container type"
_USED = {*_ARTISTS, *_TITLES, _START, _END, _PLAYED, _TYPE, _MEDIA, _CONTAINER}


class AppleMusic:
    """Reads the play activity.

    Args:
        clock: tells the time now; a play in the future is no play.
    """

    name = "Apple Music play activity"

    def __init__(self, clock: Clock = time.time) -> None:
        self._clock = clock

    def recognises(self, head: str) -> bool:
        """Know the header's names."""
        return any(_columns(fields) is not None for fields in first_rows(head, 1))

    def read(self, stream: BinaryIO) -> Iterator[Listen | Skipped]:
        """Yield every record, one at a time."""
        now = self._clock()
        columns: dict[str, int] | None = None
        width = 0
        for row in rows(stream):
            if isinstance(row, Skipped):
                yield row
            elif (header := _columns(row.fields)) is not None:  # once more, where files were joined
                columns, width = header, len(row.fields)
            elif columns is None:
                yield Skipped("a row before the header", f"line {row.number}")
            elif len(row.fields) != width:
                yield Skipped("more or fewer fields than the header", f"line {row.number}")
            else:
                fields = {name: row.fields[place].strip() for name, place in columns.items()}
                yield _listen(fields, f"line {row.number}", now)


def _columns(fields: list[str]) -> dict[str, int] | None:
    """Find the columns that a listen needs, and no other; None when the row is not the header."""
    columns = {name.strip().lower(): place for place, name in enumerate(fields)}
    columns = {name: place for name, place in columns.items() if name in _USED}
    is_header = _PLAYED in columns and columns.keys() & {_START, _END} and columns.keys() & set(_TITLES)
    return columns if is_header else None


def _listen(fields: dict[str, str], place: str, now: float) -> Listen | Skipped:
    if fields.get(_TYPE, "PLAY_END") != "PLAY_END":
        return Skipped("an event that is not the end of a play", place)
    if fields.get(_MEDIA) == "VIDEO":
        return Skipped("a video, not a song", place)
    start, seconds = _span(fields)
    if seconds is None and _too_short(start, fields):
        return Skipped(f"played for less than {MINIMUM_SECONDS} seconds", place)
    return checked(
        place, now=now, played_at=start, artist=_artist(fields), title=_first(fields, _TITLES), seconds=seconds
    )


def _first(fields: dict[str, str], names: tuple[str, ...]) -> str:
    return next((fields[name] for name in names if fields.get(name)), "")


def _artist(fields: dict[str, str]) -> str:
    """Name the artist; whoever made a playlist or a station is not the artist of its songs."""
    made = fields.get(_CONTAINER, "").upper() in ("PLAYLIST", "RADIO")
    return _first(fields, _ARTISTS[:1] if made else _ARTISTS)


def _span(fields: dict[str, str]) -> tuple[float | None, float | None]:
    """Tell the start (Unix seconds) and how long it was played (seconds), each None where the row does not."""
    played = number(fields[_PLAYED])
    seconds = None if played is None or played < 0 else played / 1000
    start, end = iso_time(fields.get(_START)), iso_time(fields.get(_END))
    if start is None and end is not None and seconds is not None:
        start = end - seconds
    return start, seconds


def _too_short(start: float | None, fields: dict[str, str]) -> bool:
    """Tell whether start and end leave too little time, for rows without a count of milliseconds."""
    end = iso_time(fields.get(_END))
    return start is not None and end is not None and 0 <= end - start < MINIMUM_SECONDS
