"""One invented listener: what they played, as listens and as the zip that Spotify would send them."""

from __future__ import annotations

import json
import time
import zipfile
from datetime import UTC, datetime
from pathlib import Path

from fedpersona.device import starter
from fedpersona.sources.listen import Listen

NO_KEYRING = {"PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring"}
"""Environment of a machine without a system keyring."""

MARK = "Zanzibar Quillfeather"
"""An artist that no catalogue has, and no other file: what a search for leaks looks for."""


def listens(count: int = 60, *, until: int | None = None) -> list[Listen]:
    """Return listens of well-known recordings, one every five hours up to ``until``, the latest last."""
    catalogue = starter.catalogue()
    last = int(time.time()) - 3600 if until is None else until
    rows = [(number * 7) % 200 for number in range(count)]
    return [
        Listen(last - (count - number) * 18_000, catalogue.artists[row], catalogue.titles[row], (), 190)
        for number, row in enumerate(rows)
    ]


def write_spotify_zip(path: Path, played: list[Listen] | None = None) -> Path:
    """Write an extended streaming history, personal fields and all, and what else lies in such a zip."""
    records = [_record(listen) for listen in (listens() if played is None else played)]
    records.append({**_record(Listen(int(time.time()) - 90_000, MARK, "A Song for Nobody", (), 200))})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("Spotify Extended Streaming History/ReadMeFirst_ExtendedStreamingHistory.pdf", b"%PDF-1.4")
        archive.writestr(
            "Spotify Extended Streaming History/Streaming_History_Audio_2025-2026_1.json", json.dumps(records)
        )
    return path


def _record(listen: Listen) -> dict[str, object]:
    seconds = listen.seconds or 0
    end = datetime.fromtimestamp(listen.played_at + seconds, UTC)
    return {
        "ts": end.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "username": "invented.person",
        "platform": "Android OS 14 API 34",
        "ms_played": seconds * 1000,
        "conn_country": "NL",
        "ip_addr_decrypted": "203.0.113.7",
        "user_agent_decrypted": "unknown",
        "master_metadata_track_name": listen.title,
        "master_metadata_album_artist_name": listen.artist,
        "master_metadata_album_album_name": "An Album",
        "spotify_track_uri": None,
        "episode_name": None,
        "episode_show_name": None,
        "spotify_episode_uri": None,
        "reason_start": "trackdone",
        "reason_end": "trackdone",
        "shuffle": False,
        "skipped": False,
        "offline": False,
        "offline_timestamp": None,
        "incognito_mode": False,
    }
