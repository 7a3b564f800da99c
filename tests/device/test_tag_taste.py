from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedpersona.catalogue import Catalogue
from fedpersona.device.playlist import WeeklyConfig, weekly_list
from fedpersona.device.tag_taste import TagTaste
from fedpersona.errors import DataError
from fedpersona.plays import Plays
from fedpersona.simulation.datasets.leave_one_out import by_time
from fedpersona.simulation.evaluation.ranking import ndcg_at
from fedpersona.simulation.synthetic import generate


def played(*rows: int, weights=None) -> Plays:
    return Plays(np.array(rows, np.int32), np.array(weights or [1.0] * len(rows), np.float32))


FOLK_AND_TECHNO = Catalogue.create(
    [f"i{row}" for row in range(8)],
    titles=[f"Song {row}" for row in range(8)],
    artists=["Orla Finn", "Ana Vell", "The Pier", "Kilo", "Mega", "Giga", "Orla Finn", "Nobody"],
    tags=[
        ["folk", "mellow", "1990s"],
        ["folk", "mellow", "1990s"],
        ["folk", "protest", "1960s"],
        ["techno", "dark", "1990s"],
        ["techno", "dark", "2010s"],
        ["techno", "mellow", "2000s"],
        ["choral"],
        [],
    ],
    kind="track",
)


def ranking(taste: TagTaste) -> list[int]:
    return np.argsort(-taste.scores(), kind="stable").tolist()


def test_what_shares_more_of_what_was_played_comes_first():
    order = ranking(TagTaste(FOLK_AND_TECHNO, played(0)))
    assert order[:2] == [0, 1]
    assert order.index(2) < order.index(4)  # folk beside techno
    order = ranking(TagTaste(FOLK_AND_TECHNO, played(4)))
    assert order[:2] == [4, 3]


def test_the_same_artist_counts_where_no_tag_is_shared():
    order = ranking(TagTaste(FOLK_AND_TECHNO, played(6)))
    assert order[:2] == [6, 0]


def test_what_is_played_more_counts_more_but_not_in_proportion():
    little = TagTaste(FOLK_AND_TECHNO, played(1, 4, weights=[1, 2])).scores()
    much = TagTaste(FOLK_AND_TECHNO, played(1, 4, weights=[1, 200])).scores()
    assert little[3] > little[0] * 0.5
    assert much[3] / much[0] > little[3] / little[0]
    assert much[3] / much[0] < 100 * little[3] / little[0]


def test_a_rare_tag_says_more_than_one_that_all_have():
    tags = [["rock", "sitar"], ["rock"], ["sitar"], *[["rock"]] * 30]
    catalogue = Catalogue.create(map(str, range(33)), tags=tags)
    assert ranking(TagTaste(catalogue, played(0)))[1] == 2


def test_with_nothing_known_it_is_the_order_of_the_catalogue():
    for artists in (None, {}, {"Somebody Else": 5.0}, {"": 3.0}):
        taste = TagTaste(FOLK_AND_TECHNO, played(), artists)
        assert not taste.personal
        assert ranking(taste) == list(range(8))
        assert taste.explain(3, played()).shape == (0,)


def test_what_shares_nothing_comes_last_in_the_order_of_the_catalogue():
    assert ranking(TagTaste(FOLK_AND_TECHNO, played(4)))[-2:] == [6, 7]
    unknown = TagTaste(FOLK_AND_TECHNO, played(7))
    assert unknown.personal
    assert ranking(unknown)[0] == 7  # its own artist; then the others as they stand
    assert ranking(unknown)[1:] == list(range(7))


def test_an_unknown_track_of_a_known_artist_counts_for_what_the_catalogue_has_of_them():
    taste = TagTaste(FOLK_AND_TECHNO, played(), {"ANA VELL feat. Kilo": 3.0, "Somebody Else": 99.0})
    assert taste.personal
    assert ranking(taste)[:2] == [1, 0]
    pier = TagTaste(FOLK_AND_TECHNO, played(), {"Pier": 1.0, "The Pier": 2.0}).scores()
    assert np.array_equal(pier, TagTaste(FOLK_AND_TECHNO, played(), {"The Pier": 3.0}).scores())


def test_an_artist_of_many_tracks_counts_as_one_favourite():
    catalogue = Catalogue.create(
        map(str, range(12)), artists=["Many"] * 10 + ["One", ""], tags=[["folk"]] * 10 + [["techno"], ["techno"]]
    )
    many, one = (TagTaste(catalogue, played(), {name: 1.0}) for name in ("Many", "One"))
    both = TagTaste(catalogue, played(), {"Many": 1.0, "One": 1.0}).scores()
    assert ranking(many)[0] == 0
    assert ranking(one)[0] == 10
    assert both[10] > 0.3 * both[0]


def test_weights_that_are_no_numbers_are_left_out():
    taste = TagTaste(FOLK_AND_TECHNO, played(0), {"Kilo": np.nan, "Mega": np.inf, "Giga": -1.0})
    assert np.array_equal(taste.scores(), TagTaste(FOLK_AND_TECHNO, played(0)).scores())


def test_in_a_catalogue_of_artists_the_artists_are_the_items():
    catalogue = Catalogue.create(
        "abc", titles=["Orla", "Ana", "Kilo"], tags=[["folk"], ["folk"], ["dub"]], kind="artist"
    )
    assert ranking(TagTaste(catalogue, played(0))) == [0, 1, 2]
    assert ranking(TagTaste(catalogue, played(), {"Kilo": 1.0}))[0] == 2


def test_a_catalogue_without_tags_or_artists_is_in_its_own_order():
    assert ranking(TagTaste(Catalogue.create("abc"), played(2))) == [0, 1, 2]
    assert TagTaste(Catalogue.create("a"), played(0)).scores().shape == (1,)


def test_plays_of_another_catalogue_are_refused():
    with pytest.raises(DataError, match="another version of the catalogue"):
        TagTaste(FOLK_AND_TECHNO, played(0, 8))


def test_the_explanation_is_the_share_of_each_play_in_the_score():
    plays = played(0, 2, 3, 4, weights=[5, 1, 2, 9])
    taste = TagTaste(FOLK_AND_TECHNO, plays)
    scores = taste.scores()
    assert taste.explain(6, plays).tolist() == [taste.explain(6, played(0))[0] * np.log(6) / np.log(2), 0, 0, 0]
    assert (taste.explain(1, plays) > 0).tolist() == [True, True, True, False]
    one, other = taste.explain(1, plays).sum(), taste.explain(5, plays).sum()
    fame = TagTaste(FOLK_AND_TECHNO, played()).scores()
    assert (scores[1] / fame[1]) / (scores[5] / fame[5]) == pytest.approx(one / other, rel=1e-4)


def test_the_weekly_list_says_because_you_played_what_is_most_alike():
    plays = played(0, 4)
    taste = TagTaste(FOLK_AND_TECHNO, plays)
    picks = weekly_list(
        taste.scores(),
        plays,
        FOLK_AND_TECHNO,
        week=(2025, 7),
        person_key=1,
        config=WeeklyConfig(exploration=0),
        explain=taste.explain,
    )
    reasons = {pick.row: pick.reason for pick in picks}
    assert reasons[1] == "because you played Song 0 — Orla Finn"
    assert reasons[3].startswith("because you played Song 4 — Mega")
    assert reasons[7] == "next in the ranking of tracks you have not played"


def test_the_repr_tells_a_count_only():
    assert repr(TagTaste(FOLK_AND_TECHNO, played(0, 4), {"Kilo": 1.0})) == "TagTaste(2 items played of 8)"


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_scores_are_finite_above_zero_and_the_same_again(data):
    count = data.draw(st.integers(1, 40))
    names = st.text("ab&, ", max_size=3)
    catalogue = Catalogue.create(
        map(str, range(count)),
        artists=data.draw(st.lists(names, min_size=count, max_size=count)),
        tags=data.draw(st.lists(st.lists(names, max_size=7), min_size=count, max_size=count)),
        kind=data.draw(st.sampled_from(("track", "artist"))),
    )
    rows = data.draw(st.sets(st.integers(0, count - 1)))
    weights = st.floats(2.0**-140, 2.0**120, width=32)
    plays = played(*sorted(rows), weights=data.draw(st.lists(weights, min_size=len(rows), max_size=len(rows))))
    artists = data.draw(st.dictionaries(names, st.floats()))
    taste = TagTaste(catalogue, plays, artists)
    scores = taste.scores()
    assert scores.dtype == np.float64
    assert scores.shape == (count,)
    assert np.isfinite(scores).all()
    assert (scores > 0).all()
    assert np.array_equal(scores, TagTaste(catalogue, plays, artists).scores())
    added = taste.explain(count - 1, plays)
    assert added.shape == (len(rows),)
    assert np.isfinite(added).all()


def test_on_invented_people_it_finds_what_they_play_next_far_better_than_popularity():
    split = by_time(generate(people=150, items=600, seed=3))
    counts = split.train.item_counts.astype(np.float64)

    def ndcg(scores) -> float:
        ranks = []
        for person in range(len(split.train)):
            values = scores(person).copy()
            values[split.train.plays(person).items] = -1.0
            ranks.append(np.count_nonzero(values >= values[split.test[person]]) - 1)
        return float(ndcg_at(np.array(ranks), 10).mean())

    by_tags = ndcg(lambda person: TagTaste(split.catalogue, split.train.plays(person)).scores())
    assert by_tags > 1.2 * ndcg(lambda person: counts)
