from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from markupsafe import escape
from sqlalchemy import update
from starlette.applications import Starlette
from starlette.routing import Route

from fedpersona.aggregation import database as tables
from fedpersona.aggregation.config import ServerConfig
from fedpersona.aggregation.database import Database
from fedpersona.aggregation.front.transparency import transparency_facts, transparency_json, transparency_page
from fedpersona.aggregation.journal import Journal
from fedpersona.taste.registry import MODELS
from tests.aggregation.ops.asking import Asking
from tests.aggregation.ops.invented import configured, fill

KEYS = {
    "format": None,
    "federation": {"name", "operator", "purpose", "contact", "address"},
    "data": {"sent", "kept_on_device"},
    "rules": {
        "least_devices",
        "most_devices",
        "longest_update",
        "masked",
        "neighbours",
        "threshold",
        "masks_in_words",
        "differential_privacy",
        "attempts",
        "model",
        "settings",
        "learns",
        "schedule",
        "every_days",
        "new_devices",
        "how_often",
    },
    "model": {"version", "name", "since", "since_in_words", "devices", "rounds", "catalogue", "hash"},
    "rounds": None,
    "taking_part": None,
    "leaving": None,
    "could_learn": None,
}


@pytest.fixture
def database(tmp_path) -> Iterator[Database]:
    with Database(tmp_path / "fedpersona.db") as found:
        yield found


def asking(config: ServerConfig, database: Database) -> Asking:
    routes = [Route("/", transparency_page), Route("/v1/transparency", transparency_json)]
    app = Starlette(routes=routes)
    app.state.server = SimpleNamespace(config=config, database=database)
    return Asking(app, "https://taste.harbour.example")


def sentences(found: object) -> Iterator[str]:
    """Every sentence of the facts, wherever it stands."""
    if isinstance(found, dict):
        for value in found.values():
            yield from sentences(value)
    elif isinstance(found, list):
        for value in found:
            yield from sentences(value)
    elif isinstance(found, str) and " " in found:
        yield found


def test_the_names_of_the_facts_are_these(tmp_path, database):
    config = configured(tmp_path)
    fill(config, database)
    found = asking(config, database).get("/v1/transparency").json()
    assert found["format"] == "fedpersona transparency 1"
    assert set(found) == set(KEYS)
    for name, inner in KEYS.items():
        assert inner is None or set(found[name]) == inner, name
    for one in found["rounds"]:
        assert set(one) == {"training", "round", "day", "day_in_words", "outcome", "devices", "in_words"}


def test_every_sentence_of_the_facts_is_on_the_page(tmp_path, database):
    config = configured(tmp_path)
    fill(config, database)
    client = asking(config, database)
    page = client.get("/").text
    for sentence in sentences(client.get("/v1/transparency").json()):
        if not sentence.startswith("fedpersona transparency"):
            assert str(escape(sentence)).rstrip(".") in page, sentence


def test_a_server_that_did_nothing_yet_says_so(tmp_path, database):
    client = asking(configured(tmp_path), database)
    found = client.get("/v1/transparency").json()
    assert found["model"] is None
    assert found["rounds"] == []
    assert client.get("/").text.count("None yet") == 2


def test_what_is_told_of_the_model_is_what_was_promoted(tmp_path, database):
    config = configured(tmp_path)
    fill(config, database)
    found = transparency_facts(config, database)["model"]
    assert (found["version"], found["devices"], found["rounds"]) == (2, 337, 4)
    assert (found["since"], found["since_in_words"]) == ("2026-11-29", "29 November 2026")
    page = asking(config, database).get("/").text
    assert "It learned from up to 337 devices a round, in 4 rounds." in page


@pytest.mark.parametrize(
    ("sections", "must", "may_not"),
    [
        ({"rounds": {"cohort": 90, "min_count": 33}}, ("at least", "33", "90"), ()),
        (
            {"rounds": {"masked": False}},
            ("It is not masked: the server can read it.", "Off: the server can read each list."),
            ("It is masked", "Masks hold", "a masked list", "On: "),
        ),
        ({"rounds": {"masked": True}}, ("It is masked", "Masks hold"), ("can read each list", "not masked")),
        ({"rounds": {"clip": 0}}, ("No limit is set to how much one device may weigh.", "No limit"), ("length of",)),
        ({"rounds": {"clip": 3.5}}, ("a length of 3.5 at most",), ("No limit",)),
        ({"rounds": {"attempts": 1}}, ("It is tried 1 time at most.",), ()),
        ({"schedule": {"kind": "one-shot"}}, ("learned once",), ("learned anew",)),
        ({"schedule": {"kind": "standing", "every_days": 1}}, ("learned anew every day,",), ("or sooner", "once, in")),
        (
            {"schedule": {"kind": "standing", "every_days": 30, "new_devices": 12}},
            ("learned anew every 30 days, or sooner, once 12 new devices joined",),
            (),
        ),
        (
            {"federation": {"name": "X", "operator": "", "contact": "", "purpose": ""}},
            ("Who runs it has not been",),
            ("Run by", "()"),
        ),
    ],
)  # fmt: skip
def test_the_page_says_what_the_configuration_says(tmp_path, database, sections, must, may_not):
    config = configured(tmp_path, **sections)
    page = asking(config, database).get("/").text
    words = re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL)
    for part in must:
        assert part in words, part
    for part in may_not:
        assert part not in words, part


@pytest.mark.parametrize("model", MODELS)
def test_every_model_is_explained(tmp_path, database, model):
    config = configured(tmp_path, model={"name": model, "catalogue": tmp_path / "c"})
    rules = transparency_facts(config, database)["rules"]
    assert rules["learns"]
    assert rules["settings"] == MODELS[model]().model_dump(mode="json")


def test_no_promise_of_differential_privacy_is_made(tmp_path, database):
    config = configured(tmp_path)
    facts = transparency_facts(config, database)
    assert facts["rules"]["differential_privacy"] is None
    assert "there is no differential privacy yet" in asking(config, database).get("/").text


def test_no_device_no_key_and_no_time_finer_than_a_day_is_told(tmp_path, database):
    config = configured(tmp_path)
    fill(config, database)
    with database.writing() as connection:
        connection.execute(update(tables.devices).where(tables.devices.c.number == 2).values(node_id="777123777"))
    client = asking(config, database)
    for text in (client.get("/").text, client.get("/v1/transparency").text):
        told = re.sub(r"<style>.*?</style>", "", text, flags=re.DOTALL)
        assert "777123777" not in told
        assert "BEGIN PUBLIC KEY" not in told
        assert not re.search(r"\b\d{1,2}:\d\d\b", told)
        assert not re.search(r"\b1[67]\d{8}\b", told), "seconds since 1970"
    serials = {one.serial for one in Journal(database).rounds(100)}
    numbers = set(map(int, re.findall(r"\b\d+\b", json.dumps(transparency_facts(config, database)["rounds"]))))
    assert not serials & {number for number in numbers if 90 < number < 290}


def test_of_a_round_that_released_nothing_no_count_is_told(tmp_path, database):
    config = configured(tmp_path)
    fill(config, database)
    failed = [one for one in transparency_facts(config, database)["rounds"] if one["outcome"] == "too few devices"]
    assert len(failed) == 2
    assert all(one["devices"] is None and "41" not in one["in_words"] for one in failed)
    assert failed[0]["in_words"] == "Round 3 of training 2 released nothing: too few devices answered."


def test_rounds_that_run_and_that_were_interrupted_are_told_as_such(tmp_path, database):
    config = configured(tmp_path)
    journal = Journal(database)
    journal.begin(1, 1, 1, 1, 9)
    journal.begin(1, 1, 2, 2, 9)
    running, broken = transparency_facts(config, database)["rounds"]
    assert running["in_words"] == "Round 1 of training 1 is being held."
    assert broken["in_words"] == "Round 1 of training 1 released nothing: it was broken off."


@pytest.mark.parametrize(
    ("contact", "link"),
    [
        ("privacy@harbour.example", "mailto:privacy@harbour.example"),
        ("https://harbour.example/privacy?x=1", "https://harbour.example/privacy?x=1"),
        ("javascript:alert(1)", None),
        ("http://harbour.example", None),
        ("write to us, at the harbour", None),
        ("a@b.example?bcc=c@d.example", None),
        ("https://harbour.example/\" onclick=\"alert(1)", None),
    ],
)  # fmt: skip
def test_a_contact_is_a_link_only_where_it_is_one(tmp_path, database, contact, link):
    config = configured(tmp_path, federation={"name": "Harbour Radio", "contact": contact})
    page = asking(config, database).get("/").text
    anchors = set(re.findall(r'<a href="([^"#][^"]*)"', page)) - {"/v1/transparency"}
    assert anchors == ({link} if link else set())
    assert "onclick=" not in page.replace(str(escape(contact)), "")


def test_what_an_operator_wrote_is_text(tmp_path, database):
    markup = "<script>alert(1)</script><img src=x onerror=alert(1)>"
    words = {"name": "Harbour Radio", "operator": markup, "purpose": markup, "contact": markup}
    page = asking(configured(tmp_path, federation=words), database).get("/").text
    assert "<script" not in page
    assert "<img" not in page


def test_it_runs_no_program_and_may_be_kept_for_a_minute(tmp_path, database):
    client = asking(configured(tmp_path), database)
    for path in ("/", "/v1/transparency"):
        answer = client.get(path)
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert "unsafe" not in answer.headers["Content-Security-Policy"]
        assert answer.headers["Cache-Control"] == "public, max-age=60"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert not re.search(r"<script|style=|\bon\w+=|src=", client.get("/").text)


def test_days_are_those_of_utc_whatever_the_machine_says(tmp_path, database, monkeypatch):
    config = configured(tmp_path)
    fill(config, database, trainings=1)
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")
    time.tzset()
    try:
        days = {one["day"] for one in transparency_facts(config, database)["rounds"]}
    finally:
        monkeypatch.undo()
        time.tzset()
    assert days == {"2026-11-22"}
