from __future__ import annotations

import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedpersona.catalogue import Catalogue
from fedpersona.device.matching import Matcher, normalised_artist, normalised_title
from fedpersona.errors import DataError

MBID = "mbid:6f1d7c5e-0000-4000-8000-00000000000a"
SPOTIFY = "spotify:track:0123456789abcdefghijkl"


def songs(*names: tuple[str, str], links=None, ids=None, kind="track") -> Matcher:
    return Matcher(
        Catalogue.create(
            ids or [f"i{row}" for row in range(len(names))],
            artists=[artist for artist, _ in names],
            titles=[title for _, title in names],
            links=links,
            kind=kind,
        )
    )


# One recording, spelt in two ways.


@pytest.mark.parametrize(
    "other",
    [
        "HARBOUR LIGHT",
        "  Harbour   Light ",
        "Harbour-Light",
        "Hárbour Light",
        "Ｈａｒｂｏｕｒ Ｌｉｇｈｔ",
        "Harbour Light (feat. Ana Vell)",
        "Harbour Light [ft. Ana Vell]",
        "Harbour Light (with Ana Vell)",
        "Harbour Light feat. Ana Vell",
        "Harbour Light ft Ana Vell (Radio Edit)",
        "Harbour Light featuring Ana Vell - Remastered 2011",
        "Harbour Light - feat. Ana Vell",
        "Harbour Light (feat. Ana Vell",
        "Harbour Light - Remastered",
        "Harbour Light - Remastered 2011",
        "Harbour Light – 2015 Remaster",
        "Harbour Light (2009 Remaster)",
        "Harbour Light [2009 Digital Remaster]",
        "Harbour Light (Remastered Version)",
        "Harbour Light - Mono Version",
        "Harbour Light - 2009 Mono Mix",
        "Harbour Light (Stereo)",
        "Harbour Light - 2019 Mix",
        "Harbour Light - Radio Edit",
        "Harbour Light (Single Version)",
        "Harbour Light (Album Version) [Explicit]",
        "Harbour Light - Deluxe Edition",
        "Harbour Light (25th Anniversary Edition)",
        "Harbour Light - Remastered 2009 / Bonus Track",
        'Harbour Light (From "The Long Coast")',
        "Harbour Light - From The Long Coast Soundtrack",
        "Harbour Light (Official Video)",
    ],
)
def test_an_edition_of_a_recording_is_that_recording(other):
    assert normalised_title(other) == normalised_title("Harbour Light")
    assert songs(("Orla Finn", "Harbour Light")).row("orla finn", other) == 0
    assert songs(("Orla Finn", other)).row("Orla Finn", "Harbour Light") == 0


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("The Tidal Parade", "Tidal Parade"),
        ("The Tidal Parade", "Tidal Parade, The"),
        ("Mika & Sol", "Mika and Sol"),
        ("Mika + Sol", "MIKA AND SOL"),
        ("Knives N' Tulips", "Knives and Tulips"),
        ("Q.R.S.", "QRS"),
        ("M!LK", "Milk"),
        ("Ru$ty", "Rusty"),
        ("Sólveig Ørn", "Solveig Orn"),
        ("Orla Finn feat. Ana Vell", "Orla Finn"),
        ("Orla Finn (feat. Ana Vell)", "Orla Finn"),
        ("Straße", "STRASSE"),
        ("İzel", "izel"),
        ("ﾊﾛｰ", "ハロー"),
        (unicodedata.normalize("NFD", "노래"), "노래"),
        (unicodedata.normalize("NFD", "がらす"), "がらす"),
        ("مَرْيَم", "مريم"),
        ("O’Dell", "O'Dell"),
    ],
)
def test_an_artist_is_the_same_in_either_spelling(one, other):
    assert normalised_artist(one) == normalised_artist(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [("Rock 'n' Roll", "Rock & Roll"), ("Don’t Go", "Dont Go"), ("Re: Coast", "RE:COAST"), ("Déjà-vu", "deja vu")],
)
def test_a_title_is_the_same_in_either_spelling(one, other):
    assert normalised_title(one) == normalised_title(other)


# Two recordings that look alike.

TRAPS = [
    "Harbour Light",
    "Harbour Light (Live)",
    "Harbour Light - Live at the Long Pier",
    "Harbour Light (Remix)",
    "Harbour Light (Ana Vell Remix)",
    "Harbour Light (Acoustic)",
    "Harbour Light (Demo)",
    "Harbour Light - Instrumental",
    "Harbour Light (Orla's Version)",
    "Harbour Light (2014 Version)",
    'Harbour Light (12" Version)',
    "Harbour Light - Extended Mix",
    "Harbour Light, Pt. 2",
    "Harbour Light II",
    "Harbour Light (Reprise)",
    "Harbour Light (feat. Ana Vell - Live Session)",
    "Harbour Light feat. Ana Vell Extended Remix",
    "Harbour Light (Sped Up)",
    "Harbour Light (with Strings)",
    "Harbour Lights",
    "Harbour",
    "The Harbour Light",
]


def test_what_is_another_recording_is_never_taken_for_it():
    keys = [normalised_title(title) for title in TRAPS]
    assert len(set(keys)) == len(keys)
    matcher = songs(*[("Orla Finn", title) for title in TRAPS])
    assert [matcher.row("Orla Finn", title) for title in TRAPS] == list(range(len(TRAPS)))


@pytest.mark.parametrize("title", TRAPS[1:])
def test_another_recording_does_not_fall_back_to_the_song(title):
    assert songs(("Orla Finn", "Harbour Light")).row("Orla Finn", title) is None


def test_a_live_recording_is_itself_in_a_remaster_too():
    keys = {normalised_title(f"Coast{note}") for note in (" - Live", " (Live)", " - Live / Remastered 2011")}
    assert len(keys) == 1
    assert normalised_title("Coast - Live at the Pier - Remastered 2011") == normalised_title(
        "Coast (Live at the Pier)"
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("50 Ft. Coast", "50"),
        ("Dancing with Wolves", "Dancing"),
        ("With or Without", "With"),
        ("が", "か"),
        ("ば", "ぱ"),
        ("कि", "की"),
        ("กา", "กี"),
        ("Live Forever", "Forever"),
        ("Mono", "Stereo"),
        ("(Remastered)", "(Live)"),
        ("???", "!!!"),
        ("+", "÷"),
    ],
)
def test_titles_that_differ_in_more_than_a_note_stay_apart(one, other):
    assert normalised_title(one) != normalised_title(other)


def test_a_band_with_guests_in_its_very_name_is_not_cut():
    assert normalised_artist("Walking with Foxes") != normalised_artist("Walking")
    assert normalised_artist("The") != normalised_artist("Band")


@pytest.mark.parametrize(
    "title",
    ["(Waitin' on) The Quay by the Sea", "()", "???", "!!!", "(feat. Nobody)", "Remastered", "- Live", "🌊", "夜の海"],
)
def test_a_title_all_in_brackets_or_signs_is_found_by_itself(title):
    assert normalised_title(title)
    matcher = songs(("Orla Finn", title), ("Orla Finn", "Another"))
    assert matcher.row("Orla Finn", title) == 0
    assert matcher.row("Orla Finn", "Yet Another") is None


# Whatever comes.

PIECES = (
    ["the ", "Song", "が", "İ", "ß", " - ", "(", ")", "[", "]", "feat. ", "ft ", "with ", "Live", "Remastered 2011"],
    ["&", "+", " n ", "'", "$", "!", ", the", " / ", "\u3099", "\u200d", "\u0301", "한", "कि", "ﷺ", "ŉ", "2019 Mix"],
)
NAMES = st.text(max_size=60) | st.lists(st.sampled_from([*PIECES[0], *PIECES[1]]), max_size=8).map("".join)


@given(NAMES)
def test_normalising_twice_is_normalising_once(name):
    artist, title = normalised_artist(name), normalised_title(name)
    assert normalised_artist(artist) == artist
    assert normalised_title(title) == title


@given(NAMES)
def test_no_name_is_lost_and_every_name_is_found_by_itself(name):
    assert bool(normalised_title(name)) == bool(name.strip())
    assert songs(("Orla Finn", name)).row("Orla Finn", name) == (0 if name.strip() else None)
    assert songs((name, "Coast")).row(name, "Coast") == 0


@given(NAMES)
def test_case_and_composition_never_matter(name):
    assert normalised_title(unicodedata.normalize("NFD", name)) == normalised_title(unicodedata.normalize("NFC", name))


def test_names_of_the_greatest_length_take_no_time_to_speak_of():
    for name in ("(" * 1000, "feat. " * 160, " - live" * 140, " - Remastered" * 75, "from " * 200, "a!" * 500):
        normalised_title(name)
        normalised_artist(name)


# Ids.


def test_an_id_counts_before_the_names():
    matcher = songs(("A", "x"), ("B", "y"), links=[[MBID], [SPOTIFY]])
    assert matcher.row("B", "y", (MBID,)) == 0
    assert matcher.row("nobody", "nothing", (SPOTIFY,)) == 1
    assert matcher.row("nobody", "nothing", ("spotify:track:another", MBID)) == 0
    assert matcher.row("A", "x", ("spotify:track:another",)) == 0


def test_the_first_id_that_is_known_counts_and_of_two_rows_the_first():
    matcher = songs(("A", "x"), ("B", "y"), ("C", "z"), links=[[MBID], [SPOTIFY, MBID], [SPOTIFY]])
    assert matcher.row("", "", (SPOTIFY, MBID)) == 1
    assert matcher.row("", "", (MBID, SPOTIFY)) == 0


def test_an_item_whose_own_id_is_a_link_is_found_by_it():
    assert songs(("A", "x"), ("B", "y"), ids=["i0", SPOTIFY]).row("?", "?", (SPOTIFY,)) == 1


def test_the_letters_of_a_musicbrainz_id_have_no_case_those_of_spotify_do():
    matcher = songs(("A", "x"), ("B", "y"), links=[[MBID.upper().replace("MBID", "mbid")], [SPOTIFY]])
    assert matcher.row("", "", (MBID,)) == 0
    assert matcher.row("", "", (SPOTIFY,)) == 1
    assert matcher.row("", "", (SPOTIFY[:-1] + "L",)) is None


# Several artists.


@pytest.mark.parametrize("artist", ["Orla Finn, Ana Vell", "Orla Finn; Ana Vell", "Orla Finn;Ana Vell", "Orla Finn,"])
def test_of_several_artists_the_first_is_tried(artist):
    assert songs(("Orla Finn", "Coast")).row(artist, "Coast") == 0
    assert songs((artist, "Coast")).row("Orla Finn", "Coast") == 0
    assert songs(("Ana Vell", "Coast")).row(artist, "Coast") is None


def test_a_whole_name_comes_before_a_part_of_one():
    matcher = songs(("Earl, Rain & Fire", "Coast"), ("Earl", "Coast"))
    assert matcher.row("Earl", "Coast") == 1
    assert matcher.row("Earl, Rain & Fire", "Coast") == 0


def test_of_two_rows_with_the_same_name_the_first_counts():
    assert songs(("A", "x"), ("a", "X (Remastered)"), ("A", "x")).row("A", "X") == 0


def test_a_listen_without_an_artist_matches_only_what_has_none():
    assert songs(("Orla Finn", "Coast")).row("", "Coast") is None
    assert songs(("", "Coast")).row("", "Coast") == 0
    assert songs(("", "")).row("", "") is None


# Catalogues of artists.


def artists(*names: str) -> Matcher:
    return Matcher(Catalogue.create([f"a{n}" for n in range(len(names))], titles=names, kind="artist"))


def test_in_a_catalogue_of_artists_a_track_is_its_artist():
    matcher = artists("The Tidal Parade", "Orla Finn")
    assert matcher.row("tidal parade", "anything") == 0
    assert matcher.row("Orla Finn feat. Ana Vell", "") == 1
    assert matcher.row("Orla Finn; Ana Vell", "x") == 1
    assert matcher.row("Ana Vell", "Orla Finn", (MBID,)) is None
    assert matcher.row("", "x") is None
    assert matcher.row(" ", "x") is None


def test_a_comma_in_a_name_is_a_list_only_where_each_of_it_is_known():
    matcher = artists("Earl", "Orla Finn")
    assert matcher.row("Earl, Rain & Fire", "x") is None
    assert matcher.row("Orla Finn, Earl", "x") == 1


# Many at once.


def test_many_tracks_give_rows_and_the_shares_of_tracks_and_plays():
    matcher = songs(("A", "x"), ("B", "y"), links=[[], [MBID]])
    matched = matcher.match([("a", "X", ()), ("?", "?", ()), ("", "", (MBID,)), ("A", "x (Live)", ())], [6, 1, 2, 1])
    assert matched.rows.dtype == np.int32
    assert matched.rows.tolist() == [0, -1, 1, -1]
    assert (matched.share_of_tracks, matched.share_of_plays) == (0.5, 0.8)
    assert matcher.match([("A", "x", ()), ("?", "?", ())]).share_of_plays == 0.5


def test_no_tracks_are_no_share_of_anything():
    matched = songs(("A", "x")).match(iter(()), [])
    assert (matched.rows.size, matched.share_of_tracks, matched.share_of_plays) == (0, 0.0, 0.0)


def test_plays_that_do_not_fit_the_tracks_are_refused():
    with pytest.raises(DataError, match="1 tracks but plays of shape"):
        songs(("A", "x")).match([("A", "x", ())], [1, 2])


def test_the_repr_tells_shares_and_nothing_else():
    matched = songs(("Orla Finn", "Coast")).match([("Orla Finn", "Coast", ()), ("Ana Vell", "Pier", ())])
    assert repr(matched) == "Matched(50.0% of 2 tracks, 50.0% of plays)"
