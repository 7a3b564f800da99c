"""Whatever the bytes: the five readers that are not Spotify's yield listens and problems, and raise nothing."""

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedpersona.sources.apple_music import AppleMusic
from fedpersona.sources.fields import EARLIEST
from fedpersona.sources.format import Skipped
from fedpersona.sources.lastfm_csv import LastfmCsv
from fedpersona.sources.listen import Listen
from fedpersona.sources.listenbrainz import ListenBrainz
from fedpersona.sources.scrobbler_log import ScrobblerLog
from fedpersona.sources.youtube_music import YoutubeMusic

NOW = 1_720_000_000
HEADER = "Artist Name,Event Start Timestamp,Event Type,Play Duration Milliseconds,Song Name\n"

# Of each format: how a file begins, a record that is kept, what parts records, how a file ends.
KINDS = {
    LastfmCsv: ("uts,artist,track\n", "1718000000,Paper Lanterns,Low Tide", "\n", ""),
    ListenBrainz: (
        "",
        '{"listened_at": 1718000000, "track_metadata": {"artist_name": "Paper Lanterns", "track_name": "Low Tide"}}',
        "\n",
        "",
    ),
    AppleMusic: (HEADER, "Paper Lanterns,2024-06-10T06:13:20Z,PLAY_END,214000,Low Tide", "\n", ""),
    YoutubeMusic: (
        "[",
        '{"header": "YouTube Music", "title": "Watched Low Tide", "titleUrl": "https://music.youtube.com/watch?v=x", '
        '"subtitles": [{"name": "Paper Lanterns - Topic"}], "time": "2024-06-10T06:13:20Z"}',
        ",",
        "]",
    ),
    ScrobblerLog: ("#AUDIOSCROBBLER/1.1\n", "Paper Lanterns\t\tLow Tide\t1\t214\tL\t1718000000\t", "\n", ""),
}
# fmt: off
WORDS = st.sampled_from([
    'Paper Lanterns', 'Low Tide', '1718000000', 'PLAY_END', '2024-06-10T06:13:20Z', '214000', '-1', '1e999', 'NaN', 'L',
    '', ' ', ',', '\t', '"', "'", '{', '}', '[', ']', ':', '\\', '\\u0000', '\\ud800', 'null', 'true', '#', '\r', '\n',
    '\ufeff', '\x00', '\x1a', "é", "東",
    '"header"', '"YouTube Music"', '"listened_at"', '"track_metadata"',
    "9" * 5000,
])
# fmt: on
# A bad neighbour fills one line, or one element of a list.
NEIGHBOURS = {
    "lines": [
        "\x00",
        '"',
        '""',
        '"a',
        'a"b',
        "{",
        "}",
        "[" * 5000,
        "\ufffd" * 9,
        "9" * 5000,
        "x" * 200_000,
        "\t" * 9,
        ",," * 9,
        "\u2028",
        "\x85",
        "\x0c",
        '{"listened_at": 1718000000}',
        "#",
        "null",
        "-",
    ],
    "elements": [
        "null",
        "{}",
        "[]",
        '""',
        "9",
        '{"header": 1}',
        '{"header": "YouTube Music"}',
        "1" * 5000,
        '"\\ud800"',
        '{"header": "YouTube Music", "titleUrl": "/watch?", "subtitles": [[]], "title": {}, "time": []}',
        "[" * 99 + "]" * 99,
        '{"header": "' + "x" * 200_000 + '"}',
    ],
}


def read(kind, data):
    return list(kind(clock=lambda: NOW).read(io.BytesIO(data)))


def check(records):
    for record in records:
        if isinstance(record, Listen):
            assert EARLIEST <= record.played_at <= NOW + 86_400
            assert record.artist.encode()
            assert record.title.encode()
            assert record.seconds is None or record.seconds >= 30
        else:
            assert isinstance(record, Skipped)
            assert record.reason
            assert record.place.startswith(("line ", "record "))


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=60)
@given(data=st.binary(max_size=3000))
def test_any_bytes(kind, data):
    check(read(kind, data))


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=60)
@given(words=st.lists(WORDS, max_size=40))
def test_any_mixture_of_what_such_files_hold(kind, words):
    beginning, record, between, end = KINDS[kind]
    check(read(kind, (beginning + record + between + "".join(words) + end).encode()))


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_any_damage_to_a_good_file(kind, data):
    beginning, record, between, end = KINDS[kind]
    good = bytearray((beginning + between.join([record] * 3) + end).encode())
    for _ in range(data.draw(st.integers(1, 5))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    check(read(kind, bytes(good)))


@pytest.mark.parametrize(
    ("kind", "neighbour"),
    [(kind, neighbour) for kind in KINDS for neighbour in NEIGHBOURS["elements" if kind is YoutubeMusic else "lines"]],
    ids=lambda one: one.__name__ if isinstance(one, type) else one[:8].encode("unicode_escape").decode(),
)
def test_good_records_survive_a_bad_neighbour(kind, neighbour):
    beginning, record, between, end = KINDS[kind]
    records = read(kind, (beginning + between.join([record, neighbour, record]) + end).encode())
    check(records)
    assert [one.title for one in records if isinstance(one, Listen)] == ["Low Tide", "Low Tide"]
    assert len(records) in (2, 3)  # a comment of a log is no record


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_file_has_no_listen(kind):
    assert not [one for one in read(kind, b"") if isinstance(one, Listen)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_wrong_encoding_is_a_reason_and_keeps_the_others(kind):
    beginning, record, between, end = KINDS[kind]
    text = beginning + between.join([record.replace("Low Tide", "Lów Tide"), record]) + end
    bad, good = read(kind, text.encode("latin-1"))
    assert bad.reason == "letters that were lost to a wrong encoding: save the file as UTF-8"
    assert good.title == "Low Tide"


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_of_a_listen_shows_in_its_repr(kind):
    beginning, record, _, end = KINDS[kind]
    assert "Low" not in repr(read(kind, (beginning + record + end).encode()))


@pytest.mark.parametrize("kind", KINDS)
def test_records_come_one_at_a_time(kind):
    beginning, record, between, end = KINDS[kind]
    stream = io.BytesIO((beginning + between.join([record] * 20_000) + end).encode())
    next(iter(kind(clock=lambda: NOW).read(stream)))
    assert stream.tell() < 500_000
