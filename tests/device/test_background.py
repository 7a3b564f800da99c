from __future__ import annotations

import gc
import logging
import os
import subprocess
import sys
import threading
import time
import warnings
import weakref

import pytest

from fedpersona.device.background import Stop, Worker
from fedpersona.errors import DataError, Stopped

PATIENCE = 10.0  # seconds: far more than anything here takes
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="a niceness for each thread is Linux's")


def done(work, **others) -> Worker:
    """A worker that has ended by itself."""
    worker = Worker(work, "test", **others)
    worker.start()
    assert worker.wait(PATIENCE)
    return worker


def sleeps(stop: Stop) -> None:
    stop.wait(3600)


def turns(stop: Stop) -> None:
    while True:
        stop.check()


# The wish to stop.


def test_a_wish_is_seen_by_all_who_look_and_cannot_be_taken_back():
    stop = Stop()
    stop.check()
    assert not stop.wished
    assert stop.wait(0) is False
    stop.set()
    stop.set()
    assert stop.wished
    assert stop.wait(3600) is True
    with pytest.raises(Stopped, match="nothing more was sent"):
        stop.check()


@pytest.mark.parametrize("seconds", [1e300, float("inf")])
def test_one_may_wait_for_ever_and_still_be_woken(seconds):
    stop = Stop()
    threading.Timer(0.01, stop.set).start()
    assert stop.wait(seconds)


def test_to_wait_for_less_than_nothing_is_not_to_wait():
    assert Stop().wait(-5) is False


# Stopping.


@pytest.mark.parametrize("work", [sleeps, turns])
def test_work_that_sleeps_or_turns_is_stopped_in_under_a_second(work):
    worker = Worker(work, "test")
    worker.start()
    assert worker.running
    begin = time.monotonic()
    assert worker.stop() is True
    assert time.monotonic() - begin < 1.0
    assert not worker.running
    assert worker.error is None


def test_work_that_does_not_look_is_not_waited_for():
    release = threading.Event()
    worker = Worker(lambda _: release.wait(PATIENCE), "test")
    worker.start()
    begin = time.monotonic()
    assert worker.stop(0.05) is False
    assert time.monotonic() - begin < 1.0
    assert worker.running
    release.set()
    assert worker.wait(PATIENCE)


def test_starting_and_stopping_twice_does_what_once_does():
    ran = []
    worker = Worker(lambda stop: ran.append(1), "test")
    worker.start()
    worker.start()
    assert worker.stop(PATIENCE)
    assert worker.stop()
    worker.start()
    assert worker.stop()
    assert ran == [1]


def test_many_threads_starting_it_start_it_once():
    ran: list[int] = []
    worker = Worker(lambda stop: ran.append(1), "test")
    starters = [threading.Thread(target=worker.start) for _ in range(20)]
    for thread in starters:
        thread.start()
    for thread in starters:
        thread.join()
    assert worker.wait(PATIENCE)
    assert ran == [1]


def test_what_was_never_started_has_ended_and_does_not_start_after_a_stop():
    ran: list[int] = []
    worker = Worker(lambda stop: ran.append(1), "test")
    assert worker.wait() is True
    assert worker.stop() is True
    worker.start()
    assert (worker.running, ran) == (False, [])


def test_work_that_stops_itself_is_told_at_once_that_it_has_not_ended():
    told: list[bool] = []
    worker = Worker(lambda stop: told.append(worker.stop(PATIENCE)), "test")
    worker.start()
    assert worker.wait(PATIENCE)
    assert told == [False]
    assert worker.error is None


def test_a_repr_tells_the_name_and_whether_it_runs():
    assert repr(Worker(sleeps, "fedpersona x")) == "Worker('fedpersona x', not running)"


# Errors.


def raises(error: BaseException):
    def work(stop: Stop) -> None:
        raise error

    return work


@pytest.mark.parametrize("error", [DataError("odd"), ZeroDivisionError(), KeyboardInterrupt(), SystemExit(3)])
def test_no_error_of_the_work_reaches_the_app(error):
    told: list[BaseException] = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # pytest's warning for an exception that a thread left behind
        worker = done(raises(error), failed=told.append)
    assert told == [error]
    assert worker.error is error


def test_to_be_stopped_is_no_error():
    told: list[BaseException] = []
    assert done(raises(Stopped("withdrawn")), failed=told.append).error is None
    assert told == []


@pytest.mark.parametrize("error", [RuntimeError("again"), KeyboardInterrupt()])
def test_an_app_that_fails_to_hear_of_an_error_is_not_reached_either(error):
    def failed(_: BaseException) -> None:
        raise error

    assert isinstance(done(raises(DataError("odd")), failed=failed).error, DataError)


def test_an_error_does_not_hold_on_to_what_the_work_had_at_hand():
    class History:
        pass

    kept: list[weakref.ref[History]] = []

    def work(stop: Stop) -> None:
        history = History()
        kept.append(weakref.ref(history))
        try:
            raise KeyError("first")
        except KeyError:
            raise DataError("second") from None

    worker = done(work, failed=lambda error: None)
    gc.collect()
    assert worker.error is not None
    assert kept[0]() is None


def test_an_error_of_ours_is_logged_with_its_words(caplog):
    with caplog.at_level(logging.WARNING, "fedpersona"):
        done(raises(DataError("the catalogue cannot be read")))
    assert caplog.messages == ["background work: DataError: the catalogue cannot be read"]


def test_any_other_error_is_logged_without_its_words_which_could_name_a_song(caplog):
    with caplog.at_level(logging.WARNING, "fedpersona"):
        done(raises(KeyError("Secret Song")))
    (message,) = caplog.messages
    assert message.startswith("background work: KeyError at test_background.py:")
    assert "Secret" not in caplog.text


def test_where_no_thread_can_be_started_that_is_its_error(monkeypatch):
    def full(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    told: list[BaseException] = []
    worker = Worker(sleeps, "test", told.append)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", full)
        worker.start()
    assert isinstance(worker.error, RuntimeError)
    assert told == [worker.error]
    assert worker.stop() is True


# The system.


@LINUX
def test_the_priority_of_the_work_is_lowered_and_that_of_the_app_is_not():
    seen: list[int] = []
    before = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    done(lambda stop: seen.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id())))
    assert seen == [max(before, 10)]
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == before


@LINUX
def test_work_goes_on_where_priorities_may_not_be_changed(monkeypatch):
    def refused(*_: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "setpriority", refused)
    ran: list[int] = []
    assert done(lambda stop: ran.append(1)).error is None
    assert ran == [1]


def test_a_program_ends_though_work_is_under_way():
    code = (
        "from fedpersona.device.background import Worker\n"
        "import time\n"
        "worker = Worker(lambda stop: time.sleep(3600), 'test')\n"
        "worker.start()\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_in_a_forked_process_the_work_has_ended_and_can_be_stopped():
    code = """
import os, warnings
from fedpersona.device.background import Worker
warnings.simplefilter("ignore", DeprecationWarning)
worker = Worker(lambda stop: stop.wait(3600), "test")
worker.start()
child = os.fork()
if child == 0:
    worker.start()
    os._exit(0 if not worker.running and worker.stop(5) else 1)
_, status = os.waitpid(child, 0)
raise SystemExit(status or not worker.running or not worker.stop(5))
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")


# Again and again.
