from __future__ import annotations

import base64
import hashlib
import re

import pytest
from sqlalchemy import update

from fedpersona.aggregation import database as tables
from fedpersona.aggregation.journal import Journal
from tests.aggregation.ops.asking import Watched
from tests.aggregation.ops.invented import STAGES, configured

MARKUP = "<script>alert(1)</script> & \"'"


def page(watched: Watched) -> str:
    answer = watched.client().get("/")
    assert answer.status_code == 200
    return answer.text


def test_a_new_server_has_a_page(new):
    found = page(new)
    assert "Nothing to do" in found
    assert found.count("None yet") == 2
    assert "no model promoted yet" in found


@pytest.mark.parametrize(
    ("state", "headline"),
    [
        ("idle", "Nothing to do"),
        ("gathering", "Waiting for devices"),
        ("training", "Training"),
        ("waiting", "Waiting to try again"),
    ],
)
def test_it_says_what_the_server_does_in_words(new, state, headline):
    Journal(new.database).say(state, "because of the weather")
    found = page(new)
    assert f"<h1>{headline}</h1>" in found
    assert ">Because of the weather.<" in found


def test_rounds_models_and_devices_are_those_of_the_records(watched):
    found = page(watched)
    assert '<th scope="row">2.3, try 2</th><td>completed</td><td class="figure">326</td>' in found
    assert '<th scope="row">2.3</th><td>too few devices</td><td class="figure">41</td>' in found
    assert "4</dd>" in found
    assert "1 revoked" in found
    assert re.search(r'<tr><th scope="row">2</th>.*promoted', found)
    assert found.count("promoted</span>") == 1
    assert found.count("<title>Round") == 2 * 10, "every round is in the wide and in the narrow picture"
    for reason in ("silent", "after its round", "declined", "shape", "stale"):
        assert f'<th scope="row">{reason}</th>' in found


def test_the_stages_of_a_round_are_shown_in_their_order_with_their_mean_seconds(watched):
    told = page(watched).partition("<h3>Seconds by stage</h3>")[2]
    places = [told.index(f'<th scope="row">{stage}</th>') for stage in STAGES]
    assert places == sorted(places)


def test_a_round_that_runs_shows_its_phase_and_no_numbers_yet(watched):
    journal = Journal(watched.database)
    journal.phase(journal.begin(3, 1, 1, 999, 80), "agreeing")
    assert '<th scope="row">3.1</th><td>now: agreeing</td><td class="figure"></td>' in page(watched)


def test_answers_that_came_after_their_round_are_not_lost_by_this_one(new):
    journal = Journal(new.database)
    journal.end(journal.begin(1, 1, 1, 1, 9), "completed", answered=2, late=3, refused={"late": 4})
    found = page(new)
    assert re.search(r'<th scope="row">late</th>.*<span class="figure">4</span>', found)
    assert re.search(r'<th scope="row">after its round</th>.*<span class="figure">3</span>', found)
    assert '<td class="figure">2</td><td class="figure">9</td><td class="figure">4</td>' in found


def test_accuracy_is_shown_where_it_was_measured_and_nowhere_else(watched):
    assert "Hit rate" not in page(watched)
    with watched.database.writing() as connection:
        measured = update(tables.versions).where(tables.versions.c.number == 2)
        connection.execute(measured.values(metrics={"hit_rate": 0.4375}))
    found = page(watched)
    assert "Hit rate" in found
    assert '<td class="figure">0.438</td>' in found
    assert '<td class="figure"></td>' in found, "the other version has none"


def test_whatever_is_in_the_records_is_text(new):
    journal = Journal(new.database)
    journal.say("idle", MARKUP)
    journal.end(journal.begin(1, 1, 1, 1, 9), MARKUP, seconds={MARKUP: 1.0})
    assert "<script" not in page(new)


def test_it_runs_no_program_and_its_one_style_is_allowed_by_its_hash(watched):
    answer = watched.client().get("/")
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script" not in policy
    assert "unsafe" not in policy
    (style,) = re.findall(r"<style>(.*?)</style>", answer.text, re.DOTALL)
    assert f"'sha256-{base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()}'" in policy
    assert not re.search(r"<script|style=|\bon\w+=|src=", answer.text)
    assert '<meta http-equiv="refresh" content="10">' in answer.text
    assert answer.headers["Cache-Control"] == "no-store"


def test_no_key_and_no_node_is_on_it(watched):
    with watched.database.writing() as connection:
        connection.execute(update(tables.devices).where(tables.devices.c.number == 2).values(node_id="777123777"))
    found = watched.client().get("/").text + watched.client().get("/v1/rounds").text
    assert "777123777" not in found
    assert "BEGIN PUBLIC KEY" not in found


def test_the_name_is_the_configured_one(new):
    new.config = configured(new.config.server.state, federation={"name": "Another Name"})
    assert "<title>Another Name · operator</title>" in page(new)
