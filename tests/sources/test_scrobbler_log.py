"""The log of portable players: the odd ones that the golden files do not hold."""

import io

import pytest

from fedpersona.sources.listen import Listen
from fedpersona.sources.scrobbler_log import ScrobblerLog

READER = ScrobblerLog(clock=lambda: 1_720_000_000)
FIELDS = ("Paper Lanterns", "Harbour", "Low Tide", "1", "214", "L", "1718000000", "")
WHOLE = Listen(1_718_000_000, "Paper Lanterns", "Low Tide")
UUID = "7c9e6679-7425-40de-944b-e07fc1f90ae7"


def read(*lines):
    return list(READER.read(io.BytesIO("\n".join(("#AUDIOSCROBBLER/1.1", "#TZ/UTC", *lines)).encode())))


def one(place, value):
    fields = list(FIELDS)
    fields[place] = value
    (record,) = read("\t".join(fields))
    return record


def test_a_header_alone_has_no_record():
    assert read() == []


@pytest.mark.parametrize("count", [7, 8])
def test_a_play_with_or_without_the_id_of_the_later_version(count):
    assert read("\t".join(FIELDS[:count])) == [WHOLE]


def test_the_id_of_the_recording():
    assert one(7, UUID.upper()).ids == (f"mbid:{UUID}",)
    assert one(7, "some words").ids == ()


def test_the_length_of_a_track_is_not_how_long_it_was_played():
    assert one(4, "214").seconds is None
    assert one(4, "29").reason == "played for less than 30 seconds"


@pytest.mark.parametrize("length", ["", "0", "-1", "3:34"])
def test_a_length_that_is_none_is_unknown(length):
    assert one(4, length) == WHOLE


@pytest.mark.parametrize(
    ("mark", "reason"),
    [
        ("S", "skipped by its listener"),
        ("", "neither listened to nor skipped"),
        ("l", "neither listened to nor skipped"),
        ("LS", "neither listened to nor skipped"),
    ],
)
def test_only_what_was_listened_to_is_kept(mark, reason):
    assert one(5, mark).reason == reason


@pytest.mark.parametrize("at", ["", "0", "noon", "-1718000000", "NaN", "9" * 30, "99999999999"])
def test_a_time_that_is_none_is_a_reason(at):
    assert "time" in one(6, at).reason


def test_a_comment_is_no_record_and_an_artist_may_begin_with_its_sign():
    assert read("#CLIENT/invented", "# a remark") == []
    assert one(0, "#1 Lanterns").artist == "#1 Lanterns"


def test_fewer_fields_are_a_reason():
    assert [record.reason for record in read("\t".join(FIELDS[:6]), "words")] == ["fewer than seven fields"] * 2


def test_quotes_are_letters():
    assert one(2, '7" of "Vinyl').title == '7" of "Vinyl'


@pytest.mark.parametrize("zone", ["#TZ/UTC", "#TZ/UNKNOWN", "#TZ/", ""])
def test_a_time_is_read_as_utc_whatever_the_player_knows(zone):
    data = f"#AUDIOSCROBBLER/1.0\r\n{zone}\r\n".encode() + "\t".join(FIELDS[:7]).encode()
    assert list(READER.read(io.BytesIO(data))) == [WHOLE]


def test_known_by_its_first_line_in_every_version():
    assert READER.recognises("#AUDIOSCROBBLER/1.0\n")
    assert READER.recognises("#AUDIOSCROBBLER/1.1\r\n#TZ/UNKNOWN")
    assert not READER.recognises("# AUDIOSCROBBLER\n")
    assert not READER.recognises("\t".join(FIELDS))
