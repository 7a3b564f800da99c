"""Lines of JSON and a table: readable while a run works, and of one piece where it was gone on with."""

from __future__ import annotations

import csv
import json

import pytest

from fedpersona.errors import OutputError
from fedpersona.simulation import Callback
from fedpersona.simulation.callbacks import make_callback
from fedpersona.simulation.checkpoint import read_checkpoint
from fedpersona.simulation.keeping import Keeping


class StopAfter(Callback):
    def __init__(self, number):
        self.number = number

    def after_round(self, report, figures):
        if report.round_number == self.number:
            raise KeyboardInterrupt


def events(file):
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def test_a_run_in_lines_of_json(follow, tmp_path):
    run = follow(make_callback("jsonl", tmp_path / "runs/a"))
    start, *rounds, end = events(tmp_path / "runs/a.jsonl")
    assert start["event"] == "start"
    assert start["config"]["set.dim"] == 3
    assert [event["round"] for event in rounds] == [1, 2, 3, 4]
    assert [event["devices"] for event in rounds] == [60.0] * 4
    assert end["model_hash"] == run.record.model_hash
    assert end["test_ndcg@10"] == run.record.federated.test["ndcg@10"]
    assert "someone" not in (tmp_path / "runs/a.jsonl").read_text()


def test_a_run_as_a_table(follow, tmp_path):
    run = follow(make_callback(f"csv:{tmp_path / 'table.csv'}", tmp_path / "a"))
    with (tmp_path / "table.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["round"] for row in rows] == ["1", "2", "3", "4"]
    assert [int(row["bytes_up"]) for row in rows] == [row.bytes_up for row in run.record.rounds]
    assert [row["val_ndcg@10"] != "" for row in rows] == [False, True, False, True]
    assert float(rows[3]["val_ndcg@10"]) == run.record.rounds[3].val_ndcg_meanwhile


@pytest.mark.parametrize("name", ["jsonl", "csv"])
def test_rounds_that_are_run_again_are_there_once(follow, tmp_path, name):
    """The process told of round 3, and was killed before there was a checkpoint of it."""
    folder = tmp_path / "a"
    with pytest.raises(KeyboardInterrupt):
        follow(make_callback(name, folder), StopAfter(3), keeping=Keeping(folder, 0.0))
    checkpoint = read_checkpoint(folder)
    assert checkpoint.round_number == 2
    follow(make_callback(name, folder), keeping=Keeping(folder, 0.0, checkpoint))
    if name == "csv":
        with (tmp_path / "a.csv").open(newline="") as file:
            assert [row["round"] for row in csv.DictReader(file)] == ["1", "2", "3", "4"]
    else:
        told = events(tmp_path / "a.jsonl")
        assert [event["round"] for event in told if event["event"] == "round"] == [1, 2, 3, 4]
        assert [event["event"] for event in told if event["event"] != "round"] == ["start", "interrupt", "start", "end"]


class KilledAfter(StopAfter):
    def after_round(self, report, figures):
        if report.round_number == self.number:
            raise Killed


class Killed(BaseException):
    """Nobody hears of it."""


@pytest.mark.parametrize("name", ["jsonl", "csv"])
def test_no_round_is_missing_that_a_checkpoint_has(follow, tmp_path, name, monkeypatch):
    """A process that is killed tells its callbacks nothing: what they collected is written before a checkpoint is."""
    folder = tmp_path / "a"
    killed = make_callback(name, folder)
    monkeypatch.setattr(killed, "interrupt", lambda done: None)
    with pytest.raises(Killed):
        follow(killed, KilledAfter(3), keeping=Keeping(folder, 0.0))
    follow(make_callback(name, folder), keeping=Keeping(folder, 0.0, read_checkpoint(folder)))
    text = (tmp_path / f"a.{name}").read_text()
    if name == "csv":
        assert [line.split(",")[0] for line in text.splitlines()] == ["round", "1", "2", "3", "4"]
    else:
        lines = [json.loads(line) for line in text.splitlines()]
        assert [line["round"] for line in lines if line["event"] == "round"] == [1, 2, 3, 4]


@pytest.mark.parametrize("name", ["jsonl", "csv"])
def test_a_file_that_is_there_is_never_written_over(follow, tmp_path, name):
    (tmp_path / f"a.{name}").write_text("years of work")
    with pytest.raises(OutputError, match="is there already"):
        follow(make_callback(name, tmp_path / "a"))
    assert (tmp_path / f"a.{name}").read_text() == "years of work"


def test_lines_are_written_while_the_run_works(follow, tmp_path, monkeypatch):
    from fedpersona.simulation.callbacks import line_file

    monkeypatch.setattr(line_file, "_SECONDS", -1.0)
    seen = []

    class Look(Callback):
        def after_round(self, report, figures):
            seen.append(len(events(tmp_path / "a.jsonl")))

    follow(make_callback("jsonl", tmp_path / "a"), Look())
    assert seen == [2, 3, 4, 5]
