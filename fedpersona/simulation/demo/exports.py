"""Writes a person's history as the services hand it out: the same files, columns and fields, with invented content."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from fedpersona.simulation.demo.people import Person, Play

__all__ = ["FORMATS", "format_of", "stamps", "write_export"]

_LASTFM = ("uts", "utc_time", "artist", "artist_mbid", "album", "album_mbid", "track", "track_mbid")
_APPLE = (
    "Album Name",
    "Apple ID Number",
    "Artist Name",
    "Device Identifier",
    "Event End Timestamp",
    "Event Start Timestamp",
    "Event Type",
    "Media Duration In Milliseconds",
    "Media Type",
    "Play Duration Milliseconds",
    "Song Name",
)


def format_of(person: Person) -> str:
    """Return the format of a person's export: people take turns."""
    return tuple(FORMATS)[person.number % len(FORMATS)]


def write_export(person: Person, folder: Path) -> Path:
    """Write a person's export into a folder and return its path."""
    return FORMATS[format_of(person)](person, folder)


def _spotify(person: Person, folder: Path) -> Path:
    """Spotify's "extended streaming history": a zip with JSON in it. Its times are when a play ended."""
    records = [
        {
            "ts": _iso(play.at + play.seconds),
            "username": person.canary.user,
            "platform": "an invented player",
            "ms_played": play.seconds * 1000,
            "conn_country": "ZZ",
            "ip_addr": "192.0.2.1",
            "master_metadata_track_name": play.title,
            "master_metadata_album_artist_name": play.artist,
            "master_metadata_album_album_name": None,
            "spotify_track_uri": None,
            "episode_name": None,
            "reason_start": "trackdone",
            "reason_end": "trackdone",
            "shuffle": False,
            "offline": False,
            "incognito_mode": False,
        }
        for play in person.plays
    ]
    name = "Spotify Extended Streaming History/Streaming_History_Audio_2025_0.json"
    return _zip(folder / f"my_spotify_data_{person.number + 1}.zip", {name: json.dumps(records, indent=2)})


def _listenbrainz(person: Person, folder: Path) -> Path:
    """A ListenBrainz export: a zip of JSON lines by month, and the user beside it."""
    months: dict[str, list[str]] = {}
    for play in person.plays:
        at = datetime.fromtimestamp(play.at, UTC)
        record = {
            "listened_at": play.at,
            "track_metadata": {
                "track_name": play.title,
                "artist_name": play.artist,
                "additional_info": {"duration_played": play.seconds, "media_player": "an invented player"},
            },
        }
        months.setdefault(f"listens/{at.year}/{at.month}.jsonl", []).append(json.dumps(record) + "\n")
    files = {name: "".join(lines) for name, lines in months.items()}
    files["user.json"] = json.dumps({"user_name": person.canary.user})
    return _zip(folder / f"listenbrainz_{person.number + 1}.zip", files)


def _lastfm(person: Person, folder: Path) -> Path:
    """A Last.fm scrobble table."""
    rows = [
        (play.at, datetime.fromtimestamp(play.at, UTC).strftime("%d %b %Y, %H:%M"), play.artist, "", "", "", play.title)
        for play in person.plays
    ]
    return _csv(folder / f"{person.canary.user}.csv", _LASTFM, [(*row, "") for row in rows])


def _apple(person: Person, folder: Path) -> Path:
    """Apple Music's play activity."""
    rows = [
        (
            "",
            person.canary.user,
            play.artist,
            "an invented player",
            _iso(play.at + play.seconds),
            _iso(play.at),
            "PLAY_END",
            play.seconds * 1000,
            "AUDIO",
            play.seconds * 1000,
            play.title,
        )
        for play in person.plays
    ]
    return _csv(folder / f"Apple Music Play Activity {person.number + 1}.csv", _APPLE, rows)


def _youtube(person: Person, folder: Path) -> Path:
    """YouTube Music's watch history, as Takeout gives it."""
    records = [
        {
            "header": "YouTube Music",
            "title": f"Watched {play.title}",
            "titleUrl": f"https://music.youtube.com/watch?v={person.canary.user}",
            "subtitles": [{"name": f"{play.artist} - Topic"}],
            "time": _iso(play.at),
            "products": ["YouTube"],
        }
        for play in person.plays
    ]
    path = folder / f"watch-history-{person.number + 1}.json"
    path.write_text(json.dumps(records, indent=2, ensure_ascii=False), encoding="utf-8")
    return path


FORMATS: Mapping[str, Callable[[Person, Path], Path]] = {
    "Spotify": _spotify,
    "Last.fm": _lastfm,
    "ListenBrainz": _listenbrainz,
    "Apple Music": _apple,
    "YouTube Music": _youtube,
}
"""Writers by the service's name."""


def _zip(path: Path, files: Mapping[str, str]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path


def _csv(path: Path, header: tuple[str, ...], rows: Sequence[tuple[object, ...]]) -> Path:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    path.write_text(text.getvalue(), encoding="utf-8")
    return path


def _iso(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def stamps(person: Person, play: Play) -> tuple[int, ...]:
    """Return the Unix seconds that a person's export tells of a play."""
    ended = format_of(person) in ("Spotify", "Apple Music")
    return (play.at, play.at + play.seconds) if ended else (play.at,)
