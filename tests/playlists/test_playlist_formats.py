"""What each format promises, read back by somebody else's parser."""

from __future__ import annotations

import json
import unicodedata
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedpersona.errors import DataError
from fedpersona.playlists import FORMATS, Playlist, Track, render

MADE = 1_767_225_599  # 2025-12-31T23:59:59Z
UUID = "8f3471b5-7e6a-48da-86a9-c1c07a0f47ae"
SPOTIFY = "spotify:track:4uLU6hMCjMI75M1A2tKUQC"
XSPF = "{http://xspf.org/ns/0/}"
PLAYLIST_ORDER = ("title", "creator", "annotation", "info", "location", "identifier", "image", "date", "license",
                  "attribution", "link", "meta", "extension", "trackList")  # fmt: skip
TRACK_ORDER = ("location", "identifier", "title", "creator", "annotation", "info", "image", "album", "trackNum",
               "duration", "link", "meta", "extension")  # fmt: skip

WEEK = Playlist(
    "Your week of 5 January 2026",
    MADE,
    (
        Track("Bright, Dark", "Ana & Bo", "because you played Cy", (f"mbid:{UUID}", SPOTIFY), 200),
        Track("<Untitled>", "", ids=("isrc:XX",)),
        Track("42", "Dé", "more folk, like Ed", (SPOTIFY,), 0),
    ),
    "From what you play.",
)


def one(title: str = "Song", artist: str = "Band", reason: str = "", ids: tuple[str, ...] = ()) -> Playlist:
    return Playlist("Week", MADE, (Track(title, artist, reason, ids),))


def as_xml(playlist: Playlist) -> ElementTree.Element:
    return ElementTree.fromstring(render(playlist, "xspf"))


def xml_texts(parent: ElementTree.Element, name: str) -> list[str | None]:
    return [element.text for element in parent.findall(XSPF + name)]


def as_json(playlist: Playlist) -> dict:
    return json.loads(render(playlist, "jspf"))["playlist"]


def lines(playlist: Playlist) -> list[str]:
    text = render(playlist, "m3u8").decode()
    assert text.endswith("\n")
    return text[:-1].split("\n")


# Ugly cases first.


@pytest.mark.parametrize("name", FORMATS)
def test_an_empty_playlist_is_written_and_read(name):
    empty = Playlist("", 0, ())
    assert render(empty, name)
    if name == "xspf":
        assert list(as_xml(empty).find(XSPF + "trackList")) == []
    elif name == "jspf":
        assert as_json(empty)["track"] == []


@pytest.mark.parametrize("created", [10**12, -(10**12), 10**30, float("nan"), float("inf")])
def test_a_time_that_no_calendar_has_is_refused(created):
    with pytest.raises(DataError, match="Unix seconds"):
        Playlist("Week", created, ())


def test_a_time_long_ago_has_four_digits_of_year():
    assert Playlist("Week", -60_000_000_000, ()).created_iso == "0068-09-03T13:20:00Z"


def test_a_track_cannot_play_for_less_than_nothing():
    with pytest.raises(DataError, match="seconds"):
        Track("Song", "Band", seconds=-1)


def test_no_repr_shows_what_is_on_a_list():
    shown = repr(WEEK) + repr(WEEK.tracks)
    assert repr(WEEK) == "Playlist(3 tracks)"
    assert not any(word in shown for word in ("Ana", "Bright", "Cy", UUID, SPOTIFY))


@pytest.mark.parametrize(
    "bad",
    [
        "mbid:",
        "mbid:../../etc",
        f"mbid:{UUID}\n",
        f"mbid:{UUID}?x=<y>",
        "spotify:track:",
        f"{SPOTIFY}\n#EXTINF:1,x",
        "spotify:track:../../../etc/passwd1234",
        "",
    ],
)
def test_an_id_that_is_none_reaches_no_file(bad):
    for name in FORMATS:
        assert render(one(ids=(bad,)), name) == render(one(), name)


def test_an_id_in_capitals_becomes_the_one_that_musicbrainz_has():
    assert (
        one(ids=("isrc:Y", f"mbid:{UUID.upper()}")).tracks[0].recording == f"https://musicbrainz.org/recording/{UUID}"
    )


# XSPF.


def test_xspf_has_the_elements_of_the_specification_in_its_order():
    root = as_xml(WEEK)
    assert (root.tag, root.attrib) == (XSPF + "playlist", {"version": "1"})
    for element, order in ((root, PLAYLIST_ORDER), *((track, TRACK_ORDER) for track in root.iter(XSPF + "track"))):
        places = [order.index(child.tag.removeprefix(XSPF)) for child in element]
        assert places == sorted(places)


def test_xspf_says_what_the_list_is_and_why_each_track_is_on_it():
    root = as_xml(WEEK)
    assert xml_texts(root, "title") == ["Your week of 5 January 2026"]
    assert xml_texts(root, "annotation") == ["From what you play."]
    assert xml_texts(root, "date") == ["2025-12-31T23:59:59Z"]
    first, second, third = root.iter(XSPF + "track")
    assert xml_texts(first, "identifier") == [f"https://musicbrainz.org/recording/{UUID}", SPOTIFY]
    assert xml_texts(first, "title") + xml_texts(first, "creator") == ["Bright, Dark", "Ana & Bo"]
    assert xml_texts(first, "annotation") + xml_texts(first, "duration") == ["because you played Cy", "200000"]
    assert [child.tag for child in second] == [XSPF + "title"]
    assert xml_texts(second, "title") == ["<Untitled>"]
    assert xml_texts(third, "duration") == ["0"]
    assert not list(root.iter(XSPF + "location"))


@pytest.mark.parametrize(
    "title", ["-->", "]]>", "<![CDATA[x]]>", "&amp;", "</title><x>", "\"'", "<!DOCTYPE a>", "&#0;"]
)
def test_xspf_keeps_what_looks_like_xml(title):
    (track,) = as_xml(one(title)).iter(XSPF + "track")
    assert xml_texts(track, "title") == [title]


def test_xspf_leaves_out_what_xml_cannot_hold_and_elements_of_nothing_else():
    (track,) = as_xml(one("a\x00\x0b\ud800\ufffe\uffffb", "\x00\x1b")).iter(XSPF + "track")
    assert [(child.tag, child.text) for child in track] == [(XSPF + "title", "ab")]


@given(st.text(st.characters(codec=None)), st.text(), st.text())
def test_xspf_can_always_be_parsed_and_keeps_all_that_xml_can_hold(title, artist, reason):
    (track,) = as_xml(one(title, artist, reason)).iter(XSPF + "track")
    for name, text in (("title", title), ("creator", artist), ("annotation", reason)):
        held = "".join(c for c in text if c in "\t\n\r" or (c >= " " and not "\ud800" <= c <= "\udfff"))
        held = held.replace("\ufffe", "").replace("\uffff", "").replace("\r\n", "\n").replace("\r", "\n")
        assert xml_texts(track, name) == ([held] if held else [])


# JSPF.


def test_jspf_is_what_listenbrainz_reads_and_is_not_public():
    playlist = as_json(WEEK)
    assert playlist["title"] == "Your week of 5 January 2026"
    assert playlist["date"] == "2025-12-31T23:59:59Z"
    assert playlist["annotation"] == "From what you play."
    assert playlist["extension"]["https://musicbrainz.org/doc/jspf#playlist"]["public"] is False
    assert playlist["track"][0] == {
        "identifier": [f"https://musicbrainz.org/recording/{UUID}"],
        "title": "Bright, Dark",
        "creator": "Ana & Bo",
        "annotation": "because you played Cy",
        "info": "https://open.spotify.com/track/4uLU6hMCjMI75M1A2tKUQC",
        "duration": 200_000,
        "extension": {"https://musicbrainz.org/doc/jspf#track": {"added_at": "2025-12-31T23:59:59Z"}},
    }


def test_jspf_names_nothing_but_musicbrainz_as_identifier():
    assert "identifier" not in as_json(one(ids=(SPOTIFY,)))["track"][0]


@given(st.text(st.characters(codec=None)))
def test_jspf_keeps_any_text_but_halves_of_characters(title):
    held = "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in title)
    assert as_json(one(title))["track"][0]["title"] == held
    assert as_json(Playlist(title, MADE, (), title))["title"] == held


# M3U8.


def test_m3u8_is_extended_m3u_with_reasons_as_comments():
    assert lines(WEEK) == [
        "#EXTM3U",
        "#PLAYLIST:Your week of 5 January 2026",
        "#EXTINF:200,Ana & Bo - Bright, Dark",
        "# because you played Cy",
        SPOTIFY,
        "#EXTINF:-1,<Untitled>",
        "_Untitled_.mp3",
        "#EXTINF:0,Dé - 42",
        "# more folk, like Ed",
        SPOTIFY,
    ]


@pytest.mark.parametrize(
    ("artist", "title", "place"),
    [
        ("AC/DC", "T.N.T.", "AC_DC - T.N.T.mp3"),
        ("", "#9 Dream", "9 Dream.mp3"),
        ("", "../../etc/passwd", "_.._etc_passwd.mp3"),
        ("", "http://x/y", "http___x_y.mp3"),
        ("", "...", "track.mp3"),
        ("", "", "track.mp3"),
        ("A\nB", "C\r\n#EXTINF:1,D", "A B - C #EXTINF_1,D.mp3"),
        ("", "é" * 300, "é" * 100 + ".mp3"),
        ("", "می‌خواهم 👩‍🎤", "می‌خواهم 👩‍🎤.mp3"),
    ],
)
def test_m3u8_stands_a_plain_file_name_for_what_has_no_place(artist, title, place):
    assert lines(one(title, artist))[-1] == place


@given(st.text(st.characters(codec=None)), st.text(), st.text())
def test_m3u8_has_one_line_for_each_thing_whatever_the_names(title, artist, reason):
    text = render(one(title, artist, reason), "m3u8").decode()
    found = text.splitlines()
    assert len(found) in (4, 5)
    assert found[2].startswith("#EXTINF:-1,")
    assert all(line.startswith("# ") for line in found[3:-1])
    place = found[-1]
    assert place.endswith(".mp3")
    assert not place.startswith(("#", " ", "."))
    assert not set(place) & set('/\\:*?"<>|')
    assert len(place.encode()) <= 204
    assert not any(unicodedata.category(c) == "Cc" for c in text.replace("\n", ""))
