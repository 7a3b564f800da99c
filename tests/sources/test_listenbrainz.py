"""ListenBrainz's lines: the odd ones that the golden file does not hold."""

import io
import json

import pytest

from fedpersona.sources.format import Skipped
from fedpersona.sources.listen import Listen
from fedpersona.sources.listenbrainz import ListenBrainz

READER = ListenBrainz(clock=lambda: 1_720_000_000)
FIRST, SECOND = (f"{digit * 8}-1111-4111-8111-111111111111" for digit in "ab")


def line(at=1_718_000_000, info=None, **track):
    names = {"artist_name": "Paper Lanterns", "track_name": "Low Tide"}
    return json.dumps({"listened_at": at, "track_metadata": {**names, "additional_info": info, **track}})


def read(*lines):
    return list(READER.read(io.BytesIO("\n".join(lines).encode())))


@pytest.mark.parametrize("at", [1_718_000_000, 1_718_000_000.0, 1_718_000_000.999999])
def test_a_play_begins_when_it_says(at):
    assert read(line(at)) == [Listen(1_718_000_000, "Paper Lanterns", "Low Tide")]


@pytest.mark.parametrize("at", [None, True, "1718000000", [], {}, float("nan"), float("inf"), 10**30, -1, 0])
def test_a_time_that_is_none_is_a_reason(at):
    (skipped,) = read(line(at))
    assert skipped.reason in ("no time that can be read", "a time before 1995 or in the future")


def test_a_number_of_more_digits_than_python_reads_is_a_reason():
    assert [type(one) for one in read(line().replace("1718000000", "9" * 5000), line())] == [Skipped, Listen]


def test_the_players_own_id_comes_before_what_was_found_for_it():
    (listen,) = read(line(info={"recording_mbid": FIRST}, mbid_mapping={"recording_mbid": SECOND}))
    assert listen.ids == (f"mbid:{FIRST}", f"mbid:{SECOND}")


def test_one_id_twice_is_one():
    (listen,) = read(line(info={"recording_mbid": FIRST}, mbid_mapping={"recording_mbid": FIRST.upper()}))
    assert listen.ids == (f"mbid:{FIRST}",)


def test_the_length_of_a_recording_is_not_how_long_it_was_played():
    assert [one.seconds for one in read(line(info={"duration_ms": 200_000}))] == [None]
    assert [one.seconds for one in read(line(info={"duration_ms": 200_000, "duration_played": 90}))] == [90]


@pytest.mark.parametrize("info", [{"duration_ms": 29_999}, {"duration_played": 29}, {"duration_played": 0}])
def test_less_than_half_a_minute_is_not_kept(info):
    assert [one.reason for one in read(line(info=info))] == ["played for less than 30 seconds"]


@pytest.mark.parametrize("info", [{"duration_ms": 0}, {"duration_ms": "long"}, {"duration_played": -1}, {}, [], "x", 7])
def test_a_length_that_is_none_is_unknown(info):
    assert [one.seconds for one in read(line(info=info))] == [None]


def test_who_listened_and_with_what_is_dropped():
    record = {**json.loads(line(info={"listening_from": "MARKER", "media_player": "MARKER"})), "user_name": "MARKER"}
    (listen,) = read(json.dumps(record))
    assert "MARKER" not in "".join(str(getattr(listen, name)) for name in Listen.__slots__)


@pytest.mark.parametrize(
    "other",
    [
        '{"recording_msid": "x", "recording_mbid": null, "score": 1, "created": 1718000000}',
        '{"recording_mbid": null, "blurb_content": "so good", "pinned_until": 1718000000, "created": 1718000000}',
        '{"user_id": 1, "username": "invented"}',
    ],
)
def test_the_other_files_of_the_export_are_not_claimed_and_never_read_as_listens(other):
    assert not READER.recognises(other)
    assert [one.reason for one in read(other)] == ["not a listen"]


def test_a_file_whose_first_line_is_broken_is_known():
    assert READER.recognises("{broken\n" + line())
