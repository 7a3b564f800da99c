"""A playlist as plain data, which every writer takes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from fedpersona.errors import DataError

__all__ = ["Playlist", "Track"]

# Only what is exactly an id goes into an address, so nothing needs escaping there.
_MBID = re.compile(r"mbid:([0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})")
_SPOTIFY = re.compile(r"spotify:track:[0-9A-Za-z]{22}")


@dataclass(frozen=True)
class Track:
    """One track. Its ``repr`` shows nothing of it."""

    title: str
    artist: str
    reason: str = ""
    """Why it is here, in words."""
    ids: tuple[str, ...] = ()
    """``mbid:<uuid>`` and ``spotify:track:<id>``, where they are known; anything else is passed over."""
    seconds: int | None = None
    """How long it plays; None where that is not known."""

    def __post_init__(self) -> None:
        if self.seconds is not None and self.seconds < 0:
            raise DataError("a track cannot play for less than 0 seconds: give None where it is not known")

    def __repr__(self) -> str:
        return "Track(…)"

    @property
    def recording(self) -> str | None:
        """The recording's address at MusicBrainz, which is its name there."""
        found = next(filter(None, map(_MBID.fullmatch, self.ids)), None)
        return f"https://musicbrainz.org/recording/{found[1].lower()}" if found else None

    @property
    def spotify(self) -> str | None:
        """The Spotify URI."""
        return next((name for name in self.ids if _SPOTIFY.fullmatch(name)), None)


@dataclass(frozen=True)
class Playlist:
    """A titled list of tracks. Its ``repr`` shows a count only."""

    title: str
    created: int
    """Unix seconds, UTC; of the years 1 to 9999."""
    tracks: tuple[Track, ...]
    annotation: str = ""
    """A sentence on the list as a whole."""

    def __post_init__(self) -> None:
        try:
            datetime.fromtimestamp(self.created, UTC)
        except (ValueError, OverflowError, OSError):
            raise DataError("a playlist's time is no time of the years 1 to 9999: give Unix seconds") from None

    def __repr__(self) -> str:
        return f"Playlist({len(self.tracks)} tracks)"

    @property
    def created_iso(self) -> str:
        """When it was made, as XML Schema dateTime in UTC, to the second."""
        made = datetime.fromtimestamp(self.created, UTC)
        return made.replace(microsecond=0, tzinfo=None).isoformat() + "Z"
