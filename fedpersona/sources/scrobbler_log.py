"""The ``.scrobbler.log`` of portable players (Rockbox and others): Audioscrobbler's portable player log, 1.0 and 1.1.

Comment lines begin with ``#``; the others hold, between tabs: artist, album, title, track number, length of the track
in seconds, rating (``L`` listened, ``S`` skipped), the start in Unix seconds, and since 1.1 the MusicBrainz recording
id.
``#TZ/UTC`` says that times are UTC. ``#TZ/UNKNOWN`` says that the player knows no time zone and counted its own local
time: such times are read as UTC, so they are off by the distance of its owner from Greenwich, fourteen hours at most.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import BinaryIO

from fedpersona.sources.fields import mbid, number
from fedpersona.sources.format import MINIMUM_SECONDS, Skipped
from fedpersona.sources.listen import Listen
from fedpersona.sources.record import Clock, checked
from fedpersona.sources.text import lines

__all__ = ["ScrobblerLog"]

_FIELDS = 7  # the eighth, the id, is not always there


class ScrobblerLog:
    """Reads the log.

    Args:
        clock: tells the time now; a play in the future is no play.
    """

    name = ".scrobbler.log"

    def __init__(self, clock: Clock = time.time) -> None:
        self._clock = clock

    def recognises(self, head: str) -> bool:
        """Know the first line that the format demands."""
        return head.lstrip().startswith("#AUDIOSCROBBLER/")

    def read(self, stream: BinaryIO) -> Iterator[Listen | Skipped]:
        """Yield every record, one at a time."""
        now = self._clock()
        for line in lines(stream):
            if isinstance(line, Skipped):
                yield line
                continue
            fields = line.text.split("\t")
            if len(fields) >= _FIELDS:
                yield _listen(fields, f"line {line.number}", now)
            elif not line.text.startswith("#"):  # a comment has no tabs; an artist may begin with # as well
                yield Skipped("fewer than seven fields", f"line {line.number}")


def _listen(fields: list[str], place: str, now: float) -> Listen | Skipped:
    artist, _album, title, _track, length, rating, start = fields[:_FIELDS]
    if rating.strip() != "L":
        skipped = rating.strip() == "S"
        return Skipped("skipped by its listener" if skipped else "neither listened to nor skipped", place)
    whole = number(length)
    if whole is not None and 0 < whole < MINIMUM_SECONDS:  # it cannot have been played longer than it is
        return Skipped(f"played for less than {MINIMUM_SECONDS} seconds", place)
    ids = (mbid(fields[_FIELDS]),) if len(fields) > _FIELDS else ()
    return checked(place, now=now, played_at=number(start), artist=artist, title=title, ids=ids)
