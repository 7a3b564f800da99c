from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.parser import text_string_to_metric_families

from fedpersona.aggregation.database import Database
from fedpersona.aggregation.journal import Journal
from fedpersona.aggregation.ops.metrics import METRICS, journal_metrics
from tests.aggregation.ops.invented import STAGES

GRAFANA = Path(__file__).parents[3] / "server" / "grafana.json"


def samples(text: str) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_what_the_journal_counted_is_what_is_told(watched):
    found = samples(watched.client().get("/metrics").text)
    rounds = Journal(watched.database).rounds(1000)
    completed = [one for one in rounds if one.outcome == "completed"]
    assert found["fedpersona_rounds_total", "completed"] == len(completed) == 8
    assert found["fedpersona_rounds_total", "too few devices"] == 2
    assert found["fedpersona_cohort",] == 372
    assert found["fedpersona_replies_total",] == sum(one.answered for one in rounds)
    assert found["fedpersona_dropouts_total", "silent"] == sum(one.dropped for one in rounds)
    assert found["fedpersona_dropouts_total", "late"] == sum(one.late for one in rounds)
    assert found["fedpersona_refused_total", "declined"] == 48
    assert found["fedpersona_bytes_total", "up"] == sum(one.bytes_up for one in rounds)
    for stage in STAGES:
        assert found["fedpersona_stage_seconds_total", stage] == pytest.approx(
            sum(one.seconds.get(stage, 0) for one in rounds)
        )
    assert found["fedpersona_model_version",] == 2
    assert found["fedpersona_devices", "enrolled"] == 4
    assert found["fedpersona_devices", "revoked"] == 1
    assert found["fedpersona_training_active",] == 0
    Journal(watched.database).say("gathering", "Waiting for 60 devices.")
    assert samples(watched.client().get("/metrics").text)["fedpersona_training_active",] == 1


def test_a_restart_loses_and_repeats_nothing(watched):
    before = watched.client().get("/metrics").text
    with Database(watched.config.database) as again:
        watched.database = again
        assert watched.client().get("/metrics").text == before


def test_a_new_server_tells_zeros_and_no_label_that_never_was(new):
    found = samples(new.client().get("/metrics").text)
    assert found == {
        ("fedpersona_cohort",): 0,
        ("fedpersona_privacy_epsilon", "limit"): 0,
        ("fedpersona_privacy_epsilon", "spent"): 0,
        ("fedpersona_privacy_releases",): 0,
        ("fedpersona_training_active",): 0,
        ("fedpersona_devices", "enrolled"): 0,
        ("fedpersona_devices", "revoked"): 0,
        ("fedpersona_model_version",): 0,
    }


def test_no_metric_and_no_label_is_outside_the_table(watched):
    Journal(watched.database).count("of another subsystem", {"kind": "unknown"})
    told = list(journal_metrics(watched.database, watched.config).collect())
    assert {sample.name for family in told for sample in family.samples} == set(METRICS)
    for family in told:
        for sample in family.samples:
            assert tuple(sample.labels) == METRICS[sample.name].labels


def test_the_metrics_of_the_front_come_with_them(new):
    extra = CollectorRegistry()
    Counter("fedpersona_front_things", "Things.", registry=extra).inc()
    found = samples(new.client(extra).get("/metrics").text)
    assert found["fedpersona_front_things_total",] == 1
    assert ("fedpersona_cohort",) in found


def test_a_state_that_cannot_be_read_gives_no_numbers_at_all(watched):
    client = watched.client()
    watched.database.close()
    answer = client.get("/metrics")
    assert answer.status_code == 503
    assert "fedpersona_" not in answer.text.replace(str(watched.database.path), "")


def test_the_grafana_dashboard_shows_every_metric_and_asks_for_no_other():
    board = json.loads(GRAFANA.read_text("utf-8"))
    asked = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    assert {name for expression in asked for name in re.findall(r"fedpersona_\w+", expression)} == set(METRICS)
    for expression in asked:
        known = {label for name in re.findall(r"fedpersona_\w+", expression) for label in METRICS[name].labels}
        for labels in re.findall(r"(?:by|ignoring) \((\w+)\)|\{(\w+)=", expression):
            assert set(filter(None, labels)) <= known, expression
    numbers = [panel["id"] for panel in board["panels"]]
    assert len(set(numbers)) == len(numbers)
