"""Spotify's account data, the export of the last year: ``StreamingHistory_music_*.json``, ``StreamingHistory*.json``.

``endTime`` is the *end* of the stream, in UTC, to the minute; ``msPlayed`` is how long it was heard. There are no ids.
The podcasts of the same export have other keys, and are not recognised. A play that the extended history has too
begins up to a minute earlier there, so a person imports one of the two.
https://support.spotify.com/article/understanding-my-data/
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any, BinaryIO

from fedpersona.sources.fields import iso_time, played_seconds
from fedpersona.sources.format import Skipped
from fedpersona.sources.json_array import records
from fedpersona.sources.listen import Listen
from fedpersona.sources.record import Clock, checked

__all__ = ["SpotifyBasic"]

_WANTED = ("endTime", "artistName", "trackName", "msPlayed")
_KEYS = tuple(re.compile(rf'"{key}"\s*:') for key in _WANTED)


class SpotifyBasic:
    """Reads one file of the export.

    Args:
        clock: tells the time now; a play in the future is no play.
    """

    name = "Spotify account data"

    def __init__(self, clock: Clock = time.time) -> None:
        self._clock = clock

    def recognises(self, head: str) -> bool:
        """Know a list whose records have the four keys."""
        return head.lstrip().startswith("[") and all(key.search(head) for key in _KEYS)

    def read(self, stream: BinaryIO) -> Iterator[Listen | Skipped]:
        """Yield every record, one at a time."""
        now = self._clock()
        for record in records(stream, _WANTED):
            yield record if isinstance(record, Skipped) else _listen(record.fields, record.place, now)


def _listen(fields: dict[str, Any], place: str, now: float) -> Listen | Skipped:
    seconds = played_seconds(fields.get("msPlayed"))
    if seconds is None:
        return Skipped("no playing time that can be read", place)
    ended = iso_time(fields.get("endTime"))
    return checked(
        place,
        now=now,
        played_at=None if ended is None else ended - seconds,
        artist=fields.get("artistName"),
        title=fields.get("trackName"),
        seconds=seconds,
    )
