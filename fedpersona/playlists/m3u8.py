"""M3U8: the extended M3U playlist in UTF-8, the simplest that players read."""

from __future__ import annotations

import unicodedata

from fedpersona.playlists.playlist import Playlist, Track

__all__ = ["m3u8"]

_LONGEST_NAME = 200  # bytes; file systems hold 255
_NOT_IN_NAMES = '/\\:*?"<>|'  # of files on Windows, the strictest
_BREAKS = ("Cc", "Cs", "Zl", "Zp")


def m3u8(playlist: Playlist) -> str:
    """Return the playlist as extended M3U.

    M3U is a list of places, and no file is known here. The place of a track is its Spotify URI where one is known,
    which Mopidy plays; else ``Artist - Title.mp3`` beside the list, which programs that look for tracks by name take
    the name from, and which a player without such a file passes over. A web page is no place: a player would load it
    and find no music. The reason of a track is a comment.
    """
    lines = ["#EXTM3U", f"#PLAYLIST:{_line(playlist.title)}"]
    for track in playlist.tracks:
        lines.append(f"#EXTINF:{-1 if track.seconds is None else track.seconds},{_line(_label(track))}")
        if reason := _line(track.reason):
            lines.append(f"# {reason}")
        lines.append(track.spotify or _file_name(track))
    return "\n".join(lines) + "\n"


def _label(track: Track) -> str:
    return f"{track.artist} - {track.title}" if track.artist else track.title


def _file_name(track: Track) -> str:
    """Return a name that every file system takes, and that no reader takes for a comment or another folder."""
    name = "".join("_" if letter in _NOT_IN_NAMES else letter for letter in _line(_label(track)))
    name = name.lstrip("#. ").encode()[:_LONGEST_NAME].decode(errors="ignore").rstrip(". ")
    return f"{name or 'track'}.mp3"


def _line(text: str) -> str:
    """Return the text on one line: what breaks a line, controls or is half a character becomes a space."""
    return " ".join("".join(" " if unicodedata.category(c) in _BREAKS else c for c in text).split())
