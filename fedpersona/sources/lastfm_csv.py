"""Last.fm histories as comma-separated values, in the two layouts that exporters write.

With a header: ``uts,utc_time,artist,artist_mbid,album,album_mbid,track,track_mbid`` (lastfm.ghan.nl), in any order;
``uts`` is the start of the play in Unix seconds. Without one: artist, album, track, ``dd Mon YYYY HH:MM``, in UTC
(lastfm-to-csv). Last.fm takes a play for a listen after half of the track or four minutes, and never says how long
it was.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import BinaryIO

from fedpersona.sources.fields import mbid, number
from fedpersona.sources.format import Skipped
from fedpersona.sources.listen import Listen
from fedpersona.sources.record import Clock, checked
from fedpersona.sources.text import Row, first_rows, rows

__all__ = ["LastfmCsv"]

# Not from ``calendar``, whose names follow the locale.
_MONTH_NAMES = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTHS = {name: month for month, name in enumerate(_MONTH_NAMES, start=1)}
_TIME = re.compile(r"\s*([0-9]{1,2}) ([A-Za-z]{3})[a-z]* ([0-9]{4}),? ([0-9]{1,2}):([0-9]{2})(?::([0-9]{2}))?\s*")
_NEEDED = {"uts", "artist", "track"}
_HEADERLESS = {"artist": 0, "album": 1, "track": 2, "utc_time": 3}
_LOOKED_AT = 10  # first lines of a file without a header: the first of them may be broken


class LastfmCsv:
    """Reads both layouts.

    Args:
        clock: tells the time now; a play in the future is no play.
    """

    name = "Last.fm CSV"

    def __init__(self, clock: Clock = time.time) -> None:
        self._clock = clock

    def recognises(self, head: str) -> bool:
        """Know the header's names, or four fields of which the last is such a time."""
        return any(
            _columns(fields) is not None or (len(fields) == 4 and _TIME.fullmatch(fields[3]) is not None)
            for fields in first_rows(head, _LOOKED_AT)
        )

    def read(self, stream: BinaryIO) -> Iterator[Listen | Skipped]:
        """Yield every record, one at a time."""
        now, columns, width = self._clock(), _HEADERLESS, 4
        for row in rows(stream):
            if isinstance(row, Skipped):
                yield row
            elif (header := _columns(row.fields)) is not None:  # once more, where files were joined
                columns, width = header, len(row.fields)
            elif len(row.fields) != width:
                yield Skipped("more or fewer fields than the file's other rows", f"line {row.number}")
            else:
                yield _listen(row, columns, now)


def _columns(fields: list[str]) -> dict[str, int] | None:
    """Find each column by its name; None when the row is not a header."""
    columns = {name.strip().lower(): place for place, name in enumerate(fields)}
    return columns if columns.keys() >= _NEEDED else None


def _listen(row: Row, columns: dict[str, int], now: float) -> Listen | Skipped:
    def field(name: str) -> str:
        return row.fields[columns[name]] if name in columns else ""

    start = number(field("uts"))
    return checked(
        f"line {row.number}",
        now=now,
        played_at=_english_time(field("utc_time")) if start is None else start,
        artist=field("artist"),
        title=field("track"),
        ids=(mbid(field("track_mbid")),),
    )


def _english_time(text: str) -> float | None:
    """Read ``25 Nov 2023 21:07`` as Unix seconds, UTC, whatever the language of the machine."""
    match = _TIME.fullmatch(text)
    month = _MONTHS.get(match[2].lower()) if match else None
    if match is None or month is None:
        return None
    try:
        moment = datetime(
            int(match[3]), month, int(match[1]), int(match[4]), int(match[5]), int(match[6] or 0), tzinfo=UTC
        )
    except ValueError:
        return None
    return moment.timestamp()
