"""Writers of playlists: XSPF, JSPF and M3U8. They take plain data and write whole files or none."""

from fedpersona.playlists.playlist import Playlist, Track
from fedpersona.playlists.writing import FORMATS, render, save

__all__ = ["FORMATS", "Playlist", "Track", "render", "save"]
