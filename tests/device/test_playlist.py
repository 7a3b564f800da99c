from __future__ import annotations

import time
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from fedpersona.catalogue import Catalogue
from fedpersona.device.playlist import Pick, WeeklyConfig, weekly_list
from fedpersona.errors import ConfigError, DataError, NonFiniteScore
from fedpersona.plays import Plays

WEEK = (2025, 7)
NEXT_WEEK = (2025, 8)
WORDS = ("dream-pop", "shoegaze", "jazz", "metal", "house", "folk")


def played(*rows: int, weights: tuple[float, ...] | None = None) -> Plays:
    return Plays(np.array(rows, np.int32), np.array(weights or (1.0,) * len(rows), np.float32))


def songs(count: int, *, songs_an_artist: int = 1) -> Catalogue:
    return Catalogue.create(
        (f"s{row}" for row in range(count)),
        titles=[f"Song {row}" for row in range(count)],
        artists=[f"Band {row // songs_an_artist}" for row in range(count)],
        kind="track",
    )


def falling(count: int) -> np.ndarray:
    """Scores by which row 0 is best, then row 1, and so on."""
    return np.arange(count, 0, -1, dtype=np.float64)


def make(scores, plays, catalogue, *, week=WEEK, person_key=11, **others) -> tuple[Pick, ...]:
    return weekly_list(scores, plays, catalogue, week=week, person_key=person_key, **others)


def rows_of(picks: tuple[Pick, ...]) -> list[int]:
    return [pick.row for pick in picks]


NO_EXPLORING = WeeklyConfig(exploration=0)


# Ugly cases first.


def test_everything_played_gives_an_empty_list():
    assert make(falling(3), played(0, 1, 2), songs(3)) == ()


def test_a_catalogue_of_one_item_gives_that_item():
    assert rows_of(make(falling(1), played(), songs(1))) == [0]
    assert make(falling(1), played(0), songs(1)) == ()


def test_fewer_items_than_the_length_gives_all_that_was_not_played():
    assert sorted(rows_of(make(falling(12), played(3, 5), songs(12)))) == [0, 1, 2, 4, 6, 7, 8, 9, 10, 11]


def test_a_few_items_more_than_the_length_still_fill_the_list():
    picks = make(falling(33), played(0), songs(33))
    assert len(picks) == 30
    assert Counter(pick.kind for pick in picks) == {"taste": 28, "exploration": 2}


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_not_finite_is_an_error_that_names_the_item(bad):
    scores = falling(5)
    scores[3] = bad
    with pytest.raises(NonFiniteScore, match=r"Song 3.*row 3"):
        make(scores, played(1), songs(5))


@pytest.mark.parametrize("shape", [(4,), (6,), (5, 1), ()])
def test_scores_of_another_shape_than_the_catalogue_are_refused(shape):
    with pytest.raises(DataError, match="5 tracks"):
        make(np.ones(shape), played(1), songs(5))


def test_plays_and_previous_lists_outside_the_catalogue_are_refused():
    with pytest.raises(DataError, match=r"plays\.items.*another version"):
        make(falling(5), played(5), songs(5))
    for wrong in ([-1], [5], [0.5], [[0]]):
        with pytest.raises(DataError, match=r"previous\[0\]"):
            make(falling(5), played(0), songs(5), previous=[np.array(wrong)])


@pytest.mark.parametrize("week", [(2025, 0), (2025, 53), (2025, 54), (0, 1), (10000, 1)])
def test_a_week_that_does_not_exist_is_refused(week):
    with pytest.raises(ConfigError, match="ISO week"):
        make(falling(5), played(0), songs(5), week=week)


def test_the_53rd_week_of_a_long_year_exists():
    assert make(falling(5), played(0), songs(5), week=(2026, 53))


def test_a_negative_person_key_is_refused():
    with pytest.raises(ConfigError, match="person key"):
        make(falling(5), played(0), songs(5), person_key=-1)


@pytest.mark.parametrize(
    "setting",
    [
        {"length": 0},
        {"per_artist": 0},
        {"exploration": 1.1},
        {"exploration": float("nan")},
        {"gap": -1},
        {"depth": 1},
        {"speed": 1},
    ],
)
def test_settings_out_of_range_are_refused(setting):
    with pytest.raises(ValidationError):
        WeeklyConfig(**setting)


def test_every_setting_is_described():
    assert all(field.description for field in WeeklyConfig.model_fields.values())


def test_an_explanation_of_the_wrong_length_or_not_finite_is_refused():
    with pytest.raises(DataError, match="explanation"):
        make(falling(5), played(0, 1), songs(5), explain=lambda row, plays: np.ones(3))
    with pytest.raises(NonFiniteScore, match="explanation"):
        make(falling(5), played(0, 1), songs(5), explain=lambda row, plays: np.array([1.0, np.nan]))


# What is on it.


def test_without_exploration_the_list_is_the_top_of_the_ranking_that_was_not_played():
    picks = make(falling(100), played(0, 2), songs(100), config=NO_EXPLORING)
    assert rows_of(picks) == [1, *range(3, 32)]
    assert [pick.score for pick in picks] == [100.0 - row for row in rows_of(picks)]


def test_equal_scores_go_to_the_lower_row_even_across_blocks_of_the_sort():
    config = WeeklyConfig(length=700, exploration=0)
    assert rows_of(make(np.zeros(3000), played(0), songs(3000), config=config)) == list(range(1, 701))


def test_the_ranking_is_a_full_stable_sort_however_deep_the_list_must_look():
    scores = np.random.default_rng(3).integers(0, 40, 5000).astype(np.float64)
    config = WeeklyConfig(length=1000, exploration=0)
    expected = [row for row in np.argsort(-scores, kind="stable").tolist() if row != 7][:1000]
    assert rows_of(make(scores, played(7), songs(5000), config=config)) == expected


def with_twins(*, links=None, kind="track") -> Catalogue:
    """Twenty songs, and rows 20 to 29 are songs 0 to 9 once more, spelt a little otherwise."""
    names = [f"Song {row}" for row in range(20)]
    bands = [f"The Band {row}" for row in range(20)]
    return Catalogue.create(
        map(str, range(30)),
        titles=names + [f"SONG {row} - Remastered 2011" for row in range(10)],
        artists=bands + [f"Band {row}" for row in range(10)],
        links=links,
        kind=kind,
    )


@pytest.mark.parametrize("shift", [0, 20])
def test_who_played_a_recording_under_one_id_is_not_given_it_under_another(shift):
    heard = [row + shift for row in range(8)]
    for explore in (0.0, 1.0):
        picks = make(falling(30), played(*heard), with_twins(), config=WeeklyConfig(exploration=explore))
        rows = rows_of(picks)
        assert not {row % 20 for row in rows if row % 20 < 10} & set(range(8))
        assert len(rows) == 12


def test_a_recording_is_on_a_list_under_one_id_only():
    rows = rows_of(make(falling(30), played(), with_twins()))
    assert rows == list(range(20))
    assert rows_of(make(-falling(30), played(), with_twins()))[:10] == list(range(29, 19, -1))


def test_a_recording_that_was_listed_under_another_id_waits_as_long():
    config = WeeklyConfig(exploration=0, length=10)
    rows = rows_of(make(falling(30), played(), with_twins(), config=config, previous=[np.arange(20, 30)]))
    assert rows == list(range(10, 20))


def test_rows_that_share_a_link_are_one_recording_through_others_too():
    mbid = "mbid:6F1D7C5E-0000-4000-8000-00000000000A"
    links = [(), (mbid,), *[()] * 16, ("spotify:track:a", mbid.lower()), ("spotify:track:a",), *[()] * 10]
    rows = rows_of(make(falling(30), played(19), with_twins(links=links)))
    assert not set(rows) & {1, 18, 19, 21}
    assert len(rows) == 17


def test_a_live_version_another_artists_song_and_what_has_no_artist_stay_apart():
    catalogue = Catalogue.create(
        "abcdef",
        titles=["Song", "Song - Live", "Song", "Song", "Song", "Song (Remix)"],
        artists=["Band", "Band", "Other", "", "", "Band"],
        kind="track",
    )
    assert sorted(rows_of(make(falling(6), played(0), catalogue))) == [1, 2, 3, 4, 5]


def test_an_artist_listed_twice_is_one():
    catalogue = Catalogue.create("abc", titles=["The Band", "Band", "Others"], kind="artist")
    assert rows_of(make(falling(3), played(0), catalogue)) == [2]


def test_no_artist_is_on_it_more_often_than_agreed():
    catalogue = songs(400, songs_an_artist=8)
    picks = make(falling(400), played(399), catalogue)
    counts = Counter(catalogue.artists[row] for row in rows_of(picks))
    assert len(picks) == 30
    assert max(counts.values()) == 2


def test_the_artist_cap_holds_even_where_nothing_else_is_left():
    catalogue = Catalogue.create(map(str, range(2000)), artists=["One Band"] * 2000)
    assert rows_of(make(falling(2000), played(0), catalogue, config=NO_EXPLORING)) == [1, 2]


def test_an_unknown_artist_is_not_capped():
    catalogue = Catalogue.create(map(str, range(100)))
    assert len(make(falling(100), played(0), catalogue)) == 30


def test_exploration_comes_from_below_the_list_and_above_its_depth_evenly_spread():
    picks = make(falling(1000), played(999), songs(1000))
    exploring = [place for place, pick in enumerate(picks) if pick.kind == "exploration"]
    assert exploring == [5, 11, 17, 23, 29]
    assert all(30 <= picks[place].row < 300 for place in exploring)
    assert [pick.row for pick in picks if pick.kind == "taste"] == list(range(25))


def test_the_share_of_exploration_is_as_set():
    for share, expected in ((0.0, 0), (0.1, 3), (0.2, 6), (1.0, 30)):
        picks = make(falling(1000), played(999), songs(1000), config=WeeklyConfig(exploration=share))
        assert sum(pick.kind == "exploration" for pick in picks) == expected


def exploring_rows(catalogue: Catalogue, plays: Plays, config: WeeklyConfig) -> list[int]:
    """What exploration drew in 80 weeks."""
    scores = falling(len(catalogue))
    weeks = ((year, week) for year in (2024, 2025) for week in range(1, 41))
    lists = (make(scores, plays, catalogue, week=week, config=config) for week in weeks)
    return [pick.row for picks in lists for pick in picks if pick.kind == "exploration"]


def tagged(count: int) -> Catalogue:
    """Even rows carry a tag that row 0 has too, odd rows one of their own."""
    tags = [("jazz",) if row % 2 == 0 else ("metal",) for row in range(count)]
    return Catalogue.create(map(str, range(count)), tags=tags, kind="track")


def test_exploration_prefers_tags_that_are_not_in_the_history():
    def odd_share(unfamiliar: float) -> float:
        rows = exploring_rows(tagged(400), played(0), WeeklyConfig(unfamiliar=unfamiliar))
        return float(np.mean(np.array(rows) % 2))

    assert 0.4 < odd_share(0.0) < 0.6
    assert odd_share(9.0) > 0.8


def test_exploration_prefers_artists_that_are_not_in_the_history():
    artists = ["Known Band" if row % 2 == 0 else f"Band {row}" for row in range(400)]
    catalogue = Catalogue.create(map(str, range(400)), artists=artists, kind="track")
    config = WeeklyConfig(unfamiliar=9.0, per_artist=1000)
    assert np.mean(np.array(exploring_rows(catalogue, played(0), config)) % 2) > 0.8


def test_exploration_draws_higher_ranks_more_often():
    rows = np.array(exploring_rows(songs(400), played(399), WeeklyConfig(unfamiliar=0.0)))
    assert (rows < 100).mean() > 0.4  # 70 of 270 ranks; an even draw would give 0.26


# Week by week.


def test_the_list_is_the_same_all_week_and_another_the_next():
    catalogue, scores = songs(500), falling(500)
    first = make(scores, played(3, 9), catalogue)
    assert make(scores.copy(), played(3, 9), songs(500)) == first
    after = make(scores, played(3, 9), catalogue, week=NEXT_WEEK, previous=[np.array(rows_of(first))])
    assert len(after) == 30
    assert not set(rows_of(after)) & set(rows_of(first))


def test_exploration_differs_between_weeks_and_between_people():
    def exploring(**others) -> set[int]:
        picks = make(falling(1000), played(999), songs(1000), **others)
        return {pick.row for pick in picks if pick.kind == "exploration"}

    assert exploring() != exploring(week=NEXT_WEEK)
    assert exploring() != exploring(person_key=12)
    assert exploring(week=(2024, 7)) != exploring(week=(2025, 7))


def test_a_week_of_lists_after_another_never_repeats_while_anything_is_left():
    catalogue, scores, lists = songs(400), falling(400), []
    for week in range(1, 9):
        lists.append(np.array(rows_of(make(scores, played(5), catalogue, week=(2025, week), previous=lists))))
    everything = np.concatenate(lists)
    assert everything.size == 240
    assert np.unique(everything).size == 240


def test_an_item_may_come_back_when_the_gap_is_over():
    config = WeeklyConfig(exploration=0, length=2, gap=1)
    lists = [np.array([0, 1]), np.array([2, 3])]
    assert rows_of(make(falling(9), played(8), songs(9), config=config, previous=lists)) == [0, 1]
    no_gap = WeeklyConfig(exploration=0, length=2, gap=0)
    assert rows_of(make(falling(9), played(8), songs(9), config=no_gap, previous=lists)) == [0, 1]
    assert rows_of(make(falling(9), played(8), songs(9), config=no_gap, previous=lists[:1])) == [0, 1]


def test_when_nothing_else_is_left_the_list_of_longest_ago_comes_back_first():
    lists = [np.array([4, 3]), np.array([1, 2]), np.array([], np.float64)]
    config = WeeklyConfig(exploration=0, length=4)
    assert rows_of(make(falling(6), played(5), songs(6), config=config, previous=lists)) == [0, 3, 4, 1]


def test_an_item_listed_twice_counts_as_listed_the_last_time():
    lists = [np.array([0, 1]), np.array([0, 2])]
    config = WeeklyConfig(exploration=0, length=2)
    assert rows_of(make(falling(4), played(3), songs(4), config=config, previous=lists)) == [1, 0]


def test_one_more_play_in_midweek_leaves_the_rest_of_the_list_alone():
    before = make(falling(1000), played(999), songs(1000))
    after = make(falling(1000), played(998, 999), songs(1000))
    assert rows_of(before) == rows_of(after)


# Reasons.


def test_with_no_plays_the_list_is_by_score_and_says_that_it_is_not_personal_yet():
    def never(row: int, plays: Plays) -> np.ndarray:
        raise AssertionError("there is nothing to explain by")

    picks = make(falling(50), played(), songs(50), explain=never)
    assert rows_of(picks) == list(range(30))
    assert {(pick.kind, pick.because) for pick in picks} == {("popular", ())}
    assert {pick.reason for pick in picks} == {"popular with many people; your own plays will shape the next list"}


def explained(kind: str, added: list[float], plays: Plays | None = None) -> Pick:
    """The one pick from four items of which 0 to 2 were played, with what each added."""
    catalogue = Catalogue.create("wxyz", titles=["Ana", "Bo", "Cy", "Di"], kind=kind)
    (pick,) = make(falling(4), plays or played(0, 1, 2), catalogue, explain=lambda row, _: np.array(added))
    return pick


def test_the_played_items_that_add_most_are_named_the_strongest_first():
    pick = explained("track", [0.5, 0.1, 0.9])
    assert (pick.kind, pick.because, pick.reason) == ("taste", (2, 0), "because you played Cy and Ana")


def test_a_second_item_that_adds_little_beside_the_first_is_not_named():
    assert explained("track", [0.9, 0.1, 0.1]).reason == "because you played Ana"


def test_the_verb_is_that_of_the_kind():
    assert explained("artist", [0.5, 0.4, 0.0]).reason == "because you listen to Ana and Bo"
    assert explained("film", [0.5, 0.4, 0.0]).reason == "because you watched Ana and Bo"


def test_what_takes_away_from_a_score_is_never_given_as_a_reason():
    assert explained("track", [-0.9, 0.3, -0.1]).because == (1,)
    nothing = explained("track", [-0.9, -0.3, 0.0])
    assert (nothing.because, nothing.reason) == ((), "next in the ranking of tracks you have not played")
    assert explained("track", [-0.9, 1e-18, 0.0]).because == ()


def test_scores_that_do_not_look_at_the_person_are_called_popular_not_taste():
    pick = explained("track", [0.0, 0.0, 0.0])
    assert (pick.kind, pick.because, pick.reason) == ("popular", (), "many people like it")


def test_an_item_that_nothing_explains_among_others_that_are_is_not_called_popular():
    picks = make(
        falling(5),
        played(0),
        songs(5),
        config=NO_EXPLORING,
        explain=lambda row, _: np.array([1.0 if row == 1 else 0.0]),
    )
    assert picks[0].reason == "because you played Song 0 — Band 0"
    assert {pick.reason for pick in picks[1:]} == {"next in the ranking of tracks you have not played"}


def few_tags() -> Catalogue:
    return Catalogue.create(
        "abcde",
        titles=["Ana", "Bo", "Cy", "Di", "Ed"],
        tags=[("jazz", "dream-pop"), ("dream-pop",), ("metal",), ("house", "dream-pop"), ("", "folk")],
        kind="artist",
    )


def test_without_an_explanation_the_reason_is_a_shared_tag_and_the_most_played_that_has_it():
    picks = make(falling(5), played(0, 1, 2, weights=(2.0, 9.0, 99.0)), few_tags())
    assert [(p.row, p.because, p.reason) for p in picks] == [
        (3, (1,), "more dream-pop, like Bo"),
        (4, (), "next in the ranking of artists you have not listened to"),
    ]


def test_what_takes_away_from_a_score_is_not_named_for_its_tag_either():
    plays = played(0, 1, 2, weights=(2.0, 9.0, 99.0))
    picks = make(falling(5), plays, few_tags(), explain=lambda row, _: np.array([0.0, -1.0, -1.0]))
    assert (picks[0].because, picks[0].reason) == ((0,), "more dream-pop, like Ana")


def test_exploration_says_that_it_is_new_what_it_is_near_and_what_is_new_in_it():
    config = WeeklyConfig(length=1, exploration=1.0)

    def reason(tags: tuple[str, ...], **others) -> str:
        catalogue = Catalogue.create(
            "abc", titles=["Ana", "Bo", "Cy"], tags=[("jazz",), ("jazz",), tags], kind="artist"
        )
        (pick,) = make(np.array([3.0, 2.0, 1.0]), played(0), catalogue, config=config, **others)
        assert (pick.row, pick.kind) == (2, "exploration")
        return pick.reason

    def near(row: int, plays: Plays) -> np.ndarray:
        return np.ones(1)

    assert reason(("jazz",), explain=near) == "something new near Ana"
    assert reason(("jazz", "folk"), explain=near) == "something new near Ana: folk"
    assert reason(("jazz", "folk")) == "something new in jazz, like Ana"
    assert reason(("folk",)) == "something new to you: folk"
    assert reason(()) == "something new to you"


def test_a_picks_repr_does_not_tell_what_was_played():
    pick = explained("track", [0.5, 0.4, 0.0])
    assert "Ana" not in repr(pick)
    assert "because" not in repr(pick)


# Whatever comes.


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_the_promises_hold_for_any_catalogue_history_and_week(data):
    count = data.draw(st.integers(1, 60))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    catalogue = Catalogue.create(
        map(str, range(count)),
        artists=[("", "A", "B", "C", f"solo {row}")[rng.integers(5)] for row in range(count)],
        tags=[tuple(rng.choice(WORDS, rng.integers(0, 4))) for _ in range(count)],
    )
    heard = np.flatnonzero(rng.random(count) < data.draw(st.sampled_from((0.0, 0.3, 1.0))))
    plays = Plays(heard.astype(np.int32), rng.integers(1, 9, heard.size).astype(np.float32))
    config = WeeklyConfig(
        length=data.draw(st.integers(1, 20)),
        per_artist=data.draw(st.integers(1, 3)),
        exploration=data.draw(st.sampled_from((0.0, 0.15, 1.0))),
    )
    before = [rng.choice(count, min(count, 5), replace=False) for _ in range(data.draw(st.integers(0, 3)))]
    added = rng.normal(size=(count, heard.size))
    picks = make(
        rng.integers(0, 6, count).astype(np.float64),
        plays,
        catalogue,
        config=config,
        previous=before,
        explain=data.draw(st.sampled_from((None, lambda row, _: added[row]))),
    )
    rows = rows_of(picks)
    assert len(set(rows)) == len(rows) <= config.length
    assert not set(rows) & set(heard.tolist())
    counts = Counter(catalogue.artists[row] for row in rows)
    del counts[""]
    assert max(counts.values(), default=0) <= config.per_artist
    assert all(set(pick.because) <= set(heard.tolist()) for pick in picks)
    left = [row for row in range(count) if row not in set(rows) | set(heard.tolist())]
    if len(rows) < config.length:  # then the artist cap holds back each one that is left
        assert all(counts[catalogue.artists[row]] >= config.per_artist for row in left)
    if np.isin(rows, np.concatenate([*before, [-1]])).any():  # a repeat: nothing fresh could be taken instead
        fresh = set(left) - set(np.concatenate(before).tolist())
        assert all(counts[catalogue.artists[row]] >= config.per_artist for row in fresh)


def test_fifty_thousand_items_take_far_less_than_a_noticeable_moment():
    count = 50_000
    rng = np.random.default_rng(0)
    catalogue, scores = songs(count, songs_an_artist=10), rng.normal(size=count)
    plays = Plays(np.arange(0, count, 100, dtype=np.int32), np.ones(500, np.float32))
    best = np.inf
    for _ in range(5):
        begin = time.process_time()
        make(scores, plays, catalogue, explain=lambda row, p: scores[p.items])
        best = min(best, time.process_time() - begin)
    assert best < 0.2  # 0.01 s measured; the bound leaves room for slow and busy machines
