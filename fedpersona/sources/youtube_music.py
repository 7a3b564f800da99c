"""The music in Google Takeout's ``watch-history.json`` ("YouTube and YouTube Music", history as JSON).

One list for YouTube and YouTube Music; only records whose ``header`` is ``YouTube Music`` are kept. ``time`` is the
start, in UTC; how long it was played is not said. ``title`` is a sentence in the language of the account ("Watched X",
"X angesehen"), and the artist is the channel, for most music one that YouTube made: "Artist - Topic".
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any, BinaryIO

from fedpersona.sources.fields import iso_time
from fedpersona.sources.format import Skipped
from fedpersona.sources.json_array import records
from fedpersona.sources.listen import Listen
from fedpersona.sources.record import Clock, checked

__all__ = ["YoutubeMusic"]

_WANTED = ("header", "title", "titleUrl", "subtitles", "time")
_HEADER = re.compile(r'"header"\s*:\s*"YouTube(?: Music)?"')

# As seen in exports, with the words that belong to the sentence and not to the title. Takeout has more languages:
# a title in one that is not here keeps its sentence, and is matched by nothing rather than by something wrong.
_BEFORE = (
    "Watched ",
    "Vous avez regardé ",
    "Has visto ",
    "Ha visto ",
    "Hai guardato ",
    "Você assistiu a ",
    "Assistiu a ",
    "Obejrzano: ",
    "Obejrzano ",
    "Zhlédnuto: ",
    "Zhlédnuto ",
    "Просмотрено видео ",
    "Просмотрено: ",
)
_AFTER = (" angesehen", " を視聴しました", " bekeken", "을(를) 시청했습니다.", "을(를) 시청함")
_TOPICS = (" - Topic", " - Thema", " - Tema", " - Tópico", " – Thema")
_NOBODY = {"Release", "Various Artists"}  # channels of YouTube's own for releases without an artist


class YoutubeMusic:
    """Reads the watch history.

    Args:
        clock: tells the time now; a play in the future is no play.
    """

    name = "YouTube Music watch history"

    def __init__(self, clock: Clock = time.time) -> None:
        self._clock = clock

    def recognises(self, head: str) -> bool:
        """Know a list of records of YouTube or YouTube Music, whichever comes first."""
        return head.lstrip().startswith("[") and _HEADER.search(head) is not None

    def read(self, stream: BinaryIO) -> Iterator[Listen | Skipped]:
        """Yield every record, one at a time."""
        now = self._clock()
        for record in records(stream, _WANTED):
            yield record if isinstance(record, Skipped) else _listen(record.fields, record.place, now)


def _listen(fields: dict[str, Any], place: str, now: float) -> Listen | Skipped:
    if fields.get("header") != "YouTube Music":
        return Skipped("not of YouTube Music", place)
    if not _is_watched(fields.get("titleUrl")):
        return Skipped("not a song that can be played", place)
    return checked(
        place,
        now=now,
        played_at=iso_time(fields.get("time")),
        artist=_artist(fields.get("subtitles")),
        title=_title(fields.get("title")),
    )


def _is_watched(address: object) -> bool:
    """Tell a song from a search, a playlist that was opened, and a video that was removed (which has no address)."""
    return isinstance(address, str) and "/watch?" in address


def _artist(subtitles: object) -> str | None:
    first = subtitles[0] if isinstance(subtitles, list) and subtitles else None
    channel = first.get("name") if isinstance(first, dict) else None
    if not isinstance(channel, str):
        return None
    channel = channel.rstrip()
    for topic in _TOPICS:
        if channel.endswith(topic):
            artist = channel.removesuffix(topic).strip()
            return None if artist in _NOBODY else artist
    return channel


def _title(sentence: object) -> str | None:
    """Take the title out of the sentence; once, for a song may be called "Watched" itself."""
    if not isinstance(sentence, str):
        return None
    title = sentence.replace("\u00a0", " ").strip()  # French and Italian put a no-break space there
    before = next((words for words in _BEFORE if title.startswith(words)), "")
    after = next((words for words in _AFTER if title.endswith(words)), "") if not before else ""
    title = title.removeprefix(before).removesuffix(after)
    # A private video has its address where the title would be.
    return None if title.startswith(("https://", "http://")) else title
