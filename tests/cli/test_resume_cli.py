"""A long run is stopped and killed as people and machines do it, and ends as if it never was."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from fedpersona.simulation.checkpoint import last_round
from tests.cli.test_cli import save_split
from tests.conftest import hold_out, invent

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")

LONG = ("--model", "fedmf", "--engine", "device", "--cohort", "25", "--no-ceiling", "--set", "dim=4")
LONG = (*LONG, "--set", "server=adam", "--set", "server_lr=0.05")
LIMIT = 120  # seconds: tests share their machine


def begin(folder, *arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "fedpersona.cli", "simulate", *map(str, arguments)],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={name: value for name, value in os.environ.items() if name != "FEDPERSONA_DEBUG"},
    )


def wait_for(folder, number, running):
    """Wait until a checkpoint of this round, or a later one, is there."""
    until = time.monotonic() + LIMIT
    while (last_round(folder) or 0) < number:
        assert running.poll() is None, running.stderr.read()
        assert time.monotonic() < until, "no checkpoint"
        time.sleep(0.01)


def wait_for_training(running):
    """Read what is told until the first round."""
    for line in running.stderr:
        if line.startswith("round "):
            return
    pytest.fail("no round was told of")


def figures(summary):
    return {name: value for name, value in summary.items() if name not in ("seconds", "run")}


@pytest.fixture
def whole(command):
    """The same run without any interruption; returns its figures."""

    def run(*arguments):
        code, out, err = command("simulate", *arguments, "--json", "--out", "whole")
        assert code == 0, err
        return figures(json.loads(out))

    return run


def test_a_run_that_is_killed_twice_ends_as_if_it_never_was(command, whole, tmp_path):
    save_split(tmp_path / "split.npz")
    run = ("split.npz", *LONG, "--rounds", "30")
    expected = whole(*run)
    folder = tmp_path / "runs/x"
    first = begin(tmp_path, *run, "--out", "runs/x", "--checkpoint-seconds", "0")
    wait_for(folder, 3, first)
    first.kill()
    first.communicate(timeout=LIMIT)
    reached = last_round(folder)
    assert reached >= 3
    second = begin(tmp_path, "--resume", "runs/x", "--checkpoint-seconds", "0")
    wait_for(folder, min(reached + 3, 30), second)
    second.kill()
    second.communicate(timeout=LIMIT)
    code, out, err = command("simulate", "--resume", "runs/x", "--workers", "1", "--json")
    assert code == 0, err
    assert figures(json.loads(out)) == expected
    files = {path.name for path in folder.iterdir()}
    assert files >= {"run.json", "report.html", "model.safetensors", "per_person.npz"}
    assert "checkpoint" not in files
    code, _, err = command("simulate", "--resume", "runs/x")
    assert code == 2
    assert "this run is finished" in err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_stop_finishes_the_round_and_says_how_to_go_on(command, whole, tmp_path, number):
    save_split(tmp_path / "split.npz")
    run = ("split.npz", *LONG, "--rounds", "40")
    running = begin(tmp_path, *run, "--out", "runs/an x", "--log", "jsonl")
    wait_for_training(running)
    running.send_signal(number)
    out, told = running.communicate(timeout=LIMIT)
    assert running.returncode == 130
    assert out == ""
    assert "stopping: this round is finished first" in told
    assert "Traceback" not in told
    kept = last_round(tmp_path / "runs/an x")
    assert kept is not None
    assert f"stopped; round {kept} is kept. Go on with:\n  fedpersona simulate --resume 'runs/an x' --log jsonl" in told
    code, out, err = command("simulate", "--resume", "runs/an x", "--log", "jsonl", "--json")
    assert code == 0, err
    assert figures(json.loads(out)) == whole(*run)
    lines = [json.loads(line) for line in (tmp_path / "runs/an x.jsonl").read_text().splitlines()]
    assert [line["round"] for line in lines if line["event"] == "round"] == list(range(1, 41))


def test_a_second_stop_leaves_at_once_with_the_last_checkpoint(tmp_path):
    """Rounds of seconds: the second request comes while the first waits for the round."""
    run = ("synthetic", "--people", "4000", "--items", "300", *LONG[:4], "--rounds", "50", "--set", "epochs=20")
    running = begin(tmp_path, *run, "--out", "runs/x", "--checkpoint-seconds", "0")
    wait_for_training(running)
    running.send_signal(signal.SIGINT)
    for line in running.stderr:
        if "stopping" in line:
            break
    running.send_signal(signal.SIGINT)
    told = running.communicate(timeout=LIMIT)[1]
    assert running.returncode == 2, "nothing was kept yet: an end like any other"
    assert "stopped; what was begun is there whole, or not at all" in told
    assert "Traceback" not in told
    assert last_round(tmp_path / "runs/x") is None


def test_a_stop_before_the_first_round_is_the_usual_end(tmp_path):
    running = begin(tmp_path, "synthetic", "--people", "200000", "--out", "runs/x")
    for line in running.stderr:
        if line.startswith("reading"):
            break
    running.send_signal(signal.SIGINT)
    told = running.communicate(timeout=LIMIT)[1]
    assert running.returncode == 2
    assert "stopped; what was begun is there whole, or not at all" in told
    assert not list(tmp_path.glob("runs/*"))


def stopped(command, tmp_path, monkeypatch, *more):
    """Leave a run that was stopped after its third round, from inside this process."""
    from fedpersona.aggregation import Coordinator

    save_split(tmp_path / "split.npz")
    whole = Coordinator.run_round

    def run_round(self):
        report = whole(self)
        if report.round_number == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return report

    monkeypatch.setattr(Coordinator, "run_round", run_round)
    code, _, err = command("simulate", "split.npz", *LONG, "--rounds", "6", "--out", "runs/x", *more)
    assert code == 130, err
    monkeypatch.setattr(Coordinator, "run_round", whole)
    return re.search(r"fedpersona (simulate --resume .*)", err).group(1).split()


def test_the_command_that_is_printed_goes_on(command, tmp_path, monkeypatch):
    words = stopped(command, tmp_path, monkeypatch)
    assert words == ["simulate", "--resume", "runs/x"]
    code, out, err = command(*words)
    assert code == 0, err
    assert "round 4 of 6: fedmf on 25 devices" in err
    assert "runs/x/report.html" in out
    report = (tmp_path / "runs/x/report.md").read_text()
    assert "gone on with after round 3" in report


def test_a_run_that_went_on_is_made_again_from_its_record(command, tmp_path, monkeypatch):
    assert command(*stopped(command, tmp_path, monkeypatch), "--json")[0] == 0
    one = command("simulate", "runs/x/run.json", "--json", "--out", "again")
    assert one[0] == 0, one[2]
    record = json.loads((tmp_path / "runs/x/run.json").read_text())
    assert json.loads(one[1])["model_hash"] == record["model_hash"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--seed", "3"), "leave out --seed"),
        (("--set", "dim=3"), "leave out --set"),
        (("--no-ceiling",), "leave out --no-ceiling"),
        (("--out", "elsewhere"), "leave out --out"),
        (("--evaluate-every", "2"), "leave out --evaluate-every"),
    ],
)
def test_nothing_that_changes_a_number_goes_with_resume(command, tmp_path, monkeypatch, arguments, complaint):
    words = stopped(command, tmp_path, monkeypatch)
    code, _, err = command(*words, *arguments)
    assert code == 2
    assert complaint in err
    assert last_round(tmp_path / "runs/x") == 3


def test_data_that_have_changed_and_a_damaged_checkpoint_get_one_sentence(command, tmp_path, monkeypatch):
    words = stopped(command, tmp_path, monkeypatch)
    other = hold_out(invent())
    save_split(tmp_path / "split.npz", test_i=other.val.astype(np.int64), val_i=other.test.astype(np.int64))
    code, _, err = command(*words)
    assert code == 2
    assert "split.npz: the data are not those that this run began with" in err
    file = Path("runs/x/checkpoint/round-000003/state.json")
    file.write_text(file.read_text()[:-20])
    code, _, err = command(*words)
    assert code == 2
    assert "the checkpoint is damaged" in err


def test_a_model_of_a_file_names_its_folder_without_its_path(tmp_path):
    from fedpersona.simulation import RunConfig
    from fedpersona.simulation.output import default_folder

    config = RunConfig(dataset="synthetic", model="torch:/home/someone/my models/attention.py:Recommender")
    assert config.model_shown == "torch:attention:Recommender"
    assert default_folder("synthetic", config.model_shown, tmp_path).name == "synthetic-torch-attention-Recommender"
