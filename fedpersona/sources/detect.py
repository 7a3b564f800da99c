"""The formats that can be read, and which one a file is of: told by its content, whatever its name."""

from __future__ import annotations

import io

from fedpersona.sources.apple_music import AppleMusic
from fedpersona.sources.format import Format
from fedpersona.sources.lastfm_csv import LastfmCsv
from fedpersona.sources.listenbrainz import ListenBrainz
from fedpersona.sources.scrobbler_log import ScrobblerLog
from fedpersona.sources.spotify_basic import SpotifyBasic
from fedpersona.sources.spotify_extended import SpotifyExtended
from fedpersona.sources.text import Utf8
from fedpersona.sources.youtube_music import YoutubeMusic

__all__ = ["FORMATS", "HEAD", "recognise"]

HEAD = 1 << 16
"""Bytes from the start of a file that tell its format."""

# The most telling first: each of the last could, one day, be looser than those before it.
FORMATS: tuple[Format, ...] = (
    ScrobblerLog(),
    SpotifyExtended(),
    SpotifyBasic(),
    ListenBrainz(),
    YoutubeMusic(),
    AppleMusic(),
    LastfmCsv(),
)


def recognise(head: bytes) -> Format | None:
    """Tell the format of a file by its first ``HEAD`` bytes; None when it is no listening history."""
    text = Utf8(io.BytesIO(head)).read().decode("utf-8", "replace")
    return next((one for one in FORMATS if one.recognises(text)), None)
