import os
import re
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest

from fedpersona.simulation.report import write_report
from fedpersona.simulation.report.theme import COLOURS
from fedpersona.taste import Shared

PLOTS = {"accuracy.svg", "discovery.svg", "listeners.svg", "taste-map.svg"}


class Page(HTMLParser):
    """What a page opens, refers to and names."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.ids, self.references = [], set(), [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        if tag not in ("meta", "link", "img", "br", "hr"):
            self.open.append(tag)
        self._attributes(attributes)

    def handle_startendtag(self, tag, attributes):
        self.tags.add(tag)
        self._attributes(attributes)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def _attributes(self, attributes):
        for name, value in attributes:
            if name == "id":
                self.ids.append(value)
            if name in ("href", "src", "xlink:href"):
                self.references.append(value)


@pytest.fixture
def written(tmp_path, make_record, make_space, make_catalogue):
    write_report(make_record(), make_space(), make_catalogue(), tmp_path)
    return tmp_path


def test_a_report_is_two_texts_and_its_plots(written):
    assert {file.name for file in written.iterdir()} == {"report.md", "report.html"} | PLOTS


def test_the_page_needs_nothing_but_itself(written):
    text = (written / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == []
    assert not page.tags & {"script", "link", "img", "iframe", "object"}
    assert len(page.ids) == len(set(page.ids))
    assert {reference.removeprefix("#") for reference in page.references} <= set(page.ids)
    assert set(re.findall(r"url\(#([^)]+)\)", text)) <= set(page.ids)
    assert "@import" not in text
    assert "prefers-color-scheme: dark" in text


def test_plots_in_the_page_follow_light_and_dark(written):
    text = (written / "report.html").read_text(encoding="utf-8")
    drawn = "".join(re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL))
    assert drawn.count("<svg") == len(PLOTS)
    assert not set(re.findall(r"#[0-9a-f]{6}\b", drawn))
    assert set(re.findall(r"var\(--([\w-]+)\)", drawn)) <= set(COLOURS)


def test_no_two_roles_share_a_light_colour():
    assert len({light for light, _ in COLOURS.values()}) == len(COLOURS)


def test_every_plot_of_the_markdown_is_there(written):
    text = (written / "report.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\]\(([\w-]+\.svg)\)", text)) == PLOTS


def test_both_texts_carry_the_figures(written):
    for name in ("report.md", "report.html"):
        text = (written / name).read_text(encoding="utf-8").replace("\\", "")
        for figure in ("0.160 [0.144, 0.176]", "0.050 [0.045, 0.055]", "0.170 [0.153, 0.187]", "5.16 MB", "a" * 64):
            assert figure in text


def test_figures_among_99_negatives_stay_out_of_the_results(written):
    text = (written / "report.md").read_text(encoding="utf-8")
    before, after = text.split("## Only to compare with papers: 99 negatives")
    assert "0.777" not in before
    assert "0.777" in after


def test_the_same_run_gives_the_same_files(tmp_path, make_record, make_space, make_catalogue):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write_report(make_record(), make_space(), make_catalogue(), tmp_path / name)
    for file in (tmp_path / "one").iterdir():
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes()


def test_the_folder_of_the_original_files_is_not_told(tmp_path, make_record, make_space, make_catalogue):
    config = {"dataset": "/home/somebody/split.npz", "data": "/home/somebody/music", "people": None}
    write_report(make_record(config=config), make_space(), make_catalogue(), tmp_path)
    for name in ("report.md", "report.html"):
        text = (tmp_path / name).read_text(encoding="utf-8")
        assert "split.npz" in text
        assert "somebody" not in text


def test_markup_in_names_stays_text(tmp_path, make_record, make_space, make_catalogue, make_result):
    titles = ["<script>alert('x')</script> | **bold**"] * 120
    results = [make_result("popularity", "floor", 0.05), make_result("<img src=x>|`a`", ndcg=0.1)]
    record = make_record(results, data={"name": "</style><b>"})
    write_report(record, make_space(), make_catalogue(titles=titles), tmp_path)
    assert not Page((tmp_path / "report.html").read_text(encoding="utf-8")).tags & {"script", "img", "b"}
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "<img" not in text.replace("\\<", "")


def test_a_meagre_record_is_reported_too(tmp_path, make_record, make_result, make_round, make_catalogue):
    bare = {"sampled": None, "discovery": {}, "tertiles": {}, "rounds": None, "bytes_up": None, "bytes_down": None}
    record = make_record(
        [make_result("popularity", "federated", 0.0, **bare)],
        rounds=[],
        tuning=[],
        versions={},
        seconds={},
        data={"people": 1, "items": 1, "interactions": 1, "timed": False},
    )
    shared = Shared("popularity", "v", 1, {"listeners": np.ones(1, np.float32)})
    write_report(record, shared, make_catalogue(1), tmp_path)
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "no map is drawn" in text
    assert "No floor was measured" in text
    assert "99 negatives" not in text


def test_what_was_set_beforehand_is_not_called_a_choice(tmp_path, make_record, make_space, make_catalogue):
    def text(timed=True, **config):
        record = make_record(config=config, data={"timed": timed})
        write_report(record, make_space(), make_catalogue(), tmp_path)
        return (tmp_path / "report.md").read_text(encoding="utf-8")

    assert "recency half-life and popularity discount cost no upload. Chosen by" in text()
    assert "A device's popularity discount cost no upload. Chosen by" in text(recency=20.0)
    assert "A device's popularity discount cost no upload. Chosen by" in text(timed=False)
    assert "was set beforehand" in text(recency="off", discount=0.0)


def test_a_long_run_shows_some_rounds_and_says_so(tmp_path, make_record, make_round, make_space, make_catalogue):
    rounds = [make_round(number) for number in range(1, 501)]
    write_report(make_record(rounds=rounds), make_space(), make_catalogue(), tmp_path)
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "24 of 500 rounds are shown" in text
    assert re.search(r"^\| 500 \| 300 ", text, flags=re.MULTILINE)


def test_statistics_of_invented_people_stand_next_to_real_ones(tmp_path, make_record, make_space, make_catalogue):
    record = make_record(data={"statistics": [("density", "0.92 %", "0.90 %")]})
    write_report(record, make_space(), make_catalogue(), tmp_path)
    assert "| density | 0.92 % | 0.90 % |" in (tmp_path / "report.md").read_text(encoding="utf-8")


def test_a_sample_of_people_is_called_one(tmp_path, make_record, make_space, make_catalogue):
    write_report(make_record(config={"evaluate_people": 50}), make_space(), make_catalogue(), tmp_path)
    assert "a seeded sample of 50 of 300 people" in (tmp_path / "report.md").read_text(encoding="utf-8")


def test_importing_the_report_does_not_load_matplotlib():
    code = "import sys, fedpersona.simulation.report, fedpersona.simulation.compare; print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout.strip() == "False"
