"""A ListenBrainz export: ``listens/YYYY/M.jsonl``, one listen a line, as its ``background/export.py`` writes it.

``listened_at`` is the start of the play in Unix seconds. ``track_metadata.additional_info`` is what the player sent,
``track_metadata.mbid_mapping`` what ListenBrainz found for it. ``feedback.jsonl`` and ``pinned_recording.jsonl`` of the
same export are not listens. https://listenbrainz.readthedocs.io/en/latest/users/json.html
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any, BinaryIO

from fedpersona.sources.fields import mbid, number, spotify_track
from fedpersona.sources.format import MINIMUM_SECONDS, Skipped
from fedpersona.sources.listen import Listen
from fedpersona.sources.record import Clock, checked
from fedpersona.sources.text import first_lines, lines

__all__ = ["ListenBrainz"]

_LOOKED_AT = 10  # first lines: the first of them may be broken


class ListenBrainz:
    """Reads the lines of an export.

    Args:
        clock: tells the time now; a play in the future is no play.
    """

    name = "ListenBrainz export"

    def __init__(self, clock: Clock = time.time) -> None:
        self._clock = clock

    def recognises(self, head: str) -> bool:
        """Know a line that is an object with the keys of a listen."""
        return any(
            line.startswith("{") and '"track_metadata"' in line and '"listened_at"' in line
            for line in first_lines(head, _LOOKED_AT)
        )

    def read(self, stream: BinaryIO) -> Iterator[Listen | Skipped]:
        """Yield every record, one at a time."""
        now = self._clock()
        for line in lines(stream):
            if isinstance(line, Skipped):
                yield line
                continue
            place = f"line {line.number}"
            try:
                record = json.loads(line.text)
            except (ValueError, RecursionError):
                yield Skipped("not valid JSON", place)
            else:
                yield _listen(_mapping(record), place, now)


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _listen(record: dict[str, Any], place: str, now: float) -> Listen | Skipped:
    track = _mapping(record.get("track_metadata"))
    if not track:
        return Skipped("not a listen", place)
    info = _mapping(track.get("additional_info"))
    found = _mapping(track.get("mbid_mapping"))
    # ``duration_ms`` is the length of the recording: it was not played longer than that, but maybe shorter.
    length = number(info.get("duration_ms"))
    if length is not None and 0 < length < 1000 * MINIMUM_SECONDS:
        return Skipped(f"played for less than {MINIMUM_SECONDS} seconds", place)
    listened_at = record.get("listened_at")
    return checked(
        place,
        now=now,
        played_at=None if isinstance(listened_at, str) else number(listened_at),
        artist=track.get("artist_name"),
        title=track.get("track_name"),
        ids=(
            mbid(info.get("recording_mbid")),
            mbid(found.get("recording_mbid")),
            spotify_track(info.get("spotify_id")),
        ),
        seconds=number(info.get("duration_played")),
    )
