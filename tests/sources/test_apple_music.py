"""Apple's play activity: the odd ones that the golden files do not hold."""

import csv
import gc
import io

import pytest

from fedpersona.sources.apple_music import AppleMusic
from fedpersona.sources.format import Skipped
from fedpersona.sources.listen import Listen

READER = AppleMusic(clock=lambda: 1_720_000_000)
PLAY = {
    "Event Type": "PLAY_END",
    "Artist Name": "Paper Lanterns",
    "Song Name": "Low Tide",
    "Event Start Timestamp": "2024-06-10T06:13:20Z",
    "Event End Timestamp": "2024-06-10T06:16:54Z",
    "Play Duration Milliseconds": "214000",
}


def table(*plays):
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(name for play in plays for name in play)))
    writer.writeheader()
    writer.writerows(plays)
    return text.getvalue()


def read(*plays):
    return list(READER.read(io.BytesIO(table(*plays).encode())))


def one(**changes):
    (record,) = read({**PLAY, **{name.replace("_", " "): value for name, value in changes.items()}})
    return record


def without(*names):
    (record,) = read({name: value for name, value in PLAY.items() if name not in names})
    return record


WHOLE = Listen(1_718_000_000, "Paper Lanterns", "Low Tide", (), 214)


def test_a_play():
    assert one() == WHOLE


@pytest.mark.parametrize(
    "start",
    [
        "2024-06-10T06:13:20.999Z",
        "2024-06-10T06:13:20",
        "2024-06-10T09:43:20+03:30",
        "2024-06-10T02:13:20.123456789-04:00",
    ],
)
def test_the_start_in_every_spelling(start):
    assert one(Event_Start_Timestamp=start) == WHOLE


@pytest.mark.parametrize("start", ["", "soon", "2024-06-10"])
def test_without_a_start_it_is_the_end_less_what_was_played(start):
    assert one(Event_Start_Timestamp=start) == WHOLE
    assert without("Event Start Timestamp") == WHOLE


@pytest.mark.parametrize("played", ["", "-1", "long", "NaN", "1e9"])
def test_without_both_there_is_no_time(played):
    assert one(Event_Start_Timestamp="", Play_Duration_Milliseconds=played).reason == "no time that can be read"


@pytest.mark.parametrize("played", ["", "-214000", "long", str(10**12)])
def test_a_length_that_is_none_is_unknown_and_the_play_is_kept(played):
    assert one(Play_Duration_Milliseconds=played).seconds is None


@pytest.mark.parametrize(("played", "kept"), [("0", False), ("29999", False), ("30000", True), ("30000.5", True)])
def test_half_a_minute_is_needed(played, kept):
    assert isinstance(one(Play_Duration_Milliseconds=played), Listen) is kept


def test_a_span_too_short_to_have_played_it():
    changes = {"Play_Duration_Milliseconds": "", "Event_End_Timestamp": "2024-06-10T06:13:49Z"}
    assert one(**changes).reason == "played for less than 30 seconds"


def test_the_count_of_milliseconds_comes_before_a_span_that_contradicts_it():
    assert one(Event_End_Timestamp="2024-06-10T06:13:20Z") == WHOLE


@pytest.mark.parametrize("event", ["PLAY_START", "LYRIC_DISPLAY", "", "play_end?"])
def test_only_the_end_of_a_play_counts(event):
    assert one(Event_Type=event).reason == "an event that is not the end of a play"


def test_older_exports_have_no_events_and_another_name_for_the_song():
    assert without("Event Type") == WHOLE
    assert one(Song_Name="", Content_Name="Low Tide") == WHOLE


def test_the_artist_of_the_album_stands_in_and_the_maker_of_a_playlist_does_not():
    assert one(Artist_Name="", Container_Artist_Name="Paper Lanterns", Container_Type="ALBUM") == WHOLE
    assert one(Artist_Name="", Container_Artist_Name="Paper Lanterns") == WHOLE
    for kind in ("PLAYLIST", "RADIO"):
        record = one(Artist_Name="", Container_Artist_Name="Morning Mix", Container_Type=kind)
        assert record.reason == "no artist that can be read"
    assert without("Artist Name").reason == "no artist that can be read"


def test_what_apple_knows_of_its_owner_never_gets_past_the_reader():
    marker = "MARK" + "ER-"
    personal = ["Client IP Address", "IP City", "IP Latitude", "Device Identifier", "Apple ID Number", "User’s Name"]
    play = {**PLAY, **{name: marker + name for name in personal}}
    data = table(play, {**play, "Song Name": ""}, {**play, "Event Type": "PLAY_START"}).encode()
    records = list(READER.read(io.BytesIO(data)))
    assert [type(record) for record in records] == [Listen, Skipped, Skipped]
    reachable = gc.get_referents(*records)
    assert not [text for text in reachable if isinstance(text, str) and marker in text]


def test_joined_files_are_read_on_by_their_own_header():
    moved = dict(reversed(PLAY.items()))
    data = (table(PLAY) + table({"Album Name": "Harbour", **moved})).encode()
    assert list(READER.read(io.BytesIO(data))) == [WHOLE, WHOLE]


def test_rows_before_any_header_are_a_reason():
    data = b"a,b\n" + table(PLAY).encode()
    assert [type(record) for record in READER.read(io.BytesIO(data))] == [Skipped, Listen]


def test_apples_other_tables_are_not_claimed():
    assert not READER.recognises("Country,Track Identifier,Media type,Date Played,Hours,Play Duration Milliseconds\n")
    assert not READER.recognises("Title,Artist,Last Played Date,Play Count\n")
