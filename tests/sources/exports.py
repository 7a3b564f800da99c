"""What a service hands a person: the golden exports, packed as a zip with the files that come beside them."""

import io
import zipfile
from pathlib import Path

GOLDEN = Path(__file__).parents[1] / "golden"
BESIDE = {
    "ReadMeFirst_ExtendedStreamingHistory.pdf": b"%PDF-1.7\n\xe2\xe3\xcf\xd3\n",
    "Playlist1.json": b'{"playlists": [{"name": "Mine", "items": []}]}',
    "StreamingHistory_podcast_0.json": b'[{"endTime": "2024-06-10 06:13", "podcastName": "x", "episodeName": "y", '
    b'"msPlayed": 60000}]',
    "cover.jpg": b"\xff\xd8\xff\xe0\x00\x10JFIF",
    "empty.json": b"[]",
    "nothing": b"",
}


def exports(kind):
    """Give the golden exports of one folder, by name."""
    return {
        path.name: path.read_bytes()
        for path in sorted((GOLDEN / kind).iterdir())
        if not path.name.endswith(".expected.json")
    }


def packed(files, *, inside="Spotify/", compression=zipfile.ZIP_DEFLATED):
    """Pack files into a zip in memory."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", compression) as archive:
        for name, data in files.items():
            archive.writestr(inside + name, data)
    return made
