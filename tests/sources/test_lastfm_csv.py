"""Last.fm's two layouts: the odd ones that the golden files do not hold."""

import io
import locale

import pytest

from fedpersona.sources.format import Skipped
from fedpersona.sources.lastfm_csv import LastfmCsv
from fedpersona.sources.listen import Listen

READER = LastfmCsv(clock=lambda: 1_720_000_000)
HEADER = "uts,utc_time,artist,artist_mbid,album,album_mbid,track,track_mbid"


def read(*lines):
    return list(READER.read(io.BytesIO("\n".join(lines).encode())))


def test_a_header_alone_has_no_record():
    assert read(HEADER) == []


def test_columns_are_found_by_name_in_any_order_and_case():
    assert read("Track,ARTIST, uts ", "Low Tide,Paper Lanterns,1718000000") == [
        Listen(1_718_000_000, "Paper Lanterns", "Low Tide")
    ]


def test_a_play_begins_at_its_uts_and_that_comes_before_the_text():
    (listen,) = read(HEADER, '1718000000,"01 Jan 2020, 00:00",Paper Lanterns,,,,Low Tide,')
    assert listen.played_at == 1_718_000_000
    assert listen.seconds is None


def test_a_time_without_uts_is_read_from_the_text():
    (listen,) = read(HEADER, ',"10 Jun 2024, 06:13",Paper Lanterns,,,,Low Tide,')
    assert listen.played_at == 1_717_999_980


@pytest.mark.parametrize("month", range(12))
def test_english_months_whatever_the_locale(month, monkeypatch):
    name = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")[month]
    monkeypatch.setattr(locale, "getlocale", lambda *_: ("de_DE", "UTF-8"))
    (listen,) = read(f"Paper Lanterns,,Low Tide,01 {name} 2023 00:00")
    assert listen.played_at == 1_672_531_200 + 86_400 * (0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334)[month]


@pytest.mark.parametrize(
    "text", ["1 Jan 2023 0:00", "01 jan 2023 00:00", "01 January 2023, 00:00", "01 Jan 2023 00:00:00"]
)
def test_the_same_moment_in_other_spellings(text):
    (listen,) = read(f'Paper Lanterns,,Low Tide,"{text}"')
    assert listen.played_at == 1_672_531_200


def test_a_time_is_not_before_1995_and_not_after_tomorrow():
    assert [one.reason for one in read(HEADER, "1,,A,,,,B,", "1720100000,,A,,,,B,")] == [
        "a time before 1995 or in the future"
    ] * 2


def test_the_id_is_that_of_the_track_and_not_of_the_artist_or_album():
    ids = [f"{digit * 8}-1111-4111-8111-111111111111" for digit in "abc"]
    (listen,) = read(HEADER, f"1718000000,,Paper Lanterns,{ids[0]},Harbour,{ids[1]},Low Tide,{ids[2].upper()}")
    assert listen.ids == (f"mbid:{ids[2]}",)


def test_a_headerless_file_whose_first_record_is_broken_is_known_and_read():
    lines = "Paper Lanterns,Harbour", "Paper Lanterns,Harbour,Low Tide,10 Jun 2024 06:13"
    assert READER.recognises("\n".join(lines))
    assert [type(one) for one in read(*lines)] == [Skipped, Listen]


def test_a_table_of_four_columns_without_such_a_time_is_not_claimed():
    assert not READER.recognises("name,city,street,10.06.2024 06:13\n" * 20)
    assert not READER.recognises("artist,album,track,date\n")
