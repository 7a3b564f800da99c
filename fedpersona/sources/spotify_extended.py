"""Spotify's extended streaming history: ``Streaming_History_Audio_*.json``, formerly ``endsong_*.json``.

``ts`` is the *end* of the stream, in UTC; ``ms_played`` is how long it was heard. Of the rest of a record (the address,
the country, the user's name, the device) nothing gets past this reader.
https://support.spotify.com/article/understanding-my-data/
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any, BinaryIO

from fedpersona.sources.fields import iso_time, played_seconds, spotify_track
from fedpersona.sources.format import Skipped
from fedpersona.sources.json_array import records
from fedpersona.sources.listen import Listen
from fedpersona.sources.record import Clock, checked

__all__ = ["SpotifyExtended"]

_TITLE = "master_metadata_track_name"
_ARTIST = "master_metadata_album_artist_name"
_EPISODE = ("spotify_episode_uri", "episode_name")
_AUDIOBOOK = ("audiobook_uri", "audiobook_title")
_WANTED = ("ts", "ms_played", _TITLE, _ARTIST, "spotify_track_uri", "incognito_mode", *_EPISODE, *_AUDIOBOOK)

_KEYS = tuple(re.compile(rf'"{key}"\s*:') for key in ("ts", "ms_played", _TITLE))


class SpotifyExtended:
    """Reads one file of the export.

    Args:
        clock: tells the time now; a play in the future is no play.
    """

    name = "Spotify extended streaming history"

    def __init__(self, clock: Clock = time.time) -> None:
        self._clock = clock

    def recognises(self, head: str) -> bool:
        """Know a list whose records have the keys of a stream."""
        return head.lstrip().startswith("[") and all(key.search(head) for key in _KEYS)

    def read(self, stream: BinaryIO) -> Iterator[Listen | Skipped]:
        """Yield every record, one at a time."""
        now = self._clock()
        for record in records(stream, _WANTED):
            yield record if isinstance(record, Skipped) else _listen(record.fields, record.place, now)


def _listen(fields: dict[str, Any], place: str, now: float) -> Listen | Skipped:
    other = _other(fields)
    if other is not None:
        return Skipped(other, place)
    seconds = played_seconds(fields.get("ms_played"))  # without it the start is unknown: only the end is told
    if seconds is None:
        return Skipped("no playing time that can be read", place)
    ended = iso_time(fields.get("ts"))
    return checked(
        place,
        now=now,
        played_at=None if ended is None else ended - seconds,
        artist=fields.get(_ARTIST),
        title=fields.get(_TITLE),
        ids=(spotify_track(fields.get("spotify_track_uri")),),
        seconds=seconds,
    )


def _other(fields: dict[str, Any]) -> str | None:
    """Say what a record is when it is not a track that its owner lets count; None when it is one."""
    if fields.get("incognito_mode") is True:
        return "a private session"
    if fields.get(_TITLE) is not None:
        return None
    if any(fields.get(key) for key in _EPISODE):
        return "a podcast"
    if any(fields.get(key) for key in _AUDIOBOOK):
        return "an audiobook"
    return "a video, or a track without a name"
