"""Those who follow a run are told of aggregates, and cannot harm it."""

from __future__ import annotations

import pytest

from fedpersona.errors import ConfigError, UnknownName
from fedpersona.simulation import Callback, RunConfig
from fedpersona.simulation.callbacks import LOGS, facts, make_callback, naming
from fedpersona.simulation.narration import Silence


class Everything(Callback):
    """Writes down all that it hears."""

    def __init__(self):
        self.heard = []

    def start(self, config, done):
        self.heard.append(("start", config, done))

    def after_round(self, report, figures):
        self.heard.append(("round", report, dict(figures)))

    def end(self, record):
        self.heard.append(("end", record))

    def interrupt(self, done):
        self.heard.append(("interrupt", done))


class Notes(Silence):
    def __init__(self):
        self.notes = []

    def note(self, text):
        self.notes.append(text)


def test_a_run_is_told_from_beginning_to_end(follow, config):
    callback = Everything()
    run = follow(callback)
    assert [event[0] for event in callback.heard] == ["start", "round", "round", "round", "round", "end"]
    assert callback.heard[0] == ("start", config, 0)
    assert [event[1].round_number for event in callback.heard[1:5]] == [1, 2, 3, 4]
    assert callback.heard[-1][1] is run.record


def test_what_is_told_of_a_round_is_a_number_over_its_devices(follow):
    callback = Everything()
    run = follow(callback)
    for _, report, figures in callback.heard[1:5]:
        assert figures["devices"] == report.answered == 60
        assert figures["bytes_up"] == report.bytes_up
        assert all(type(value) is float for value in figures.values())
        assert len(figures) <= 6
    measured = [figures.get("val_ndcg@10") for _, _, figures in callback.heard[1:5]]
    assert measured == [row.val_ndcg_meanwhile for row in run.record.rounds]
    assert [value is not None for value in measured] == [False, True, False, True]


@pytest.mark.parametrize("method", ["start", "after_round", "end"])
def test_one_that_fails_is_noted_once_and_the_run_goes_on(follow, method):
    calls = []

    def fail(*_):
        calls.append(method)
        raise RuntimeError("the disk of the log is full")

    broken, whole, notes = Callback(), Everything(), Notes()
    setattr(broken, method, fail)
    run = follow(broken, whole, narrator=notes)
    assert calls == [method]
    assert [note for note in notes.notes if "the disk of the log is full" in note] == notes.notes
    assert len(notes.notes) == 1
    assert whole.heard[-1] == ("end", run.record)


def test_one_of_which_nothing_is_asked_changes_nothing(follow):
    assert follow(Callback()).record.model_hash == follow().record.model_hash


def test_an_error_ends_what_follows_too(follow):
    callback = Everything()
    with pytest.raises(ConfigError):
        follow(callback, min_count=61)
    assert callback.heard[-1] == ("interrupt", 0)


def test_nothing_is_told_of_a_run_that_never_began(follow):
    callback = Everything()
    with pytest.raises(UnknownName):
        follow(callback, model="pagerank")
    assert not callback.heard


def test_no_folder_of_a_machine_and_no_address_is_among_the_facts():
    config = RunConfig(
        dataset="/home/someone/secret/lastfm.npz",
        data="/home/someone",
        model="torch:/home/someone/models/mine.py:Module",
        settings={"dim": 3},
        engine="ray",
        cluster="ray://machine.example:10001",
    )
    told = facts(config)
    assert told["dataset"] == "lastfm.npz"
    assert told["model"] == "torch:mine:Module"
    assert told["set.dim"] == 3
    assert not [value for value in told.values() if "someone" in str(value) or "example" in str(value)]


def test_a_log_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(UnknownName, match="jsonl, csv, tensorboard, mlflow, wandb"):
        make_callback("comet", tmp_path / "run")


@pytest.mark.parametrize("name", ["tensorboard", "mlflow", "wandb"])
def test_a_package_that_is_missing_is_named_with_its_extra(tmp_path, monkeypatch, name):
    monkeypatch.setattr(naming, "find_spec", lambda package: None)
    with pytest.raises(ConfigError, match=rf"pip install 'fedpersona\[{name}\]'"):
        make_callback(name, tmp_path / "run")


def test_every_log_is_made_without_writing_anything(tmp_path, monkeypatch):
    monkeypatch.setattr(naming, "find_spec", lambda package: package)
    for name in LOGS:
        assert isinstance(make_callback(name, tmp_path / "run"), Callback)
    assert not list(tmp_path.iterdir())
