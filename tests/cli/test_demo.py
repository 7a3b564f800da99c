"""``fedpersona demo``: the acceptance test of the whole, and that nothing is left of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import psutil
import pytest

from fedpersona.cli.ending import one_sentence
from fedpersona.cli.main import app

COMMAND = [sys.executable, "-m", "fedpersona.cli", "demo"]
LIMIT = 400  # seconds: tests share their machine


def environment(folder):
    return {**os.environ, "TMPDIR": str(folder), "COLUMNS": "100"}


def left_over(folder):
    """Processes that were told of this test's folder, in their arguments or where they record."""
    found = []
    for process in psutil.process_iter():
        try:
            told = [*process.cmdline(), *process.environ().values()]
        except psutil.Error:
            continue
        if process.pid != os.getpid() and any(str(folder) in text for text in told):
            found.append(process)
    return found


def gone(folder, seconds=20.0):
    until = time.monotonic() + seconds
    while left_over(folder) and time.monotonic() < until:
        time.sleep(0.1)
    return not left_over(folder)


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "temporary"
    made.mkdir()
    yield made
    for process in left_over(made):  # only where a test has failed
        process.kill()


def test_the_whole_demo_federates_survives_and_leaks_nothing(folder):
    done = subprocess.run(
        [*COMMAND, "--json"], env=environment(folder), capture_output=True, text=True, timeout=LIMIT, check=False
    )
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["took_part"] == 16
    assert summary["have_the_model"] == 18, "all but the killed and the revoked one"
    assert summary["sent_nothing"] == [7, 15]
    assert len({summary["killed"], summary["revoked"], *summary["sent_nothing"]} - {0}) == 4
    assert [(one["round_number"], one["outcome"]) for one in summary["rounds"]] == [(1, "completed"), (2, "completed")]
    first, second = (one["answered"] for one in summary["rounds"])
    assert 16 <= first < 18, "without the device that was killed in it"
    assert second == 16, "and without the one that was revoked in it"
    assert summary["version"] == 1
    accuracy = summary["accuracy"]
    assert accuracy["people"] == 16
    assert accuracy["floor"] <= accuracy["model"] <= 1
    assert accuracy["ceiling"] > accuracy["floor"]
    canary = summary["canary"]
    assert canary["clean"]
    assert canary["rehearsed"][0] == canary["rehearsed"][1] > 50
    assert canary["bytes_up"] > 16 * 2 * 90_000, "every update was among it"
    told = " ".join(done.stderr.split())
    for words in (
        "was killed",
        "revoked",
        "never said yes",
        "because you played",
        "16 people are few",
        "Searched: all",
    ):
        assert words in told
    assert told.count("your week of") == 3
    assert not list(folder.iterdir()), "the temporary folder is gone"
    assert gone(folder)


def test_ctrl_c_ends_every_process_and_leaves_no_folder(folder):
    demo = subprocess.Popen(
        COMMAND, env=environment(folder), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1
    )
    with demo:
        for line in demo.stdout:
            if line.startswith("3."):
                break
        time.sleep(3.0)  # devices are starting
        assert len(left_over(folder)) > 3
        demo.send_signal(signal.SIGINT)
        demo.stdout.read()
        errors = demo.stderr.read()
        assert demo.wait(60) == 2
    assert errors.startswith("fedpersona: stopped")
    assert "Traceback" not in errors
    assert gone(folder)
    assert not list(folder.iterdir())


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--people", "500"], "--fast"),
        (["--out", "somewhere"], "--fast"),
        (["--fast", "--keep", "somewhere"], "--out"),
        (["--keep", "."], "not empty"),
    ],
)
def test_options_that_do_not_go_together_are_one_sentence(tmp_path, arguments, complaint):
    (tmp_path / "mine.txt").write_text("kept")
    done = subprocess.run([*COMMAND, *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert complaint in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(("clean", "code"), [(True, 0), (False, 1)])
def test_a_finding_is_an_exit_code(monkeypatch, capsys, clean, code):
    result = SimpleNamespace(clean=clean, summary=lambda: {"clean": clean})
    monkeypatch.setattr("fedpersona.simulation.demo.run_demo", lambda config, console: result)
    assert one_sentence(lambda: app(["demo", "--json"], standalone_mode=False)) == code
    assert json.loads(capsys.readouterr().out) == {"clean": clean}
