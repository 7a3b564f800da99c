"""A playlist as plain data, which every writer takes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

__all__ = ["Playlist", "Track"]


@dataclass(frozen=True)
class Track:
    """One track. Its ``repr`` shows nothing of it."""

    title: str
    artist: str
    reason: str = ""
    """Why it is here, in words."""
    ids: tuple[str, ...] = ()
    """``mbid:<uuid>`` and ``spotify:track:<id>``, where they are known."""
    seconds: int | None = None

    def __repr__(self) -> str:
        return "Track(…)"

    @property
    def mbid(self) -> str | None:
        """The MusicBrainz recording id."""
        return next((name.removeprefix("mbid:") for name in self.ids if name.startswith("mbid:")), None)

    @property
    def spotify(self) -> str | None:
        """The Spotify URI."""
        return next((name for name in self.ids if name.startswith("spotify:track:")), None)


@dataclass(frozen=True)
class Playlist:
    """A titled list of tracks."""

    title: str
    created: int
    """Unix seconds, UTC."""
    tracks: tuple[Track, ...]
    annotation: str = ""

    def __repr__(self) -> str:
        return f"Playlist({len(self.tracks)} tracks)"

    @property
    def created_iso(self) -> str:
        """When it was made, as XML Schema dateTime in UTC."""
        return datetime.fromtimestamp(self.created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
