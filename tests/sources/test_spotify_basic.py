"""Spotify's account data: ends to the minute, lengths, names, and nothing else."""

import io
import json

import pytest

from fedpersona.sources.format import Skipped
from fedpersona.sources.listen import Listen
from fedpersona.sources.spotify_basic import SpotifyBasic
from tests.sources.exports import BESIDE, exports

NOW = 1_720_000_000
GOOD = {"endTime": "2024-06-10 06:13", "artistName": "Paper Lanterns", "trackName": "Low Tide", "msPlayed": 200_000}
END = 1_717_999_980


def read(data):
    data = data if isinstance(data, bytes) else json.dumps(data).encode()
    return list(SpotifyBasic(clock=lambda: NOW).read(io.BytesIO(data)))


def one(**changes):
    (record,) = read([{**GOOD, **changes}])
    return record


def reason(**changes):
    record = one(**changes)
    assert isinstance(record, Skipped)
    return record.reason


def test_the_start_is_the_end_less_the_length():
    assert one() == Listen(END - 200, "Paper Lanterns", "Low Tide", (), 200)


@pytest.mark.parametrize("end", [None, "", "2024-06-10", "06:13", "10/06/2024 06:13", 7, [], "2024-06-10 06:99"])
def test_a_time_that_is_none(end):
    assert reason(endTime=end) == "no time that can be read"


@pytest.mark.parametrize("end", ["1970-01-01 00:10", "2124-01-01 00:00"])
def test_a_time_that_cannot_be(end):
    assert reason(endTime=end) == "a time before 1995 or in the future"


@pytest.mark.parametrize("ms", [None, "200000", True, -1, 86_400_001, 10**400, [], {}])
def test_a_length_that_is_none(ms):
    assert reason(msPlayed=ms) == "no playing time that can be read"


@pytest.mark.parametrize("ms", [0, 29_999])
def test_what_was_hardly_played(ms):
    assert reason(msPlayed=ms) == "played for less than 30 seconds"


@pytest.mark.parametrize("name", [None, "", "\x00", 7, [], "x" * 1001])
@pytest.mark.parametrize(("key", "words"), [("artistName", "artist"), ("trackName", "title")])
def test_a_name_that_is_none(key, words, name):
    assert reason(**{key: name}) == f"no {words} that can be read"


@pytest.mark.parametrize("key", sorted(GOOD))
def test_a_key_that_is_missing(key):
    (record,) = read([{name: value for name, value in GOOD.items() if name != key}])
    assert isinstance(record, Skipped)


def test_a_bad_record_costs_nothing_else():
    kept = [isinstance(record, Listen) for record in read([GOOD, None, {}, {"endTime": []}, GOOD])]
    assert kept == [True, False, False, False, True]


def test_known_by_its_keys():
    (text,) = exports("spotify-basic").values()
    assert SpotifyBasic().recognises(text.decode())
    assert not SpotifyBasic().recognises(json.dumps(GOOD))


@pytest.mark.parametrize("name", BESIDE)
def test_what_comes_beside_it_is_not_known(name):
    assert not SpotifyBasic().recognises(BESIDE[name].decode("utf-8", "replace"))
