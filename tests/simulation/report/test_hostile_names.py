"""Names from data stay words: they change no drawing and no page around them."""

from __future__ import annotations

import re
from xml.dom import minidom

import pytest

from fedpersona.catalogue import Catalogue
from fedpersona.simulation import RunConfig, Split, simulate, write_run
from fedpersona.simulation.population import Population
from tests.conftest import hold_out, invent

HOSTILE = [
    "font-family: x",
    "font: 12px y",
    'a" id="b',
    "url(#c) #3f6ad8",
    "<script>alert(1)</script>",
    "&amp; ]]> --> $x$",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_title_or_tag_leaves_every_drawing_well_formed(name, tmp_path):
    split = hold_out(invent())
    items = len(split.catalogue)
    titles = [f"{name} {row}" for row in range(items)]
    catalogue = Catalogue.create(split.catalogue.ids, titles=titles, tags=[(name,)] * items, kind="track")
    train = split.train
    renamed = Population("invented", catalogue, train.indptr, train.items, train.weights, train.times, train.person_ids)
    config = RunConfig(dataset="invented", model="subspace", settings={"dim": 3, "rounds": 2}, ceiling=False)
    write_run(simulate(config, split=Split(renamed, split.val, split.test)), tmp_path / "a")
    for drawing in (tmp_path / "a").glob("*.svg"):
        minidom.parse(str(drawing))
    page = (tmp_path / "a/report.html").read_text()
    assert "<script" not in page
    for inline in re.findall(r"<svg .*?</svg>", page, re.DOTALL):
        minidom.parseString(
            inline.replace("<svg ", '<svg xmlns:xlink="x" ', 1) if "xmlns:xlink" not in inline else inline
        )
