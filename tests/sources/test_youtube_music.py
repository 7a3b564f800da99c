"""YouTube Music's history: the odd ones that the golden file does not hold."""

import io
import json

import pytest

from fedpersona.sources.format import Skipped
from fedpersona.sources.listen import Listen
from fedpersona.sources.youtube_music import YoutubeMusic

READER = YoutubeMusic(clock=lambda: 1_720_000_000)
RECORD = {
    "header": "YouTube Music",
    "title": "Watched Low Tide",
    "titleUrl": "https://music.youtube.com/watch?v=invented",
    "subtitles": [{"name": "Paper Lanterns - Topic", "url": "https://www.youtube.com/channel/invented"}],
    "time": "2024-06-10T06:13:20.123Z",
}
WHOLE = Listen(1_718_000_000, "Paper Lanterns", "Low Tide")


def read(*records):
    return list(READER.read(io.BytesIO(json.dumps(records).encode())))


def one(**changes):
    (record,) = read({**RECORD, **changes})
    return record


def test_a_play():
    assert one() == WHOLE


@pytest.mark.parametrize(
    "title",
    [
        "Watched Low Tide",
        "Low Tide angesehen",
        "Vous avez regardé Low Tide",
        "Vous avez regardé\u00a0Low Tide",
        "Has visto Low Tide",
        "Hai guardato Low Tide",
        "Você assistiu a Low Tide",
        "Obejrzano: Low Tide",
        "Low Tide を視聴しました",
        "Low Tide bekeken",
        "Low Tide",
    ],
)
def test_the_sentence_around_a_title_in_several_languages(title):
    assert one(title=title) == WHOLE


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("Watched Watched", "Watched"),
        ("Watched", "Watched"),
        ("angesehen angesehen", "angesehen"),
        ("Watched Nie angesehen", "Nie angesehen"),
        ("Unwatched Films", "Unwatched Films"),
    ],
)
def test_the_sentence_is_taken_off_once(title, name):
    assert one(title=title).title == name


@pytest.mark.parametrize(
    ("channel", "artist"),
    [
        ("Paper Lanterns - Topic", "Paper Lanterns"),
        ("Paper Lanterns - Thema", "Paper Lanterns"),
        ("Paper Lanterns", "Paper Lanterns"),
        ("The Topic", "The Topic"),
        ("Hot - Topic - Topic", "Hot - Topic"),
    ],
)
def test_a_channel_is_its_artist(channel, artist):
    assert one(subtitles=[{"name": channel}]).artist == artist


@pytest.mark.parametrize(
    "subtitles",
    [
        None,
        [],
        {},
        "x",
        [None],
        ["x"],
        [{}],
        [{"name": None}],
        [{"name": ""}],
        [{"name": " - Topic"}],
        [{"name": "Release - Topic"}],
        [{"name": "Various Artists - Topic"}],
    ],
)
def test_without_an_artist_it_is_not_kept(subtitles):
    assert one(subtitles=subtitles).reason == "no artist that can be read"


@pytest.mark.parametrize("header", ["YouTube", "youtube music", "Search", None, 7, ["YouTube Music"]])
def test_what_is_not_music_is_a_reason(header):
    assert one(header=header).reason == "not of YouTube Music"


@pytest.mark.parametrize("address", [None, "", 7, "https://music.youtube.com/search?q=low+tide", "https://example.org"])
def test_a_search_and_a_removed_video_are_a_reason(address):
    assert one(titleUrl=address).reason == "not a song that can be played"


@pytest.mark.parametrize(
    "moment", [None, 7, "", "yesterday", "2024-06-10", "2024-13-10T06:13:20Z", "1970-01-01T00:00:00Z"]
)
def test_a_time_that_is_none_is_a_reason(moment):
    assert "time" in one(time=moment).reason


@pytest.mark.parametrize(
    "data", [b"{}", b"null", b"", b"watched", b"[" * 100_000, b'{"a": [{"header": "YouTube Music"}]}']
)
def test_a_file_that_is_no_list_is_one_reason(data):
    (skipped,) = READER.read(io.BytesIO(data))
    assert isinstance(skipped, Skipped)


def test_a_file_cut_off_keeps_what_came_before():
    data = json.dumps([RECORD] * 3).encode()
    kept, again, last = READER.read(io.BytesIO(data[:-20]))
    assert kept == again == WHOLE
    assert last.place == "record 3"


def test_known_whether_video_or_music_comes_first_and_without_spaces():
    for header in ("YouTube", "YouTube Music"):
        records = [{**RECORD, "header": header}]
        assert READER.recognises(json.dumps(records))
        assert READER.recognises(json.dumps(records, indent=2))
        assert READER.recognises("\n" + json.dumps(records, separators=(",", ":")))
    assert not READER.recognises(json.dumps([{**RECORD, "header": "Maps"}]))
    assert not READER.recognises(json.dumps(RECORD))
