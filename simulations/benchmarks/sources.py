"""A history of a million records of each format, invented as it is read: seconds and peak memory of reading it.

    python simulations/benchmarks/sources.py
    python simulations/benchmarks/sources.py --records 100000 --format "Last.fm CSV"

Prints one JSON object. Each format is read in a process of its own, so that its peak memory is its own; the file is a
temporary one, and a zip of it for Spotify. The limits it is held against: under 200 MB, over 50,000 records a second.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fedpersona import sources

FIRST = 1_500_000_000
ZIPPED = "Spotify extended streaming history, zipped"


def when(number: int, form: str) -> str:
    return datetime.fromtimestamp(FIRST + 200 * number, UTC).strftime(form)


def spotify_extended(number: int) -> dict[str, Any]:
    return {
        "ts": when(number, "%Y-%m-%dT%H:%M:%SZ"),
        "username": "invented.person",
        "platform": "Android OS 14 API 34 (invented, I-1)",
        "ms_played": 180_000 + number % 60_000,
        "conn_country": "NL",
        "ip_addr": "203.0.113.7",
        "user_agent_decrypted": None,
        "master_metadata_track_name": f"Song {number % 5000}",
        "master_metadata_album_artist_name": f"Band {number % 500}",
        "master_metadata_album_album_name": f"Album {number % 900}",
        "spotify_track_uri": f"spotify:track:Inventd0Track{number % 5000:09}",
        "episode_name": None,
        "episode_show_name": None,
        "spotify_episode_uri": None,
        "audiobook_title": None,
        "audiobook_uri": None,
        "audiobook_chapter_uri": None,
        "audiobook_chapter_title": None,
        "reason_start": "trackdone",
        "reason_end": "trackdone",
        "shuffle": False,
        "skipped": False,
        "offline": False,
        "offline_timestamp": FIRST + 200 * number,
        "incognito_mode": False,
    }


def spotify_basic(number: int) -> dict[str, Any]:
    return {
        "endTime": when(number, "%Y-%m-%d %H:%M"),
        "artistName": f"Band {number % 500}",
        "trackName": f"Song {number % 5000}",
        "msPlayed": 180_000 + number % 60_000,
    }


def youtube(number: int) -> dict[str, Any]:
    return {
        "header": "YouTube Music",
        "title": f"Watched Song {number % 5000}",
        "titleUrl": f"https://music.youtube.com/watch?v=x{number % 5000}",
        "subtitles": [{"name": f"Band {number % 500} - Topic", "url": "https://www.youtube.com/channel/x"}],
        "time": when(number, "%Y-%m-%dT%H:%M:%S.123Z"),
        "products": ["YouTube"],
        "activityControls": ["YouTube watch history"],
    }


def listenbrainz(number: int) -> str:
    info = {"recording_mbid": f"00000000-0000-4000-8000-{number % 5000:012}", "submission_client": "invented"}
    track = {"artist_name": f"Band {number % 500}", "track_name": f"Song {number % 5000}", "additional_info": info}
    return json.dumps({"listened_at": FIRST + 200 * number, "track_metadata": track})


def lastfm(number: int) -> str:
    fields = (
        FIRST + 200 * number,
        when(number, "%d %b %Y, %H:%M"),
        f"Band {number % 500}",
        "",
        "Album",
        "",
        f"Song {number % 5000}",
        f"00000000-0000-4000-8000-{number % 5000:012}",
    )
    return ",".join(f'"{field}"' for field in fields)


def apple(number: int) -> str:
    start = when(number, "%Y-%m-%dT%H:%M:%S.000Z")
    return f"203.0.113.7,Band {number % 500},{start},PLAY_END,{180_000 + number % 60_000},Song {number % 5000}"


def scrobbler(number: int) -> str:
    return f"Band {number % 500}\tAlbum\tSong {number % 5000}\t1\t200\tL\t{FIRST + 200 * number}\t"


def lines(head: str, line: Callable[[int], str], count: int) -> Iterator[str]:
    yield head
    for number in range(count):
        yield line(number) + "\n"


def a_list(record: Callable[[int], dict[str, Any]], count: int) -> Iterator[str]:
    for number in range(count):
        yield ("," if number else "[") + json.dumps(record(number), indent=2)
    yield "]"


KINDS: dict[str, Callable[[int], Iterator[str]]] = {
    "Spotify extended streaming history": lambda n: a_list(spotify_extended, n),
    ZIPPED: lambda n: a_list(spotify_extended, n),
    "Spotify account data": lambda n: a_list(spotify_basic, n),
    "YouTube Music watch history": lambda n: a_list(youtube, n),
    "ListenBrainz export": lambda n: lines("", listenbrainz, n),
    "Last.fm CSV": lambda n: lines("uts,utc_time,artist,artist_mbid,album,album_mbid,track,track_mbid\n", lastfm, n),
    "Apple Music play activity": lambda n: lines(
        "Client IP Address,Artist Name,Event Start Timestamp,Event Type,Play Duration Milliseconds,Song Name\n",
        apple,
        n,
    ),
    ".scrobbler.log": lambda n: lines("#AUDIOSCROBBLER/1.1\n#TZ/UTC\n#CLIENT/invented\n", scrobbler, n),
}


def invent(folder: Path, kind: str, count: int) -> Path:
    """Write a history of so many records."""
    path = folder / "history"
    with path.open("w", encoding="utf-8", newline="") as file:
        file.writelines(KINDS[kind](count))
    if kind != ZIPPED:
        return path
    with zipfile.ZipFile(folder / "history.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(path, "Spotify/Streaming_History_Audio_2020_0.json")
    return folder / "history.zip"


def read(path: str) -> dict[str, Any]:
    """Read a history and drop every listen at once, as one who writes them to a disk would."""
    reading = sources.read(path)
    started = time.perf_counter()
    count = sum(1 for _ in reading)
    seconds = time.perf_counter() - started
    return {
        "megabytes": round(reading.bytes_total / 1e6),
        "kept": count,
        "seconds": round(seconds, 1),
        "records_per_second": round(reading.summary.read / seconds),
        "peak_megabytes": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3),
    }


def measured(kind: str, count: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        path = invent(Path(folder), kind, count)
        command = [sys.executable, __file__, "--read", str(path)]
        found: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--format", choices=list(KINDS), action="append")
    parser.add_argument("--read", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.read:
        print(json.dumps(read(options.read)))
        return
    found = {kind: measured(kind, options.records) for kind in options.format or KINDS}
    print(json.dumps({"records": options.records, "formats": found}, indent=2))


if __name__ == "__main__":
    main()
