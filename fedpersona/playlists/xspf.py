"""XSPF 1 (https://www.xspf.org/spec): a playlist as XML, which most players on a computer open."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from fedpersona.playlists.playlist import Playlist, Track

__all__ = ["xspf"]

_NAMESPACE = "http://xspf.org/ns/0/"
_NO_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, production 2


def xspf(playlist: Playlist) -> str:
    """Return the playlist as XSPF, its elements in the order of the specification.

    A track has no ``location``, since no file is known. It has an ``identifier`` for each name its recording is known
    by: the address at MusicBrainz, and the Spotify URI. Where there is none, a player can still look for creator and
    title, which the specification calls fuzzy lookup. The ``annotation`` of a track is the reason it is there.
    Characters that XML cannot hold are left out.
    """
    root = ElementTree.Element("playlist", {"version": "1", "xmlns": _NAMESPACE})
    _add(root, "title", playlist.title)
    _add(root, "creator", "fedpersona")
    _add(root, "annotation", playlist.annotation)
    _add(root, "date", playlist.created_iso)
    tracks = ElementTree.SubElement(root, "trackList")
    for track in playlist.tracks:
        _track(ElementTree.SubElement(tracks, "track"), track)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _track(element: ElementTree.Element, track: Track) -> None:
    for identifier in (track.recording, track.spotify):
        _add(element, "identifier", identifier or "")
    _add(element, "title", track.title)
    _add(element, "creator", track.artist)
    _add(element, "annotation", track.reason)
    if track.seconds is not None:
        _add(element, "duration", str(track.seconds * 1000))


def _add(parent: ElementTree.Element, name: str, text: str) -> None:
    if held := _NO_XML.sub("", text):
        ElementTree.SubElement(parent, name).text = held
