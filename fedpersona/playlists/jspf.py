"""JSPF: XSPF as JSON, with the extension that ListenBrainz reads (https://musicbrainz.org/doc/jspf)."""

from __future__ import annotations

import json
import re
from typing import Any

from fedpersona.playlists.playlist import Playlist, Track

__all__ = ["jspf"]

_PLAYLIST = "https://musicbrainz.org/doc/jspf#playlist"
_TRACK = "https://musicbrainz.org/doc/jspf#track"
_SURROGATE = re.compile("[\ud800-\udfff]")


def jspf(playlist: Playlist) -> str:
    """Return the playlist as JSPF. It says of itself that it is not public.

    ``identifier`` is the recording's address at MusicBrainz and nothing else, since ListenBrainz refuses any other
    there; the page at Spotify is the track's ``info``. Without a MusicBrainz id a track can be read, but ListenBrainz
    will not take it. Halves of characters (lone surrogates), which are no text, become U+FFFD.
    """
    body: dict[str, Any] = {"title": _text(playlist.title), "creator": "fedpersona"}
    if playlist.annotation:
        body["annotation"] = _text(playlist.annotation)
    body["date"] = playlist.created_iso
    body["extension"] = {_PLAYLIST: {"public": False, "last_modified_at": playlist.created_iso}}
    body["track"] = [_track(track, playlist.created_iso) for track in playlist.tracks]
    return json.dumps({"playlist": body}, indent=2, ensure_ascii=False) + "\n"


def _track(track: Track, added: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if track.recording:
        found["identifier"] = [track.recording]
    found |= {"title": _text(track.title), "creator": _text(track.artist)}
    if track.reason:
        found["annotation"] = _text(track.reason)
    if track.spotify:
        found["info"] = f"https://open.spotify.com/track/{track.spotify.rsplit(':', 1)[-1]}"
    if track.seconds is not None:
        found["duration"] = track.seconds * 1000
    return found | {"extension": {_TRACK: {"added_at": added}}}


def _text(text: str) -> str:
    return _SURROGATE.sub("\ufffd", text)
