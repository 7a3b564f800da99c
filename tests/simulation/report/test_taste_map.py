import re
from xml.etree import ElementTree

import numpy as np

from fedpersona.simulation.report.taste_map import draw_taste_map
from fedpersona.taste import Shared

NASTY = [
    "A$AP & $^_{bad}$ <b>",
    "]]> --> <script>alert(1)</script>",
    "線の音楽",
    "\x00\x1b[31mred\u202eevil",
    "line\nbreak",
    "",
    "x" * 500,
]


def test_points_carry_the_colour_of_their_tag_and_their_name(make_space, make_catalogue):
    drawn = draw_taste_map(make_space(), make_catalogue())
    assert drawn.by_tag
    assert drawn.items == 120
    assert drawn.drawing.inline.count("<title>") == 120
    assert "<title>Song 7 — Band 0 · tag 3</title>" in drawn.drawing.inline
    assert "var(--group-4)" in drawn.drawing.inline
    assert "var(--group-5)" not in drawn.drawing.inline


def test_tags_beyond_the_eighth_share_one_colour(make_space, make_catalogue):
    drawn = draw_taste_map(make_space(), make_catalogue(groups=11))
    assert "other tags" in drawn.drawing.svg
    assert "tag 7" in drawn.drawing.svg
    assert ">tag 9<" not in drawn.drawing.svg


def test_without_tags_points_are_coloured_by_listeners(make_space, make_catalogue):
    drawn = draw_taste_map(make_space(), make_catalogue(tags=False))
    assert not drawn.by_tag
    assert "97 to 120 listeners" in drawn.drawing.svg
    assert "1 to 24 listeners" in drawn.drawing.svg
    drawn = draw_taste_map(make_space(), make_catalogue(tags=False), counts="vote")
    assert "97 to 120 votes" in drawn.drawing.svg
    assert drawn.drawing.alt.endswith("number of votes")


def test_titles_of_any_kind_give_well_formed_drawings(make_space, make_catalogue):
    titles = [NASTY[row % len(NASTY)] for row in range(40)]
    drawn = draw_taste_map(make_space(40), make_catalogue(40, titles=titles))
    for text in (drawn.drawing.svg, drawn.drawing.inline):
        root = ElementTree.fromstring(text.replace("xlink:href", "href"))
        assert not [element for element in root.iter() if element.tag.endswith("script")]
    assert "A$AP &amp; $^_{bad}$ &lt;b&gt;" in drawn.drawing.inline


def test_names_on_the_map_do_not_lie_on_each_other(make_space, make_catalogue):
    drawn = draw_taste_map(make_space(), make_catalogue())
    places = re.findall(r'<g id="label\d+">.*? x="([\d.]+)" y="([\d.]+)"', drawn.drawing.svg, flags=re.DOTALL)
    x, y = np.array(places, np.float64).T
    assert 2 <= len(places) <= 14
    apart = (np.abs(y[:, None] - y) > 10) | (np.abs(x[:, None] - x) > 20)
    assert apart[~np.eye(len(places), dtype=bool)].all()


def test_there_is_no_map_of_popularity_or_of_three_items(make_space, make_catalogue):
    listeners = np.ones(120, np.float32)
    assert draw_taste_map(Shared("popularity", "v", 1, {"listeners": listeners}), make_catalogue()) is None
    assert draw_taste_map(make_space(3), make_catalogue(3)) is None
