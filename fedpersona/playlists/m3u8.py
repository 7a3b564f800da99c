"""M3U8: the extended M3U playlist in UTF-8, the simplest that players read."""

from __future__ import annotations

from fedpersona.playlists.playlist import Playlist, Track

__all__ = ["m3u8"]


def m3u8(playlist: Playlist) -> str:
    """Return the playlist as extended M3U.

    M3U lists places, and no file is known here: the place of a track is its Spotify or MusicBrainz address where one
    is known, else ``Artist - Title.mp3``, which players look for beside the list.
    """
    lines = ["#EXTM3U", f"#PLAYLIST:{_line(playlist.title)}"]
    for track in playlist.tracks:
        lines.append(f"#EXTINF:{-1 if track.seconds is None else track.seconds},{_line(_label(track))}")
        if track.reason:
            lines.append(f"# {_line(track.reason)}")
        lines.append(_place(track))
    return "\n".join(lines) + "\n"


def _label(track: Track) -> str:
    return f"{track.artist} - {track.title}" if track.artist else track.title


def _place(track: Track) -> str:
    if track.spotify:
        return f"https://open.spotify.com/track/{track.spotify.rsplit(':', 1)[-1]}"
    if track.mbid:
        return f"https://musicbrainz.org/recording/{track.mbid}"
    name = "".join("_" if letter in '/\\:*?"<>|' else letter for letter in _line(_label(track)))
    return f"{name.lstrip('#. ') or 'track'}.mp3"


def _line(text: str) -> str:
    """Return the text on one line, with nothing that no file can hold."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
