"""JSPF: XSPF as JSON, with the extension that ListenBrainz reads (https://musicbrainz.org/doc/jspf)."""

from __future__ import annotations

import json
from typing import Any

from fedpersona.playlists.playlist import Playlist, Track

__all__ = ["jspf"]

_PLAYLIST = "https://musicbrainz.org/doc/jspf#playlist"


def jspf(playlist: Playlist) -> str:
    """Return the playlist as JSPF. It says of itself that it is not public."""
    body: dict[str, Any] = {
        "title": playlist.title,
        "date": playlist.created_iso,
        "track": [_track(track) for track in playlist.tracks],
        "extension": {_PLAYLIST: {"public": False}},
    }
    if playlist.annotation:
        body["annotation"] = playlist.annotation
    # Lone surrogates are no Unicode text: JSON holds them as escapes, so everything else stays readable.
    return json.dumps({"playlist": body}, indent=2, ensure_ascii=_odd(playlist)) + "\n"


def _track(track: Track) -> dict[str, Any]:
    found: dict[str, Any] = {"title": track.title, "creator": track.artist}
    identifiers = [f"https://musicbrainz.org/recording/{track.mbid}"] if track.mbid else []
    if track.spotify:
        identifiers.append(f"https://open.spotify.com/track/{track.spotify.rsplit(':', 1)[-1]}")
    if identifiers:
        found["identifier"] = identifiers
    if track.reason:
        found["annotation"] = track.reason
    if track.seconds is not None:
        found["duration"] = track.seconds * 1000
    return found


def _odd(playlist: Playlist) -> bool:
    return any(
        "\ud800" <= letter <= "\udfff"
        for text in (playlist.title, playlist.annotation, *(t.title + t.artist + t.reason for t in playlist.tracks))
        for letter in text
    )
