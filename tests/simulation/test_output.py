"""A run's folder is whole under its final name, or not there at all."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from fedpersona.errors import ConfigError, DataError, DataNotFound, OutputError
from fedpersona.simulation import RunConfig, read_record, simulate
from fedpersona.simulation.listening import weekly_for
from fedpersona.simulation.output import check_writable, default_folder, read_model, write_run
from tests.conftest import hold_out, invent


@pytest.fixture(scope="module")
def run():
    config = RunConfig(dataset="invented", model="subspace", settings={"dim": 3, "rounds": 2}, ceiling=False)
    return simulate(config, split=hold_out(invent()))


def test_what_was_written_is_read_back(run, tmp_path):
    write_run(run, tmp_path / "a")
    assert read_record(tmp_path / "a") == run.record
    assert read_record(tmp_path / "a/run.json") == run.record
    model = load_file(tmp_path / "a/model.safetensors")
    assert all(np.array_equal(model[name], array) for name, array in run.shared.arrays.items())
    with np.load(tmp_path / "a/per_person.npz", allow_pickle=False) as figures:
        assert figures["ndcg@10"].mean() == pytest.approx(run.record.federated.test["ndcg@10"])


def test_a_report_that_fails_leaves_nothing(run, tmp_path, monkeypatch):
    from fedpersona.simulation import report

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(report, "write_report", full)
    with pytest.raises(OutputError, match="No space left"):
        write_run(run, tmp_path / "a")
    assert not list(tmp_path.iterdir())


def test_an_interrupt_while_writing_leaves_nothing(run, tmp_path, monkeypatch):
    from fedpersona.simulation import report

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(report, "write_report", stop)
    with pytest.raises(KeyboardInterrupt):
        write_run(run, tmp_path / "a")
    assert not list(tmp_path.iterdir())


def test_no_history_and_no_person_is_in_the_record(run, tmp_path):
    """Figures over everyone may leave; anything that there is one of a person may not."""
    write_run(run, tmp_path / "a")

    def lengths(node):
        children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
        yield len(node) if isinstance(node, list) else 0
        for child in children:
            yield from lengths(child)

    text = (tmp_path / "a/run.json").read_text()
    assert max(lengths(json.loads(text))) < len(run.split.train) // 2
    assert "Song" not in text


def test_default_folders_are_numbered_and_named_for_the_data(tmp_path):
    assert default_folder("synthetic", "ease", tmp_path).name == "synthetic-ease"
    (tmp_path / "synthetic-ease").mkdir()
    assert default_folder("synthetic", "ease", tmp_path).name == "synthetic-ease-2"
    assert default_folder("some/where/last fm.npz", "ials", tmp_path).name == "last-fm-ials"


def test_an_empty_folder_may_be_filled_and_a_full_one_may_not(run, tmp_path):
    (tmp_path / "empty").mkdir()
    check_writable(tmp_path / "empty")
    write_run(run, tmp_path / "empty", report=False)
    with pytest.raises(OutputError, match="is there already"):
        check_writable(tmp_path / "empty")


@pytest.mark.skipif(os.name == "nt", reason="permissions of POSIX")
def test_files_of_a_run_can_be_read_by_whom_the_umask_lets(run, tmp_path):
    before = os.umask(0o022)
    try:
        write_run(run, tmp_path / "a", report=False)
    finally:
        os.umask(before)
    assert {oct(path.stat().st_mode & 0o777) for path in (tmp_path / "a").iterdir()} == {"0o644"}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": "fedpersona run 9"}', "\x00\xff"])
def test_a_file_that_is_no_record_is_refused(tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(DataError, match="not the record of a run"):
        read_record(tmp_path)


def test_a_record_that_is_not_there_is_said_to_be_missing(tmp_path):
    with pytest.raises(DataNotFound, match="cannot read a run"):
        read_record(tmp_path / "nothing")


def test_a_weekly_list_leaves_out_held_out_items_too_and_is_the_same_all_week(run):
    monday, sunday, later = date(2026, 11, 23), date(2026, 11, 29), date(2026, 11, 30)
    listening = weekly_for(run, 1005, monday)
    rows = {pick.row for pick in listening.picks}
    person = run.split.train.person(1005)
    assert not rows & {int(run.split.val[person]), int(run.split.test[person])}
    assert not rows & set(run.split.train.plays(person).items.tolist())
    assert weekly_for(run, 1005, sunday) == listening
    assert weekly_for(run, 1005, later).week == (2026, 49)


def test_without_an_id_the_listener_has_a_history_of_median_length(run):
    listening = weekly_for(run, None, date(2026, 11, 23))
    lengths = np.diff(run.split.train.indptr)
    assert lengths[run.split.train.person(listening.person_id)] == np.sort(lengths)[30]
    with pytest.raises(DataError, match="nobody in invented has the id 5"):
        weekly_for(run, 5, date(2026, 11, 23))


def test_a_model_is_read_back_as_it_was_written(run, tmp_path):
    write_run(run, tmp_path / "a", report=False)
    model, shared = read_model(tmp_path / "a")
    assert model == run.model
    assert shared.hash() == run.shared.hash()


def test_a_module_of_ones_own_is_asked_for_and_never_run_because_a_file_names_it(run, tmp_path):
    shared = replace(run.shared, model="torch:Mine")
    write_run(replace(run, shared=shared), tmp_path / "a", report=False)
    with pytest.raises(ConfigError, match="give read_model the model too"):
        read_model(tmp_path / "a")
    model, read = read_model(tmp_path / "a", run.model)
    assert model is run.model
    assert read.hash() == shared.hash()


def test_the_same_run_leaves_the_same_model_file(run, tmp_path):
    for name in ("a", "b"):
        write_run(run, tmp_path / name, report=False)
    assert (tmp_path / "a/model.safetensors").read_bytes() == (tmp_path / "b/model.safetensors").read_bytes()


def test_a_model_that_was_changed_or_cut_is_refused(run, tmp_path):
    write_run(run, tmp_path / "a", report=False)
    file = tmp_path / "a/model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:-4])
    with pytest.raises(DataError, match=r"model\.safetensors"):
        read_model(tmp_path / "a")
    file.write_bytes(whole[:-4] + bytes([whole[-4] ^ 1]) + whole[-3:])
    with pytest.raises(DataError, match="hash"):
        read_model(tmp_path / "a")
    file.unlink()
    with pytest.raises(DataNotFound, match="no model here"):
        read_model(tmp_path / "a")


def test_two_runs_that_want_one_folder_do_not_mix(run, tmp_path, monkeypatch):
    from fedpersona.simulation import report

    monkeypatch.setattr(report, "write_report", lambda *_: write_run(run, tmp_path / "a", report=False))
    with pytest.raises(OutputError, match="nothing of it was left"):
        write_run(run, tmp_path / "a")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert read_record(tmp_path / "a") == run.record


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full")
def test_a_full_disk_under_the_model_file_is_one_sentence(run, tmp_path, monkeypatch):
    def full(self, data):
        with Path("/dev/full").open("wb", buffering=0) as device:
            return device.write(data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OutputError, match="No space left"):
        write_run(run, tmp_path / "a")
    assert not list(tmp_path.iterdir())
