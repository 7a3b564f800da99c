"""A name, an id and a time of a record: what is taken, and what is not."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedpersona.sources.fields import (
    EARLIEST,
    LONGEST_NAME,
    clean_name,
    iso_time,
    mbid,
    number,
    plausible_time,
    spotify_track,
)

TRACK = "0123456789abcdefABCDEF"
UUID = "7c9e6679-7425-40de-944b-e07fc1f90ae7"
ANYTHING = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary(), st.lists(st.text()), st.just({})
)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Low Tide", "Low Tide"),
        ("  Low \t\r\n Tide  ", "Low Tide"),
        ("Low\u00a0\u2003Tide", "Low Tide"),
        ("Low\x00 Ti\x07de", "Low Tide"),
        ("\ufeffLow Tide\u200b", "Low Tide"),
        ("\u202eediT woL", "ediT woL"),
        ("Bjo\u0308rn", "Björn"),
        ("\ud83dLow", "Low"),
        ("波の歌", "波の歌"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("x" * LONGEST_NAME, "x" * LONGEST_NAME),
    ],
)
def test_a_name_is_cleaned(text, name):
    assert clean_name(text) == name


@pytest.mark.parametrize(
    "nothing",
    ["", " ", "\x00\x01", "\u200b\u200d", "\ud800", None, 7, float("nan"), True, b"Low Tide", ["Low"], {}, "x" * 501],
)
def test_what_is_no_name_is_none(nothing):
    assert clean_name(nothing) is None


@settings(deadline=None)
@given(ANYTHING)
def test_a_cleaned_name_stays_as_it_is_and_can_be_stored(value):
    name = clean_name(value)
    if name is not None:
        assert clean_name(name) == name
        assert name.encode()
        assert 0 < len(name) <= LONGEST_NAME


def test_ten_megabytes_are_no_name():
    assert clean_name("x" * 10_000_000) is None


@pytest.mark.parametrize("text", [UUID, UUID.upper(), f" {UUID}\n"])
def test_an_mbid_in_any_case(text):
    assert mbid(text) == f"mbid:{UUID}"


@pytest.mark.parametrize(
    "text",
    [
        "",
        None,
        7,
        UUID[:-1],
        UUID + "0",
        UUID.replace("-", ""),
        UUID[:-1] + "g",
        "٧" + UUID[1:],
        "00000000-0000-0000-0000-000000000000",
        [UUID],
    ],
)
def test_what_is_no_mbid_is_none(text):
    assert mbid(text) is None


@pytest.mark.parametrize(
    "text",
    [
        f"spotify:track:{TRACK}",
        f"https://open.spotify.com/track/{TRACK}",
        f"http://open.spotify.com/track/{TRACK}?si=abc",
        f"https://open.spotify.com/intl-de/track/{TRACK}",
    ],
)
def test_a_spotify_track_by_uri_and_by_address(text):
    assert spotify_track(text) == f"spotify:track:{TRACK}"


@pytest.mark.parametrize(
    "text",
    [
        "",
        None,
        7,
        TRACK,
        f"spotify:episode:{TRACK}",
        f"spotify:track:{TRACK}0",
        f"spotify:track:{TRACK[1:]}",
        f"https://open.spotify.com/episode/{TRACK}",
        f"https://elsewhere.example/track/{TRACK}",
        f"https://open.spotify.com.elsewhere.example/track/{TRACK}",
        "spotify:local:a:b:c:180",
    ],
)
def test_what_is_no_spotify_track_is_none(text):
    assert spotify_track(text) is None


@pytest.mark.parametrize(
    ("value", "found"),
    [(7, 7.0), (7.5, 7.5), ("7", 7.0), (" -7.50 ", -7.5), ("+7", 7.0), (10**15, 1e15)],
)
def test_a_number_and_text_that_is_one(value, found):
    assert number(value) == found


@pytest.mark.parametrize(
    "value",
    [None, True, "", "x", "nan", "inf", "1e5", "0x10", "1_000", "٧", math.nan, math.inf, 10**400, "1" * 400, [7], b"7"],
)
def test_what_is_no_number_is_none(value):
    assert number(value) is None


@pytest.mark.parametrize(
    "text",
    [
        "2024-06-10T06:13:20Z",
        "2024-06-10T06:13:20",
        "2024-06-10 06:13:20",
        "2024-06-10T08:13:20+02:00",
        "2024-06-09T20:13:20-10:00",
        " 2024-06-10T06:13:20Z ",
    ],
)
def test_one_moment_in_every_spelling(text):
    assert iso_time(text) == 1_718_000_000


def test_a_part_of_a_second_is_kept():
    assert iso_time("2024-06-10T06:13:20.250Z") == 1_718_000_000.25


@pytest.mark.parametrize(
    "text",
    [
        "",
        None,
        7,
        "2024-06-10",
        "20240610",
        "10 Jun 2024 06:13",
        "2024-06-31T06:13:20Z",
        "2024-06-10T25:13:20Z",
        "x" * 99,
        "0000-06-10T06:13:20Z",
        ["2024-06-10T06:13:20Z"],
        "2024-06-10T06:13:20+99:00",
    ],
)
def test_what_is_no_time_is_none(text):
    assert iso_time(text) is None


@settings(deadline=None)
@given(ANYTHING)
def test_no_value_makes_a_check_fail(value):
    for check in (clean_name, mbid, spotify_track, number, iso_time):
        check(value)


def test_a_play_is_between_1995_and_tomorrow():
    now = 1_718_000_000
    assert plausible_time(EARLIEST, now)
    assert not plausible_time(EARLIEST - 1, now)
    assert plausible_time(now + 86_400, now)
    assert not plausible_time(now + 86_401, now)
    assert not plausible_time(math.nan, now)
    assert not plausible_time(math.inf, now)
