import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from threading import Event, Thread
from types import SimpleNamespace

import psutil
import pytest

from fedpersona.aggregation import schedule_loop, supervisor
from fedpersona.aggregation.child import Backoff, Child, end_all
from fedpersona.aggregation.config import Endpoint
from fedpersona.aggregation.database import Database
from fedpersona.aggregation.logs import JsonLog
from fedpersona.aggregation.ports import answers, check_free
from fedpersona.aggregation.schedule_loop import ScheduleLoop
from fedpersona.aggregation.scheduling import Devices
from fedpersona.aggregation.setup import NewServer, initialise
from fedpersona.aggregation.state_lock import held, is_held
from fedpersona.aggregation.superlink import RunState
from fedpersona.aggregation.supervisor import Part, Supervisor, check_files
from fedpersona.catalogue import Catalogue
from fedpersona.errors import DataError, PortTaken, ServerError, ServerRunning, UnsafeServer

SLEEPS = [sys.executable, "-S", "-c", "import time; time.sleep(600)"]
STUBBORN = [
    sys.executable,
    "-S",
    "-c",
    "import signal, time; [signal.signal(number, signal.SIG_IGN) for number in (2, 15)]; "
    "print('up', flush=True); time.sleep(600)",
]
PARENT = [
    sys.executable,
    "-S",
    "-c",
    "import subprocess, sys, time; "
    "print(subprocess.Popen([sys.executable, '-S', '-c', 'import time; time.sleep(600)'], "
    "start_new_session=True).pid, flush=True); time.sleep(600)",
]
DIES = [sys.executable, "-S", "-c", "raise SystemExit(7)"]


@pytest.fixture
def journal(tmp_path):
    log = JsonLog(tmp_path / "logs", "supervisor")
    yield log
    log.close()


def child(journal, command, name="part"):
    return Child(name, command, dict(os.environ), journal.path.parent, journal.logger())


def told(journal, event):
    lines = [json.loads(line) for line in journal.path.read_text("utf-8").splitlines()]
    return [line for line in lines if line["event"] == event]


def soon(condition, seconds=20.0):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.02)


def gone(pid):
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_a_child_that_was_killed_is_told_and_started_again(journal):
    one = child(journal, SLEEPS)
    one.start()
    try:
        first = one.pid
        os.kill(first, signal.SIGKILL)
        soon(lambda: one.tend() or one.pid not in (None, first))
        (death,) = told(journal, "child.died")
        assert (death["child"], death["how"], death["again_in"]) == ("part", "signal SIGKILL", 0.2)
    finally:
        end_all([one])
    assert one.pid is None


def test_waits_double_up_to_half_a_minute_and_begin_anew_after_a_steady_life():
    backoff = Backoff()
    waits = [backoff.failed() for _ in range(12)]
    assert waits[:4] == [0.2, 0.4, 0.8, 1.6]
    assert waits[-1] == 30.0
    assert Backoff().failed() == 0.2
    backoff.reset()
    assert backoff.failed() == 0.2
    for _ in range(5000):
        assert backoff.failed() <= 30.0


def test_a_child_that_does_not_listen_is_killed_with_all_that_it_started(journal):
    one, other = child(journal, STUBBORN, "stubborn"), child(journal, PARENT, "parent")
    one.start()
    other.start()
    soon(lambda: one.output.path.read_text() and other.output.path.read_text())
    grandchild = int(other.output.path.read_text())
    pids = (one.pid, other.pid, grandchild)
    started = time.monotonic()
    end_all([one, other], patience=0.5)
    assert time.monotonic() - started < 5
    soon(lambda: all(gone(pid) for pid in pids))
    assert {line["how"] for line in told(journal, "child.ended")} == {"signal SIGKILL", "signal SIGTERM"}


@pytest.mark.skipif(sys.platform != "linux", reason="Linux ties a child to its parent")
def test_nothing_stays_when_the_supervisor_itself_is_killed(tmp_path):
    program = (
        "import os, sys, time; from pathlib import Path; from fedpersona.aggregation.child import Child; "
        "from fedpersona.aggregation.logs import JsonLog; logs = Path(sys.argv[1]); "
        f"one = Child('part', {SLEEPS!r}, dict(os.environ), logs, JsonLog(logs, 'x').logger()); one.start(); "
        "print(one.pid, flush=True); time.sleep(600)"
    )
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], cwd=root, stdout=subprocess.PIPE, text=True
    ) as parent:
        pid = int(parent.stdout.readline())
        soon(lambda: psutil.Process(pid).cmdline()[-1] == SLEEPS[-1])  # it has become what it is to be
        parent.kill()
    soon(lambda: gone(pid))


def running(parts, journal, **more):
    one = Supervisor(parts, journal.logger(), **more)
    ready = Event()
    thread = Thread(target=one.run, args=(ready.set,))
    thread.start()
    return one, ready, thread


def test_it_is_ready_when_all_answer_and_ends_all_when_asked(journal):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        at = Endpoint(f"127.0.0.1:{listening.getsockname()[1]}")
        beside = Event()
        parts = [Part(child(journal, SLEEPS, "a"), (at,)), Part(child(journal, SLEEPS, "b"))]
        one, ready, thread = running(parts, journal, beside=lambda stop: stop.wait() and beside.set())
        try:
            assert ready.wait(20)
            pids = [part.child.pid for part in parts]
        finally:
            one.stop()
            thread.join(20)
    assert all(gone(pid) for pid in pids)
    assert beside.is_set()
    assert [line["parts"] for line in told(journal, "server.ready")] == [["a", "b"]]
    assert told(journal, "server.stopped")


def test_it_can_be_stopped_while_it_still_waits_for_an_answer(journal):
    with socket.create_server(("127.0.0.1", 0)) as bound:
        at = Endpoint(f"127.0.0.1:{bound.getsockname()[1]}")
    one, ready, thread = running([Part(child(journal, SLEEPS), (at,))], journal)
    one.stop()
    thread.join(20)
    assert not thread.is_alive()
    assert not ready.is_set()


def test_a_part_that_never_starts_is_named_with_its_output_and_the_others_end(journal):
    parts = [Part(child(journal, SLEEPS, "well")), Part(child(journal, DIES, "ill"), (Endpoint("127.0.0.1:1"),))]
    with pytest.raises(ServerError, match=r"the ill does not start: see .*ill\.log"):
        Supervisor(parts, journal.logger()).run()
    assert parts[0].child.pid is None
    assert {line["how"] for line in told(journal, "child.died")} == {"exit code 7"}


def test_one_server_to_a_state_folder(tmp_path):
    assert not is_held(tmp_path)
    with held(tmp_path / "state"):
        assert is_held(tmp_path / "state")
        with pytest.raises(ServerRunning, match="state"), held(tmp_path / "state"):
            pass
    assert not is_held(tmp_path / "state")


def test_a_port_that_is_taken_is_told_and_one_that_frees_up_is_waited_for():
    listening = socket.create_server(("127.0.0.1", 0))
    at = Endpoint(f"127.0.0.1:{listening.getsockname()[1]}")
    assert answers(at)
    with pytest.raises(PortTaken, match=str(at)):
        check_free(at, patience=0.2)
    thread = Thread(target=lambda: (time.sleep(0.3), listening.close()))
    thread.start()
    check_free(at, patience=10)
    thread.join()
    assert not answers(at)
    with pytest.raises(ServerError, match="cannot listen"):
        check_free(Endpoint("192.0.2.1:8443"))


def test_keys_and_catalogue_are_checked_before_anything_starts(tmp_path):
    config = initialise(tmp_path, NewServer(), Catalogue.create(["a"], kind="track"))
    check_files(config)
    keys = tmp_path / "keys"
    (keys / "front-key.pem").chmod(0o604)
    with pytest.raises(UnsafeServer, match="chmod 600"):
        check_files(config)
    (keys / "front-key.pem").chmod(0o600)
    key = (keys / "front-key.pem").read_bytes()
    (keys / "front-key.pem").write_bytes((keys / "superlink-key.pem").read_bytes())
    with pytest.raises(DataError, match="fits"):
        check_files(config)
    (keys / "front-key.pem").write_bytes(key)
    sealed = config.model.catalogue.read_bytes()
    config.model.catalogue.write_bytes(sealed.replace(b'"a"', b'"b"'))
    with pytest.raises(DataError, match=r"catalogue\.fpc"):
        check_files(config)
    config.model.catalogue.unlink()
    with pytest.raises(DataError, match="missing"):
        check_files(config)


class Runs:
    """A SuperLink as a schedule sees it."""

    def __init__(self):
        self.states = {}
        self.down = False

    def nodes(self):
        self.runs()
        return {}

    def register_node(self, public_key):
        return 1 + len(self.states)

    def unregister_node(self, node_id):
        pass

    def start_run(self, bundle, config):
        assert bundle == b"bundle"
        run = len(self.states) + 1
        self.states[run] = RunState("running", "", "")
        self.server = config["server"]
        return run

    def runs(self):
        if self.down:
            raise ServerError("the SuperLink does not answer")
        return self.states

    def stop_run(self, run):
        self.states[run] = RunState("finished", "stopped", "")

    def end(self, outcome):
        self.states[len(self.states)] = RunState("finished", outcome, "")


@pytest.fixture
def schedule(tmp_path, journal, monkeypatch):
    config = initialise(tmp_path / "new", NewServer(), Catalogue.create(["a"], kind="track"))
    config = config.model_copy(update={"rounds": config.rounds.model_copy(update={"wait_for": 2})})
    with Database.open(config.database) as database:
        now = SimpleNamespace(at=1_800_000_000.0, enrolled=2)
        runs = Runs()
        loop = ScheduleLoop(config, database, runs, lambda: b"bundle", journal.logger(), lambda: now.at)
        monkeypatch.setattr(loop._roster, "fleet", lambda history: Devices(now.enrolled))
        yield SimpleNamespace(loop=loop, runs=runs, now=now, config=config)


def test_a_run_starts_once_enough_devices_are_enrolled_and_only_one(schedule):
    schedule.now.enrolled = 1
    assert schedule.loop.look() > 0
    assert not schedule.runs.states
    schedule.now.enrolled = 2
    for _ in range(3):
        schedule.loop.look()
    assert list(schedule.runs.states) == [1]
    assert schedule.runs.server == str(schedule.config.file)


@pytest.mark.parametrize("outcome", ["completed", "failed", "stopped", "killed"])
def test_what_devices_sent_to_a_run_that_did_not_end_as_it_should_is_erased(outcome, schedule, monkeypatch):
    erased = []
    monkeypatch.setattr(schedule_loop, "erase_messages", erased.append)
    schedule.loop.look()
    assert not erased
    if outcome == "killed":
        schedule.runs.states.clear()
    else:
        schedule.runs.end(outcome)
    schedule.loop.look()
    # A coordinator that ended well has erased it itself.
    assert erased == ([] if outcome == "completed" else [schedule.config.superlink().database])


def test_an_erasure_that_fails_is_told_and_stops_no_training(schedule, journal, monkeypatch):
    def failing(file):
        raise ServerError("what devices sent could not be erased")

    monkeypatch.setattr(schedule_loop, "erase_messages", failing)
    schedule.loop.look()
    schedule.runs.end("failed")
    schedule.loop.look()
    assert list(schedule.runs.states) == [1, 2]
    assert [line["words"] for line in told(journal, "erasure.failed")] == ["what devices sent could not be erased"]


def test_the_first_failure_is_followed_at_once_and_the_next_after_a_wait(schedule):
    schedule.loop.look()
    schedule.runs.end("failed")
    schedule.loop.look()
    assert list(schedule.runs.states) == [1, 2]
    schedule.runs.end("failed")
    assert 0 < schedule.loop.look() <= 60
    assert list(schedule.runs.states) == [1, 2]
    schedule.now.at += 61
    schedule.loop.look()
    assert list(schedule.runs.states) == [1, 2, 3]


def test_a_run_that_the_superlink_forgot_counts_as_failed(schedule, journal):
    schedule.loop.look()
    schedule.runs.states = {}
    schedule.loop.look()
    assert list(schedule.runs.states) == [1]
    assert told(journal, "run.failed")[0]["outcome"] == "lost"


def test_a_run_that_goes_on_already_is_looked_after_and_no_second_one_begun(schedule):
    schedule.runs.states = {5: RunState("running", "", "")}
    schedule.loop.look()
    assert list(schedule.runs.states) == [5]


def test_a_superlink_that_is_down_is_told_once_and_waited_for(schedule, journal, monkeypatch):
    monkeypatch.setattr("fedpersona.aggregation.schedule_loop._PAUSE", 0.01)
    schedule.runs.down = True
    stop = Event()
    thread = Thread(target=schedule.loop.run, args=(stop,))
    thread.start()
    try:
        soon(lambda: journal.path.exists() and told(journal, "schedule.failed"))
        time.sleep(0.1)
        schedule.runs.down = False
        soon(lambda: schedule.runs.states)
    finally:
        stop.set()
        thread.join(10)
    assert len(told(journal, "schedule.failed")) == 1


def test_signals_ask_it_to_stop_and_are_given_back(journal):
    before = signal.getsignal(signal.SIGTERM)
    asked, renewed = [], []
    with supervisor._signals(lambda *_: asked.append(True), lambda *_: renewed.append(True)):
        os.kill(os.getpid(), signal.SIGHUP)
        soon(lambda: renewed)
        assert not asked
        os.kill(os.getpid(), signal.SIGTERM)
        soon(lambda: asked)
    assert signal.getsignal(signal.SIGTERM) is before
